import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { matchesProof, parsePs, psFindArguments, psListArguments, type ProcessInfo } from '../../../src/host/index.js';
import { createProcesses } from '../../../src/host/processes.js';
import { parseSysctl } from '../../../src/host/sysctl.js';

interface Recording { argv: string[]; stdout: string; stderr: string; code: number }
const recordings = (name: string): Recording[] =>
  (JSON.parse(readFileSync(new URL(`../../samples/freebsd-13.2/${name}.json`, import.meta.url), 'utf8')) as { recordings: Recording[] }).recordings;

/** Widths, fractions and titles as the recordings show them, in the columns that we ask for. */
const sample = [
  ' PID PPID STARTED                    RSS     TIME STAT COMMAND',
  '   0    0 Mon Nov 23 05:03:46 2026  1024  1:37.07 DLs  [kernel]',
  '   1    0 Mon Nov 23 05:03:46 2026   992  0:00.34 SLs  /sbin/init',
  ' 489    1 Mon Nov 23 05:04:02 2026  6132  0:00.14 Is   sshd: /usr/sbin/sshd [listener] 0 of 10-100 startups (sshd)',
  '2695 2694 Sat Nov  7 23:59:59 2026 70012 72:08.50 TC   bhyve: vm1 (bhyve)',
  '2710 1648 -                            0  0:00.00 Z    <defunct>',
  '2711 1648 Mon Nov 23 05:04:02 2026     0  0:00.00 R    ',
  '',
].join('\n');

describe('the reader of ps', () => {
  test('reads pid, parent, start, memory, time, state and title', () => {
    const byPid = new Map(parsePs(sample).map((info) => [info.pid, info]));
    expect(byPid.size).toBe(6);
    expect(byPid.get(2695)).toEqual({
      pid: 2695, parentPid: 2694, startedAtSeconds: Date.UTC(2026, 10, 7, 23, 59, 59) / 1000, residentKiB: 70012, cpuSeconds: 4328.5,
      state: 'TC', command: 'bhyve: vm1',
    });
    expect(byPid.get(0)!.command).toBe('[kernel]');
    expect(byPid.get(489)!.command).toBe('sshd: /usr/sbin/sshd [listener] 0 of 10-100 startups');
    expect(byPid.get(2710)!.startedAtSeconds).toBe(0);
    expect(byPid.get(2711)!.command).toBe('');
  });

  test('reads the start as 13.2 prints it', () => {
    const recorded = recordings('ps').find((entry) => entry.argv.includes('pid,rss,vsz,%cpu,%mem,etimes,time,lstart,command'))!;
    const [, rss, time, start] = /\n\s*1\s+(\d+).*?(\d+:\d\d\.\d\d)\s+(\w{3} \w{3} [ \d]\d [\d:]{8} \d{4})/.exec(recorded.stdout)!;
    const [info] = parsePs(`heading\n  1    0 ${start} ${rss} ${time} SLs  /sbin/init\n`);
    expect(info).toMatchObject({ pid: 1, startedAtSeconds: Date.UTC(2026, 10, 23, 5, 3, 46) / 1000, residentKiB: 992, cpuSeconds: 0.34 });
  });

  test('drops the program name behind the title of a guest as 13.2 prints it', () => {
    const recorded = recordings('ps').find((entry) => entry.argv.join(' ') === 'ps -axww -o pid,ppid,command')!;
    const line = recorded.stdout.split('\n').find((text) => text.includes('bhyve: '))!;
    const [, pid, ppid, command] = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line)!;
    const [info] = parsePs(`heading\n${pid} ${ppid} Mon Nov 23 05:04:02 2026 1 0:00.00 S ${command}\n`);
    expect(info!.command).toBe('bhyve: vm1');
  });

  test('reads the times that other systems print', () => {
    const [info] = parsePs('heading\n 7 1 Mon Nov 23 05:04:02 2026 1 01:02:03 S a\n');
    expect(info!.cpuSeconds).toBe(3723);
  });

  test('refuses a line of another shape instead of guessing', () => {
    expect(() => parsePs('heading\nps: banana\n')).toThrow(expect.objectContaining({ code: 'command-output-unreadable' }) as Error);
    expect(() => parsePs('heading\n 7 1 Mon Foo 23 05:04:02 2026 1 0:00.00 S a\n')).toThrow();
  });

  test('takes a heading without processes as none', () => {
    expect(parsePs(recordings('ps').find((entry) => entry.argv.join(' ') === 'ps -p 99999')!.stdout)).toEqual([]);
  });
});

describe('a proof', () => {
  const info: ProcessInfo = { pid: 7, parentPid: 1, startedAtSeconds: 1000, command: 'bhyve: vm1', residentKiB: 0, cpuSeconds: 0, state: 'S' };
  test.each([
    ['everything agrees', info, true],
    ['the start moved by a second with the clock', { ...info, startedAtSeconds: 1001 }, true],
    ['another start', { ...info, startedAtSeconds: 1002 }, false],
    ['another title', { ...info, command: 'bhyve: vm10' }, false],
    ['another pid', { ...info, pid: 8 }, false],
  ])('%s', (_name, candidate, expected) => {
    expect(matchesProof(candidate, { pid: 7, startedAtSeconds: 1000, command: 'bhyve: vm1' })).toBe(expected);
  });

  test('never holds for a process of unknown start', () => {
    expect(matchesProof({ ...info, startedAtSeconds: 0 }, { pid: 7, startedAtSeconds: 0, command: 'bhyve: vm1' })).toBe(false);
  });
});

describe('processes', () => {
  test('who asks while a ps runs shares the next one with the others who wait', async () => {
    const calls: string[] = [];
    const ends: (() => void)[] = [];
    const processes = createProcesses({
      runPs: (args) => new Promise((resolve) => {
        calls.push(args.join(' '));
        ends.push(() => resolve({ code: 0, stdout: sample, stderr: '' }));
      }),
      kill: () => true,
      spawnDetached: () => Promise.reject(new Error('not here')),
    });
    const first = processes.list();
    const waiting = [processes.list(), processes.list(), processes.find(2695).then((found) => (found === undefined ? [] : [found]))];
    ends.shift()!();
    await first;
    await new Promise((resolve) => setImmediate(resolve));
    expect(calls).toHaveLength(2);
    ends.shift()!();
    expect((await Promise.all(waiting)).map((found) => found.some(({ pid }) => pid === 2695))).toEqual([true, true, true]);
    expect(calls).toHaveLength(2);
  });

  test('are asked for in the two forms that the lab knows, and not signalled without proof', async () => {
    const calls: string[] = [];
    const killed: number[] = [];
    const processes = createProcesses({
      runPs: async (args) => {
        calls.push(args.join(' '));
        return { code: 0, stdout: sample, stderr: '' };
      },
      kill: (pid) => killed.push(pid) > 0,
      spawnDetached: () => Promise.reject(new Error('not here')),
    });
    await processes.list();
    const guest = (await processes.find(2695))!;
    expect(calls).toEqual(['-axww -o pid,ppid,lstart,rss,time,state,command', '-ww -o pid,ppid,lstart,rss,time,state,command -p 2695']);
    expect([psListArguments.length, psFindArguments(1).length]).toEqual([3, 5]);
    expect(await processes.signal({ pid: 2695, startedAtSeconds: guest.startedAtSeconds - 5, command: 'bhyve: vm1' }, 'SIGTERM')).toBe(false);
    expect(killed).toEqual([]);
    expect(await processes.signal({ pid: 2695, startedAtSeconds: guest.startedAtSeconds, command: 'bhyve: vm1' }, 'SIGTERM')).toBe(true);
    expect(killed).toEqual([2695]);
  });
});

describe('the reader of sysctl', () => {
  test.each(recordings('sysctl'))('$argv as 13.2 answers', (entry) => {
    expect(parseSysctl(entry.argv[2]!, entry)).toBe(entry.code === 0 ? entry.stdout.trimEnd() : undefined);
  });
});
