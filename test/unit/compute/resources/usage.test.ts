import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { planMoves } from '../../../../src/compute/resources/moves.js';
import { accountFor, holdsResources, trackedOf, usageOf, type TrackedInstance } from '../../../../src/compute/resources/usage.js';
import { createObject, profileNamed, type NovaObjectOf, type ObjectFields } from '../../../../src/objects/index.js';

const zed = profileNamed('zed');
const flavor = (fields: Partial<ObjectFields['Flavor']> = {}): NovaObjectOf<'Flavor'> =>
  createObject(zed, 'Flavor', { vcpus: 2, memory_mb: 1024, root_gb: 10, ephemeral_gb: 5, swap: 512, ...fields });
const instance = (fields: Partial<ObjectFields['Instance']> = {}): NovaObjectOf<'Instance'> => createObject(zed, 'Instance', {
  uuid: 'u1', vm_state: 'active', task_state: null, os_type: null, project_id: 'p', image_ref: 'i', flavor: flavor(), ...fields,
});
const totals = { vcpus: 8, memoryMiB: 8192, diskGiB: 100 };
const reserved = { vcpus: 1, memoryMiB: 512, diskMiB: 2048 };

describe('usage of a flavor', () => {
  test('counts root, ephemeral and swap', () => expect(usageOf(flavor(), false)).toEqual({ vcpus: 2, memoryMiB: 1024, diskGiB: 15.5 }));
  test('has no root disk when that is a volume', () => {
    expect(trackedOf(instance({ image_ref: '' })).usage.diskGiB).toBe(5.5);
  });
  test('of an instance without flavor is an error, not zero', () => {
    expect(() => trackedOf(createObject(zed, 'Instance', { uuid: 'u', vm_state: 'active', task_state: null }))).toThrowError(expect.objectContaining({ code: 'object-field-unset' }));
  });
});

test.each([
  ['active', null, true], ['stopped', 'powering-on', true], ['error', null, true], ['building', 'spawning', true], ['resized', null, true], ['shelved', null, true],
  ['soft-delete', null, true], ['deleted', null, false], ['shelved_offloaded', null, false], ['shelved_offloaded', 'spawning', true], ['shelved_offloaded', 'unshelving', false],
])('%s/%s holds resources: %s', (vmState, taskState, expected) => {
  expect(holdsResources(instance({ vm_state: vmState, task_state: taskState }))).toBe(expected);
});

describe('accounts', () => {
  test('of an empty host are the reserved amounts', () => {
    expect(accountFor(totals, reserved, [], [], 0)).toEqual({
      fields: { vcpus_used: 1, memory_mb_used: 512, local_gb_used: 2, free_ram_mb: 7680, free_disk_gb: 98, running_vms: 0, current_workload: 0 },
      stats: { failed_builds: '0' },
    });
  });

  test('have the keys that the schedulers know, as texts', () => {
    const tracked = [trackedOf(instance({ vm_state: 'building', task_state: 'spawning' })), trackedOf(instance({ os_type: 'linux' })), trackedOf(instance({ task_state: 'image_snapshot' }))];
    const { stats, fields } = accountFor(totals, reserved, tracked, [], 2);
    expect(stats).toEqual({
      failed_builds: '2', num_instances: '3', io_workload: '2', num_vm_building: '1', num_vm_active: '2', num_task_spawning: '1', num_task_None: '1',
      num_task_image_snapshot: '1', num_os_type_None: '2', num_os_type_linux: '1', num_proj_p: '3',
    });
    expect(fields).toMatchObject({ running_vms: 3, current_workload: 2 });
  });

  test('are those of the recorded compute after one build', () => {
    const one: TrackedInstance = { vmState: 'building', taskState: null, osType: null, projectId: '4f72', usage: { vcpus: 1, memoryMiB: 64, diskGiB: 1 } };
    expect(accountFor({ vcpus: 1000, memoryMiB: 800000, diskGiB: 600000 }, { vcpus: 0, memoryMiB: 0, diskMiB: 0 }, [one], [], 0)).toEqual({
      fields: { vcpus_used: 1, memory_mb_used: 64, local_gb_used: 1, free_ram_mb: 799936, free_disk_gb: 599999, running_vms: 1, current_workload: 0 },
      stats: { failed_builds: '0', num_instances: '1', num_vm_building: '1', num_task_None: '1', num_os_type_None: '1', num_proj_4f72: '1', io_workload: '1' },
    });
  });

  const amount = fc.integer({ min: 0, max: 4096 });
  const anyUsage = fc.record({ vcpus: amount, memoryMiB: amount, diskGiB: amount });
  const anyTracked = fc.record({
    vmState: fc.constantFrom('active', 'building', 'error'), taskState: fc.constantFrom(null, 'spawning', 'rescuing'), osType: fc.constant(null), projectId: fc.constantFrom('a', 'b'),
    usage: anyUsage,
  });
  test('used and free add up to what there is, whatever runs', () => {
    fc.assert(fc.property(fc.array(anyTracked), fc.array(anyUsage), (tracked, moving) => {
      const { fields, stats } = accountFor(totals, reserved, tracked, moving, 0);
      expect(fields.memory_mb_used + fields.free_ram_mb).toBe(totals.memoryMiB);
      expect(fields.local_gb_used + fields.free_disk_gb).toBe(totals.diskGiB);
      const states = Object.entries(stats).filter(([key]) => key.startsWith('num_vm_')).reduce((sum, [, count]) => sum + Number(count), 0);
      expect(states).toBe(tracked.length);
      expect(Object.values(stats).every((value) => typeof value === 'string')).toBe(true);
    }));
  });
});

describe('migrations', () => {
  const here = { host: 'h1', node: 'n1' };
  const away = { host: 'h2', node: 'n2' };
  const migration = (from: typeof here, to: typeof here, fields: Partial<ObjectFields['Migration']> = {}): NovaObjectOf<'Migration'> => createObject(zed, 'Migration', {
    id: 7, instance_uuid: 'u1', source_compute: from.host, source_node: from.node, dest_compute: to.host, dest_node: to.node, migration_type: 'resize', status: 'finished',
    old_instance_type_id: 1, created_at: '2026-11-23T04:00:00Z', updated_at: null, ...fields,
  });
  const small = flavor({ vcpus: 1 });
  const big = flavor({ vcpus: 4 });
  const resized = (fields: Partial<ObjectFields['Instance']> = {}): NovaObjectOf<'Instance'> =>
    instance({ vm_state: 'resized', flavor: big, old_flavor: small, new_flavor: big, instance_type_id: 2, ...fields });
  const plan = (migrations: NovaObjectOf<'Migration'>[], one: NovaObjectOf<'Instance'>, isTracked: boolean): { vcpus: number[]; stale: number } => {
    const { usages, stale } = planMoves(migrations, new Map([['u1', one]]), new Set(isTracked ? ['u1'] : []), here);
    return { vcpus: [...usages.values()].map(({ vcpus }) => vcpus), stale: stale.length };
  };

  test.each([
    ['the source keeps the place of the old flavor', migration(here, away), false, [1]],
    ['the destination of a move that has not arrived holds that of the new one', migration(away, here), false, [4]],
    ['the destination of one that has arrived counts it once', migration(away, here), true, []],
    ['within one node both are held', migration(here, here), true, [1]],
    ['one between two other hosts takes nothing', migration(away, away), false, []],
  ])('%s', (_what, one, isTracked, expected) => {
    expect(plan([one], resized(), isTracked)).toEqual({ vcpus: expected, stale: 0 });
  });

  test('live migrations keep the flavor', () => {
    const live = resized({ vm_state: 'active', task_state: 'migrating', old_flavor: null, new_flavor: null });
    expect(plan([migration(away, here, { migration_type: 'live-migration' })], live, false).vcpus).toEqual([4]);
  });

  test('an instance that is not moving any more takes no second place', () => {
    expect(plan([migration(here, away)], resized({ vm_state: 'active' }), true)).toEqual({ vcpus: [], stale: 0 });
  });

  test('of several migrations of one instance the newest counts', () => {
    const old = migration(here, away, { updated_at: '2026-11-23T04:01:00Z' });
    const recent = migration(away, here, { updated_at: '2026-11-23T04:02:00Z' });
    expect(plan([recent, old], resized(), false).vcpus).toEqual([4]);
    expect(plan([old, recent], resized(), false).vcpus).toEqual([4]);
  });

  test('a migration that the instance has forgotten is stale', () => {
    const context = createObject(zed, 'MigrationContext', { migration_id: 8 });
    const isMoving = resized({ migration_context: context });
    expect(plan([migration(here, away)], isMoving, false)).toEqual({ vcpus: [], stale: 1 });
    expect(plan([migration(here, away, { status: 'error' })], isMoving, false)).toEqual({ vcpus: [], stale: 0 });
    const current = migration(away, here, { id: 8 });
    expect(plan([migration(here, away, { updated_at: '2099-01-01T00:00:00Z' }), current], isMoving, false)).toEqual({ vcpus: [4], stale: 1 });
  });
});
