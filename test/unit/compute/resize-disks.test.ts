/** The disks of a resize: grown, added and made anew by the flavor. */
import { describe, expect, test } from 'vitest';
import { fitDisks, remakeSwap, unfillableEphemeral } from '../../../src/compute/resize/disk-steps.js';
import type { InstanceUuid } from '../../../src/lib/ids.js';
import { createObject, profileNamed, type NovaObjectOf } from '../../../src/objects/index.js';
import type { DiskFormat, DiskRole } from '../../../src/storage/index.js';
import { guestDefinition } from '../../fakes/guest-definition.js';
import { createCrash } from '../../sim/crash.js';
import { fakeDriver, fakeStorage } from '../../sim/fake-node.js';
import { createWorld, type FakeDisk } from '../../sim/world.js';

const GiB = 1024n ** 3n;
const MiB = 1024n ** 2n;
const uuid = '11111111-1111-4111-8111-111111111111' as InstanceUuid;
const flavor = (ephemeralGb: number, swap: number): NovaObjectOf<'Flavor'> => createObject(profileNamed('zed'), 'Flavor', { vcpus: 1, memory_mb: 64, root_gb: 2, ephemeral_gb: ephemeralGb, swap });
const disk = (bytes: bigint, more: Partial<FakeDisk> = {}): FakeDisk => ({ isGrown: true, image: null, bus: null, bytes, madeFor: null, ...more });

/** role → [octets, format, made for], after the step for the flavor was done on these disks. */
async function fitted(before: Readonly<Partial<Record<DiskRole, FakeDisk>>>, wanted: NovaObjectOf<'Flavor'>, options: { format?: string; isRunning?: boolean; times?: number; make?: typeof fitDisks } = {}): Promise<unknown> {
  const world = createWorld();
  world.disks.set(uuid, new Map(Object.entries({ root: disk(GiB), ...before }) as [DiskRole, FakeDisk][]));
  if (options.isRunning === true) world.folders.set(uuid, { definition: guestDefinition({ instance: uuid }), isRunning: true, starts: 1, variablesSince: 1 });
  const crash = createCrash(null);
  const deps = { storage: fakeStorage(world, crash), driver: fakeDriver(world, crash), options: { defaultEphemeralFormat: options.format ?? null } } as unknown as Parameters<typeof fitDisks>[0];
  const step = (options.make ?? fitDisks)(deps, uuid, wanted, 'move');
  for (let time = 0; time < (options.times ?? 1); time += 1) if ((await step.look()) !== 'done') await step.act(new AbortController().signal);
  return Object.fromEntries([...(world.disks.get(uuid) ?? [])].map(([role, { bytes, format, madeFor }]) => [role, [bytes, format, madeFor]]));
}

describe('the disks of a resized server', () => {
  test('grow, and a second time nothing happens', async () => {
    for (const times of [1, 2]) {
      expect(await fitted({ eph0: disk(GiB, { format: 'vfat' }), swap: disk(64n * MiB, { format: 'swap' }) }, flavor(3, 64), { format: 'ext4', times })).toEqual({
        root: [2n * GiB, undefined, null], eph0: [3n * GiB, 'vfat', null], swap: [64n * MiB, 'swap', null] });
    }
  });

  test('of which several are ephemeral are together as large as the flavor says: the first one grows', async () => {
    for (const times of [1, 2]) {
      expect(await fitted({ eph0: disk(GiB), eph1: disk(2n * GiB) }, flavor(6, 0), { times })).toEqual({ root: [2n * GiB, undefined, null], eph0: [4n * GiB, undefined, null], eph1: [2n * GiB, undefined, null] });
    }
  });

  test('of which the ephemerals are as large already stay as they are', async () => {
    expect(await fitted({ eph0: disk(GiB), eph1: disk(2n * GiB) }, flavor(3, 0))).toMatchObject({ eph0: [GiB, undefined, null], eph1: [2n * GiB, undefined, null] });
  });

  test.each([['ext4', 'ext4'], [undefined, undefined]])('get a first ephemeral in default_ephemeral_format (%s), as a build makes it, marked with the move', async (format, filled) => {
    for (const times of [1, 2]) {
      expect(await fitted({}, flavor(3, 0), { times, ...(format === undefined ? {} : { format }) })).toEqual({ root: [2n * GiB, undefined, null], eph0: [3n * GiB, filled, 'move'] });
    }
  });

  test('are filled again when the agent was killed before they were', async () => {
    expect(await fitted({ eph0: disk(3n * GiB, { madeFor: 'move' }), swap: disk(64n * MiB, { madeFor: 'move' }) }, flavor(3, 64), { format: 'ext4' })).toMatchObject({
      eph0: [3n * GiB, 'ext4', 'move'], swap: [64n * MiB, 'swap', 'move'] });
  });

  test('are not touched when their guest runs: it has them in use', async () => {
    expect(await fitted({ eph0: disk(3n * GiB, { madeFor: 'move' }) }, flavor(3, 64), { format: 'ext4', isRunning: true })).toEqual({ root: [GiB, undefined, null], eph0: [3n * GiB, undefined, 'move'] });
  });

  test('have the flavor’s swap: of another size, made for the first time, or none', async () => {
    expect(await fitted({ swap: disk(64n * MiB) }, flavor(0, 32))).toMatchObject({ swap: [32n * MiB, 'swap', 'move'] });
    expect(await fitted({}, flavor(0, 32))).toMatchObject({ swap: [32n * MiB, 'swap', 'move'] });
    expect(await fitted({ swap: disk(64n * MiB) }, flavor(0, 0))).toEqual({ root: [2n * GiB, undefined, null] });
  });

  test('get back their swap alone at a revert: the others come from their snapshots, of whatever size they were', async () => {
    for (const times of [1, 2]) {
      expect(await fitted({ eph0: disk(GiB) }, flavor(3, 64), { make: remakeSwap, times })).toEqual({
        root: [GiB, undefined, null], eph0: [GiB, undefined, null], swap: [64n * MiB, 'swap', 'move'] });
    }
  });
});

test('a first ephemeral in a format that this host cannot write is refused before anything is touched', () => {
  const deps = (defaultEphemeralFormat: string | null): Parameters<typeof unfillableEphemeral>[0] =>
    ({ options: { defaultEphemeralFormat }, storage: { formats: new Set<DiskFormat>(['swap', 'ext4']) } }) as unknown as Parameters<typeof unfillableEphemeral>[0];
  expect(unfillableEphemeral(deps('ntfs'), flavor(0, 0), flavor(1, 0))).toMatch(/format ntfs is not supported .*it has: ext4/);
  expect([unfillableEphemeral(deps('ext4'), flavor(0, 0), flavor(1, 0)), unfillableEphemeral(deps(null), flavor(0, 0), flavor(1, 0))]).toEqual([null, null]);
  expect([unfillableEphemeral(deps('ntfs'), flavor(1, 0), flavor(2, 0)), unfillableEphemeral(deps('ntfs'), flavor(0, 0), flavor(0, 0))]).toEqual([null, null]);
});
