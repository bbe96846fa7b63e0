import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OpenPlace, openPlace } from './place.js';
import { type Rule, describeDifferences, recordings, replayAll, replayInOrder, type Recording } from './replay.js';

let open: OpenPlace;
beforeAll(async () => {
  open = await openPlace();
});
afterAll(async () => {
  await open.close();
});

const command = (recording: Recording): string => recording.argv.join(' ');
const starts = (...texts: string[]) => (recording: Recording): boolean => texts.some((text) => command(recording).startsWith(text));

describe('zfs', () => {
  const longName = /\/n{200,}/;
  const rules: readonly Rule[] = [
    { when: (recording) => longName.test(command(recording) + recording.stdout), skip: 'all', why: 'a name of 255 characters in a pool with a longer name' },
    { when: starts('zfs rename tank/vms/disk0 tank/vms/diskren', 'zfs rename tank/vms/diskren', 'zfs list -Hpo name -r tank/vms'), skip: 'all', why: 'zfs-fuse renames nothing that is open' },
    { when: starts('zfs mount', 'zfs unmount', 'zfs destroy tank/busy', 'zfs destroy -f tank/busy', 'zfs list -Hpo name,mounted'), skip: 'all', why: 'file systems of the lab are never mounted' },
    { when: (recording) => ['zfs destroy tank/vms', 'zfs destroy -r tank/vms'].includes(command(recording)), skip: 'stderr', why: 'the real list has clones twice' },
    { when: starts('zfs destroy', 'zfs rollback', 'zfs get -Hp clones', 'zfs list -Hpo name,defer_destroy,clones', 'zfs list -Hp -s used'), skip: 'order', why: 'lists of datasets come in no order that anybody promises' },
    { when: starts('zfs list -Hp -t snapshot', 'zfs list -Hp -r -t'), skip: 'order', why: 'snapshots of one second' },
  ];

  it('answers a whole session of FreeBSD 13.2, good commands and bad ones, with the same words and codes', async () => {
    let held: number | undefined;
    // The session had a snapshot made and the disk opened by hand in between.
    const between: Readonly<Record<string, () => Promise<void>>> = {
      'zfs rollback tank/vms/disk0@open': async () => {
        await open.place.run(['zfs', 'snapshot', `${translated('tank/vms/disk0')}@open`]);
      },
      'zfs destroy -r tank/vms/disk0': async () => {
        if (open.node !== undefined) held ??= openSync(join(open.node.deviceRoot, 'zvol', translated('tank/vms/disk0')), 'r');
      },
      'zfs rename tank/vms/disk0 tank/vms/diskren': async () => {
        if (held !== undefined && held >= 0) closeSync(held);
        held = -1;
        await open.place.run(['zfs', 'destroy', `${translated('tank/vms/disk0')}@open`]);
      },
      'zfs destroy -R -nv tank/vms/disk0': async () => undefined,
    };
    const translated = (name: string): string => open.place.names.reduce((text, [recorded, here]) => text.replaceAll(recorded, here), name);
    const isHeld = (argv: string): boolean => argv === 'zfs destroy -r tank/vms/disk0' && held === -1;
    const differences = await replayInOrder(open.place, recordings('zfs'), rules, async (argv) => (isHeld(argv) ? undefined : between[argv]?.()));
    expect(describeDifferences(differences)).toBe('');
  }, 240_000);
});

describe('zpool', () => {
  // Other pools came and went in that session, and devices were scrubbed, initialized and taken away.
  const isOther = (recording: Recording): boolean => /\bmp\b|\bcp\b|tank9|comment|checkpoint|-[a-zA-Z]*[ivTsgDt][a-zA-Z]*\b|\ball\b/.test(command(recording)) || /\bmp\b|\bcp\b|scan:|no pools|no such pool|DEGRADED/.test(recording.stdout + recording.stderr);
  const modelled = recordings('zpool').filter((recording) => !isOther(recording) && !(recording.stdout === '' && recording.code === 0));

  it('shows a pool as FreeBSD 13.2 does', async () => {
    expect(modelled.length).toBeGreaterThan(15);
    expect(describeDifferences(await replayAll(open.place, modelled))).toBe('');
  });
});
