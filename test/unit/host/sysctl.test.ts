import { expect, test } from 'vitest';
import { createSysctl, parseSysctls } from '../../../src/host/sysctl.js';

const host: Readonly<Record<string, string>> = { 'hw.ncpu': '8', 'kern.conftxt': 'options\tSCHED_ULE\nhw.fake=1', 'hw.pagesize': '4096' };

function sysctlOn(calls: string[][]): (name: string) => Promise<string | undefined> {
  return createSysctl(async (args) => {
    calls.push([...args]);
    const names = args.filter((arg) => !arg.startsWith('-'));
    if (args[0] === '-n') {
      const value = host[names[0]!];
      return value === undefined ? { code: 1, stdout: '', stderr: `sysctl: unknown oid '${names[0]!}'\n` } : { code: 0, stdout: `${value}\n`, stderr: '' };
    }
    return { code: 0, stdout: names.filter((name) => name in host).map((name) => `${name}=${host[name]!}\n`).join(''), stderr: '' };
  });
}

test('questions of one moment are one command, and each gets its own answer', async () => {
  const calls: string[][] = [];
  const sysctl = sysctlOn(calls);
  expect(await Promise.all([sysctl('hw.ncpu'), sysctl('no.such'), sysctl('hw.pagesize'), sysctl('hw.ncpu')])).toEqual(['8', undefined, '4096', '8']);
  expect(calls).toEqual([['-i', '-e', 'hw.ncpu', 'no.such', 'hw.pagesize']]);
  expect(await sysctl('no.such')).toBeUndefined();
  expect(calls.at(-1)).toEqual(['-n', 'no.such']);
});

test('a value of several lines stays one value', () => {
  expect(parseSysctls(['kern.conftxt', 'hw.ncpu'], 'kern.conftxt=options\tSCHED_ULE\nhw.fake=1\nhw.ncpu=8\n')).toEqual(new Map([['kern.conftxt', 'options\tSCHED_ULE\nhw.fake=1'], ['hw.ncpu', '8']]));
});

test('a failure is told to everybody who asked', async () => {
  const sysctl = createSysctl(async () => ({ code: 1, stdout: '', stderr: 'sysctl: broken' }));
  expect(await Promise.allSettled([sysctl('a.b'), sysctl('c.d')])).toMatchObject([{ status: 'rejected' }, { status: 'rejected' }]);
});
