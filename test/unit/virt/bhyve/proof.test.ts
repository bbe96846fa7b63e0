import { expect, test } from 'vitest';
import type { ProcessInfo } from '../../../../src/host/index.js';
import { isFromBoot, readBootId } from '../../../../src/virt/bhyve/boot-id.js';
import { findGuestProcesses, sortProcesses, type Whose } from '../../../../src/virt/bhyve/proof.js';
import { instanceA, instanceB } from '../../../fakes/guest-definition.js';

const script = `/var/db/nova-bhyve/instances/${instanceA}/supervisor.sh`;
const process = (pid: number, parentPid: number, command: string, startedAtSeconds = 1000): ProcessInfo => ({ pid, parentPid, command, startedAtSeconds, residentKiB: 1, cpuSeconds: 0, state: 'S' });
const supervisor = process(10, 1, `/bin/sh ${script} /var/db/nova-bhyve/instances/${instanceA} ${instanceA}`);
const reader = process(11, 10, `/bin/sh ${script} --console /var/db/nova-bhyve/instances/${instanceA} /dev/nmdm1000B`);
const guest = process(12, 10, `bhyve: ${instanceA}`);
const whose: Whose = {
  instance: instanceA, supervisorPath: script, boot: 'boot-1', status: { phase: 'running', supervisorPid: 10, boot: 'boot-1', run: 1, pid: 12, sinceSeconds: 999 },
};

test('a guest below its supervisor is ours, whatever the status file says', () => {
  expect(findGuestProcesses(sortProcesses([supervisor, reader, guest]), { ...whose, status: undefined })).toEqual({ guest, supervisor, consoleReaders: [reader], strangers: [] });
});

test('a guest whose supervisor is gone is ours if the status file of this boot names its pid and start', () => {
  const orphan = { ...guest, parentPid: 1 };
  expect(findGuestProcesses(sortProcesses([orphan]), whose).guest).toEqual(orphan);
});

test.each([
  ['another start time', { ...guest, parentPid: 1, startedAtSeconds: 2000 }, whose],
  ['another pid', { ...guest, parentPid: 1, pid: 13 }, whose],
  ['another boot', { ...guest, parentPid: 1 }, { ...whose, boot: 'boot-2' }],
  ['no status file', { ...guest, parentPid: 1 }, { ...whose, status: undefined }],
] as const)('an orphan with %s is a stranger', (_what, stranger, who) => {
  expect(findGuestProcesses(sortProcesses([stranger]), who)).toMatchObject({ guest: undefined, strangers: [stranger] });
});

test('other titles are nobody’s business: another guest, a longer name, an editor with the script open', () => {
  const others = [process(12, 10, `bhyve: ${instanceB}`), process(13, 10, `bhyve: ${instanceA}x`), process(14, 1, `vi ${script}`), process(15, 1, `daemon -c -f /bin/sh ${script} x`)];
  expect(findGuestProcesses(sortProcesses(others), whose)).toEqual({ guest: undefined, supervisor: undefined, consoleReaders: [], strangers: [] });
});

test('a subshell of the supervisor is not a second one, and a reader alone is none', () => {
  const subshell = { ...supervisor, pid: 20, parentPid: 10 };
  expect(findGuestProcesses(sortProcesses([subshell, supervisor]), whose).supervisor).toEqual(supervisor);
  expect(findGuestProcesses(sortProcesses([reader]), whose).supervisor).toBeUndefined();
});

test('the boot is named by kern.boot_id, or by the second of kern.boottime within the clock’s corrections', async () => {
  const host = (values: Record<string, string>) => ({ sysctl: async (name: string) => values[name] });
  expect(await readBootId(host({ 'kern.boot_id': '7d2c3b4a-1f60' }))).toBe('7d2c3b4a-1f60');
  const boottime = '{ sec = 1795410225, usec = 57793 } Mon Nov 23 05:03:45 2026';
  expect(await readBootId(host({ 'kern.boot_id': '', 'kern.boottime': boottime }))).toBe('boottime-1795410225');
  await expect(readBootId(host({}))).rejects.toMatchObject({ code: 'host-unusable' });
});

test('a status file is from this boot if the boots are named alike, or are close and the guest started in both', () => {
  const status = (boot: string, sinceSeconds = 1_795_410_400) => ({ boot, sinceSeconds });
  expect(isFromBoot(status('7d2c3b4a-1f60', 0), '7d2c3b4a-1f60')).toBe(true);
  expect(isFromBoot(status('7d2c3b4a-1f60'), '7d2c3b4a-1f61')).toBe(false);
  expect(isFromBoot(status('boottime-1795410225'), 'boottime-1795410300')).toBe(true);
  expect(isFromBoot(status('boottime-1795410225'), 'boottime-1795411225')).toBe(false);
  expect(isFromBoot(status('boottime-1795410225', 1_795_410_290), 'boottime-1795410300'), 'a quick reboot').toBe(false);
  expect(isFromBoot(status('boottime-1795410225'), '7d2c3b4a-1f60')).toBe(false);
});
