/**
 * The crash table of storage: the agent dies before and after every command that changes the pool, a new agent does the same work
 * again, and the pool must look as if nothing had happened: nothing half, nothing twice, nothing foreign touched.
 */
import { describe, expect, test } from 'vitest';
import { parseImageId, parseInstanceUuid } from '../../../src/lib/ids.js';
import type { GlanceImage } from '../../../src/openstack/index.js';
import { createStorage, type NodeStorage } from '../../../src/storage/index.js';
import { createFakeHost } from '../../fakes/host.js';
import { noMetrics, recordingLog } from '../../fakes/recording-log.js';
import { createVirtualClock } from '../../fakes/virtual-clock.js';
import { createFakeZfs, type FakeZfs } from '../../fakes/zfs.js';

const MiB = 1024 * 1024;
const GiB = 1024n * 1024n * 1024n;
const IMAGE = parseImageId('11111111-1111-4111-8111-111111111111');
const ONE = parseInstanceUuid('aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa');

interface Machine { readonly zfs: FakeZfs; readonly files: Map<string, Uint8Array>; readonly writes: string[] }

const newMachine = (): Machine => {
  const zfs = createFakeZfs({ poolBytes: 100n * GiB });
  zfs.run(['create', 'tank/theirs']);
  zfs.run(['create', '-s', '-V', String(MiB), 'tank/theirs/disk']);
  return { zfs, files: new Map(), writes: [] };
};

class Killed extends Error {}

/** An agent on the machine; dies before or after its `at`-th change (counted from 0). */
function agentOn(machine: Machine, death?: { at: number; when: 'before' | 'after' }): { storage: NodeStorage; changes: () => number } {
  let changes = 0;
  let isDead = false;
  const effect = <T>(act: () => T): T => {
    const isLast = death?.at === changes;
    changes += 1;
    if (isDead || (isLast && death.when === 'before')) {
      isDead = true;
      throw new Killed();
    }
    const result = act();
    if (isLast) isDead = true;
    if (isDead) throw new Killed();
    return result;
  };
  const host = createFakeHost({
    tools: {
      zfs: ({ args }) => (args[0] === 'get' ? (isDead ? Promise.reject(new Killed()) : machine.zfs.run(args)) : effect(() => machine.zfs.run(args))),
      dd: ({ args }) => effect(() => { machine.writes.push(args[1]!); return ''; }),
    },
  });
  for (const [path, content] of machine.files) host.disk.files.set(path, content);
  host.disk.nodes.has = (path) => path.startsWith('/dev/zvol/') && machine.zfs.datasets.has(path.slice('/dev/zvol/'.length));
  return {
    storage: createStorage({ host, root: 'tank/nova', scratch: '/state/scratch', clock: createVirtualClock(), log: recordingLog().log, metrics: noMetrics }),
    changes: () => changes,
  };
}

const content = Buffer.alloc(2 * MiB, 'x');
const image: GlanceImage = {
  id: IMAGE, name: null, status: 'active', diskFormat: 'raw', containerFormat: 'bare', sizeBytes: BigInt(content.length), minDiskGiB: 0, minRamMiB: 0, checksum: null,
  hashAlgorithm: null, hashValue: null, properties: {},
};
const never = new AbortController().signal;

async function build(storage: NodeStorage): Promise<void> {
  await storage.prepare();
  await storage.ensureImage(image, async () => (async function* () { yield content; })(), { maxBytes: null, signal: never });
  await storage.createDiskFromImage(ONE, 'root', IMAGE, GiB);
}

async function remove(storage: NodeStorage): Promise<void> {
  await storage.prepare();
  await storage.buryDisks(ONE);
  await storage.reap();
  await storage.dropImage(IMAGE);
}

/** All that matters of a pool; graves have random names. */
const picture = ({ zfs }: Machine): string[] => [...zfs.datasets.values()]
  .map((one) => [one.name, one.type, one.volsize, one.origin?.name ?? '', ...[...one.own].map((pair) => pair.join('=')).sort()].join(' ')).sort();

async function changesOf(machine: Machine, work: (storage: NodeStorage) => Promise<void>): Promise<number> {
  const agent = agentOn(machine);
  await work(agent.storage);
  return agent.changes();
}

const BUILD_CHANGES = 9;
const REMOVE_CHANGES = 3;
const cuts = (count: number): [number, 'before' | 'after'][] => Array.from({ length: count }, (_, at) => [[at, 'before'], [at, 'after']] as [number, 'before' | 'after'][]).flat();

describe('an agent that dies while it builds', () => {
  test(`makes ${BUILD_CHANGES} changes, each of which the table covers`, async () => {
    expect(await changesOf(newMachine(), build)).toBe(BUILD_CHANGES);
  });

  test.each(cuts(BUILD_CHANGES))('at change %i, %s it, leaves nothing that the next one cannot finish', async (at, when) => {
    const whole = newMachine();
    await build(agentOn(whole).storage);
    const machine = newMachine();
    await expect(build(agentOn(machine, { at, when }).storage)).rejects.toThrow(Killed);
    await build(agentOn(machine).storage);
    expect(picture(machine)).toEqual(picture(whole));
    await build(agentOn(machine).storage);
    expect(picture(machine)).toEqual(picture(whole));
  });

  test.each(cuts(BUILD_CHANGES))('at change %i, %s it, leaves nothing after a removal', async (at, when) => {
    const empty = newMachine();
    await agentOn(empty).storage.prepare();
    const machine = newMachine();
    await expect(build(agentOn(machine, { at, when }).storage)).rejects.toThrow(Killed);
    await remove(agentOn(machine).storage);
    expect(picture(machine)).toEqual(picture(empty));
  });
});

describe('an agent that dies while it removes', () => {
  test(`makes ${REMOVE_CHANGES} changes, each of which the table covers`, async () => {
    const machine = newMachine();
    await build(agentOn(machine).storage);
    expect(await changesOf(machine, remove)).toBe(REMOVE_CHANGES);
  });

  test.each(cuts(REMOVE_CHANGES))('at change %i, %s it, leaves the rest to the next one', async (at, when) => {
    const empty = newMachine();
    await agentOn(empty).storage.prepare();
    const machine = newMachine();
    await build(agentOn(machine).storage);
    await expect(remove(agentOn(machine, { at, when }).storage).then(() => {
      // reap and drop report what they could not do instead of failing
      throw new Killed();
    })).rejects.toThrow(Killed);
    await remove(agentOn(machine).storage);
    expect(picture(machine)).toEqual(picture(empty));
  });
});

test('a half-written image is never cloned, wherever the agent died', async () => {
  for (const [at, when] of cuts(BUILD_CHANGES)) {
    const machine = newMachine();
    await expect(build(agentOn(machine, { at, when }).storage)).rejects.toThrow(Killed);
    const wasWritten = machine.writes.length > 0;
    const { storage } = agentOn(machine);
    await storage.prepare();
    const made = await storage.createDiskFromImage(ONE, 'root', IMAGE, GiB).then(() => true, () => false);
    if (made) expect(wasWritten, `${when} ${at}`).toBe(true);
  }
});

describe('an agent that dies while a disk takes the place of another', () => {
  const replace = async (storage: NodeStorage): Promise<void> => void (await storage.replaceFromImage(ONE, 'root', IMAGE, 2n * GiB, 'move'));
  const CHANGES = 3; // clone, burial, name
  const built = async (): Promise<Machine> => {
    const machine = newMachine();
    await build(agentOn(machine).storage);
    return machine;
  };
  const rootOf = async (machine: Machine): Promise<unknown> => (await agentOn(machine).storage.disks(ONE)).map(({ role, bytes, madeFor }) => [role, bytes, madeFor]);

  test(`makes ${CHANGES} changes, each of which the table covers`, async () => {
    expect(await changesOf(await built(), replace)).toBe(CHANGES);
  });

  test.each(cuts(CHANGES))('at change %i, %s it, leaves the old disk, the new one, or a new one that the next call puts there', async (at, when) => {
    const whole = await built();
    await replace(agentOn(whole).storage);
    const machine = await built();
    await expect(replace(agentOn(machine, { at, when }).storage)).rejects.toThrow(Killed);
    expect([[['root', GiB, null]], [], [['root', 2n * GiB, 'move']]]).toContainEqual(await rootOf(machine));
    await replace(agentOn(machine).storage);
    for (const one of [machine, whole]) await agentOn(one).storage.reap();
    expect(picture(machine)).toEqual(picture(whole));
  });

  test.each(cuts(CHANGES))('at change %i, %s it, and does not want it any more, leaves one disk: the old one, or the new one whose predecessor is buried', async (at, when) => {
    const machine = await built();
    await expect(replace(agentOn(machine, { at, when }).storage)).rejects.toThrow(Killed);
    const { storage } = agentOn(machine);
    await storage.dropReplacement(ONE, 'root');
    await storage.reap();
    const isBuried = at > 1 || (at === 1 && when === 'after');
    expect(await rootOf(machine)).toEqual([['root', isBuried ? 2n * GiB : GiB, isBuried ? 'move' : null]]);
    expect(picture(machine).filter((line) => /\.new|graveyard\//.test(line))).toEqual([]);
  });

  test.each(cuts(CHANGES))('at change %i, %s it, does not keep a successor of another call', async (at, when) => {
    const whole = await built();
    const machine = await built();
    await expect(replace(agentOn(machine, { at, when }).storage)).rejects.toThrow(Killed);
    for (const one of [machine, whole]) {
      await agentOn(one).storage.replaceWithBlank(ONE, 'root', GiB, 'another');
      await agentOn(one).storage.reap();
    }
    expect(picture(machine)).toEqual(picture(whole));
  });
});

describe('an agent that dies while a move is reverted', () => {
  const putBack = async (storage: NodeStorage): Promise<void> => {
    await storage.revertDisks(ONE, 'move');
    await storage.forgetKept(ONE, 'move');
  };
  const moved = async (): Promise<Machine> => {
    const machine = newMachine();
    const { storage } = agentOn(machine);
    await build(storage);
    await storage.createBlankDisk(ONE, 'eph0', GiB);
    await storage.keepDisks(ONE, 'move');
    await storage.growDisk(ONE, 'root', 2n * GiB);
    await storage.growDisk(ONE, 'eph0', 2n * GiB);
    await storage.replaceWithBlank(ONE, 'swap', GiB, 'move');
    return machine;
  };
  const CHANGES = 5; // two disks go back, one to its grave, two marks go

  test(`makes ${CHANGES} changes, each of which the table covers`, async () => {
    expect(await changesOf(await moved(), putBack)).toBe(CHANGES);
  });

  test.each(cuts(CHANGES))('at change %i, %s it, leaves the rest to the next one', async (at, when) => {
    const whole = newMachine();
    await build(agentOn(whole).storage);
    await agentOn(whole).storage.createBlankDisk(ONE, 'eph0', GiB);
    const machine = await moved();
    await expect(putBack(agentOn(machine, { at, when }).storage)).rejects.toThrow(Killed);
    await putBack(agentOn(machine).storage);
    await agentOn(machine).storage.reap();
    expect(picture(machine)).toEqual(picture(whole));
  });

  test.each(cuts(2))('and one that dies at mark %i, %s it, keeps no disk twice', async (at, when) => {
    const machine = newMachine();
    const { storage } = agentOn(machine);
    await build(storage);
    await storage.createBlankDisk(ONE, 'eph0', GiB);
    const before = picture(machine);
    await expect(agentOn(machine, { at, when }).storage.keepDisks(ONE, 'move')).rejects.toThrow(Killed);
    await agentOn(machine).storage.keepDisks(ONE, 'move');
    expect(picture(machine).length).toBe(before.length + 2);
    await agentOn(machine).storage.forgetKept(ONE, 'move');
    expect(picture(machine)).toEqual(before);
  });
});

test('a disk of which somebody cloned a later state is not taken back over the clone, and says that something depends on it', async () => {
  const machine = newMachine();
  const { storage } = agentOn(machine);
  await build(storage);
  await storage.keepDisks(ONE, 'move');
  for (const args of [`snapshot tank/nova/instances/${ONE}/root@theirs`, `clone tank/nova/instances/${ONE}/root@theirs tank/theirs/copy`]) expect(machine.zfs.run(args.split(' ')).code).toBe(0);
  await expect(storage.revertDisks(ONE, 'move')).rejects.toMatchObject({ code: 'zfs-has-dependents' });
  expect(machine.zfs.datasets.has('tank/theirs/copy')).toBe(true);
});
