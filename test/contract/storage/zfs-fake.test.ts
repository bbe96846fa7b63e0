/** Holds the fake zfs to what OpenZFS on FreeBSD 13.2 was seen to answer: exit code and message, for the forms that the agent uses. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { createFakeZfs } from '../../fakes/zfs.js';

interface Recording { argv: string[]; stdout: string; stderr: string; code: number }
const recorded = (file: string): Recording[] => (JSON.parse(readFileSync(new URL(`../../samples/freebsd-13.2/${file}`, import.meta.url), 'utf8')) as { recordings: Recording[] }).recordings;
const recordings = [...recorded('zfs.json'), ...recorded('commands/zfs.json')];

/** Commands in an order that brings the fake into the states in which the recordings were made, with the exit code of the one meant. */
const script: readonly (readonly [string, number])[] = [
  ['zfs create tank/vms', 0], ['zfs create tank/vms', 1], ['zfs create tank/a/b/c', 1], ['zfs create nosuch/x', 1], ['zfs create -o banana=1 tank/x', 1],
  ['zfs create -V 0 tank/vms/zero', 1], ['zfs create -V 10G tank/vms/toobig', 1], ['zfs create -V 67108864 -s -o refreservation=none tank/vms/byt', 0],
  ['zfs create -V 64M -o volmode=dev tank/vms/disk0', 0], ['zfs create -V 64M -o volmode=dev tank/vms/disk0', 1], ['zfs create -V 32M tank/vms/disk0/child', 1],
  ['zfs get -H used tank/nosuch', 1], ['zfs get -Hp banana tank/vms', 2], ['zfs get -Hp org.example:unset tank/vms', 0],
  ['zfs set org.example:agent=vm-1 disk=0 tank/vms/disk0', 0], ['zfs get -Hp org.example:agent tank/vms/disk0', 0], ['zfs set NoColon=1 tank/vms', 1],
  ['zfs set org.Example:Upper=1 tank/vms', 1], ['zfs set volsize=1001K tank/vms/disk0', 1], ['zfs set volsize=100G tank/vms/disk0', 1],
  ['zfs set volsize=1G tank/vms', 1], ['zfs set readonly=on tank/nosuch', 1],
  ['zfs snapshot tank/vms/disk0@s1', 0], ['zfs snapshot tank/vms/disk0@s1', 1], ['zfs snapshot tank/nosuch@s1', 2], ['zfs destroy tank/vms/disk0', 1],
  ['zfs clone tank/vms/disk0@s1 tank/vms/clone1', 0], ['zfs clone tank/vms/disk0@s1 tank/vms/clone1', 1], ['zfs clone tank/vms/disk0@nosuch tank/vms/clone2', 1],
  ['zfs clone tank/vms/disk0 tank/vms/clone2', 1], ['zfs clone tank/vms/disk0@s1 nosuch/clone2', 1], ['zfs clone tank/vms/disk0@s1 tank/no/such/clone2', 1],
  ['zfs destroy tank/vms/disk0@s1', 1], ['zfs destroy tank/vms/disk0@nosuch', 1], ['zfs destroy tank/nosuch', 1], ['zfs destroy tank', 1],
  ['zfs rename tank/vms/byt tank/vms/byt2', 0], ['zfs rename tank/vms/byt tank/vms/byt2', 1], ['zfs rename tank/vms/byt2 tank/vms/disk0', 1],
  ['zfs rename tank/vms/byt2 other/byt2', 1],
  ['zfs promote tank/nosuch', 1], ['zfs promote tank/vms/clone1', 0], ['zfs promote tank/vms/clone1', 1], ['zfs promote tank/vms/disk0', 0],
];
const firstLine = (text: string): string => text.split('\n')[0]!;

describe('the fake zfs', () => {
  const fake = createFakeZfs();
  test.each(script)('answers %s with %d as 13.2 does', (command, code) => {
    const recorded = recordings.find((entry) => entry.argv.join(' ') === command && entry.code === code)!;
    const answer = fake.run(recorded.argv.slice(1));
    expect([answer.code, firstLine(answer.stderr)]).toEqual([recorded.code, firstLine(recorded.stderr)]);
    if (recorded.argv[1] === 'get') expect(answer.stdout).toBe(recorded.stdout);
  });

  test('refuses to destroy a volume that somebody has open, with all that is below it', () => {
    const other = createFakeZfs();
    other.run(['create', 'tank/vms']);
    other.run(['create', '-s', '-V', '67108864', 'tank/vms/disk0']);
    other.open.add('tank/vms/disk0');
    const recorded = recordings.find((entry) => entry.argv.join(' ') === 'zfs destroy -r tank/vms/disk0' && entry.stderr.includes('busy'))!;
    expect(other.run(recorded.argv.slice(1))).toMatchObject({ code: recorded.code, stderr: recorded.stderr });
    expect(other.run(['destroy', '-r', 'tank/vms']).code).toBe(1);
    expect(other.run(['rename', 'tank/vms/disk0', 'tank/vms/renamed']).code).toBe(0);
  });

  test('promotes as 13.2 does: the origin and what is older move, other clones follow, what is newer stays', () => {
    const other = createFakeZfs();
    const volume = ['create', '-s', '-V', '67108864', 'tank/vms/disk0'];
    const steps = ['create tank/vms', volume.join(' '), 'snapshot tank/vms/disk0@s1', 'snapshot tank/vms/disk0@s2', 'snapshot tank/vms/disk0@s3', 'clone tank/vms/disk0@s2 tank/vms/clone1', 'clone tank/vms/disk0@s1 tank/vms/clone3'];
    for (const step of steps) expect([step, other.run(step.split(' ')).code]).toEqual([step, 0]);
    expect(other.run(['promote', 'tank/vms/clone1']).code).toBe(0);
    expect(other.run(['list', '-Hpr', '-t', 'volume,snapshot', '-o', 'name,origin', 'tank/vms']).stdout.trim().split('\n').map((line) => line.split('\t'))).toEqual([
      ['tank/vms/clone1', '-'], ['tank/vms/clone1@s1', '-'], ['tank/vms/clone1@s2', '-'], ['tank/vms/clone3', 'tank/vms/clone1@s1'], ['tank/vms/disk0', 'tank/vms/clone1@s2'], ['tank/vms/disk0@s3', '-'],
    ]);
    other.run(['snapshot', 'tank/vms/clone3@s1']);
    expect(other.run(['promote', 'tank/vms/clone3'])).toMatchObject({ code: 1, stderr: expect.stringContaining("cannot promote 'tank/vms/clone3'") as string });
  });

  test('takes a volume back with its size, never over a clone of what came later', () => {
    const other = createFakeZfs();
    for (const args of ['create tank/vms', 'create -s -V 67108864 tank/vms/disk0', 'snapshot tank/vms/disk0@s1', 'set volsize=134217728 org.example:agent=vm-1 tank/vms/disk0', 'snapshot tank/vms/disk0@s2',
      'clone tank/vms/disk0@s2 tank/vms/clone']) expect(other.run(args.split(' ')).stderr).toBe('');
    expect(other.run(['rollback', '-r', 'tank/vms/disk0@s1']).stderr).toContain('clones of previous snapshots exist'); // rollback_check_dependent of zfs_main.c
    other.run(['destroy', 'tank/vms/clone']);
    expect(other.run(['rollback', '-r', 'tank/vms/disk0@s1']).code).toBe(0);
    expect(other.run(['get', '-Hpr', '-o', 'name,value', 'volsize,org.example:agent', 'tank/vms/disk0']).stdout).toBe('tank/vms/disk0\t67108864\ntank/vms/disk0\tvm-1\ntank/vms/disk0@s1\t67108864\ntank/vms/disk0@s1\tvm-1\n');
  });

  test('inherits user properties and says from where', () => {
    const other = createFakeZfs();
    other.run(['create', '-o', 'org.example:tab=a', 'tank/vms']);
    other.run(['create', '-s', '-V', '67108864', 'tank/vms/disk0']);
    expect(other.run(['get', '-Hp', '-r', 'org.example:tab', 'tank/vms']).stdout).toBe('tank/vms\torg.example:tab\ta\tlocal\ntank/vms/disk0\torg.example:tab\ta\tinherited from tank/vms\n');
  });
});
