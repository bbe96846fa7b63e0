import { describe, expect, test } from 'vitest';
import { AgentError, wireFaultOf } from '../../../src/lib/errors.js';
import type { TestNode } from '../../contract/support/compute-node.js';
import { instanceWire, messageOf, providerUuid, wireObject } from '../../contract/support/compute-node.js';
import { scene, type Scene } from '../../contract/support/scene.js';

type Data = Record<string, unknown>;
const rowOf = (node: TestNode): Data => node.rpc.instances[0] ?? {};
const migrationOf = (node: TestNode): Data => node.rpc.migrations[0] ?? {};
const faults = (node: TestNode): unknown[] => node.rpc.faults.map((fault) => fault['message']);
const failed = (node: TestNode): unknown[] => node.rpc.events.filter(({ outcome }) => outcome === 'Error').map(({ event }) => event);
const argsOf = (play: Scene): Data => play.message['args'] as Data;
const data = (value: unknown): Data => (value as Record<string, Data>)['nova_object.data'] ?? {};
const broken = (): Promise<never> => Promise.reject(new AgentError('guest-start-failed', 'vm_setup_memory: Cannot allocate memory'));

/** The recorded resize, played by one host, after `prepare`. */
async function resized(prepare: (play: Scene) => void = () => undefined): Promise<{ play: Scene; node: TestNode; uuid: string; error: unknown }> {
  const play = await scene('resize', { guest: 'running', isOneHost: true });
  const { node } = play;
  const uuid = String(play.row['uuid']);
  node.placement.allocate(uuid, { [providerUuid]: { resources: { VCPU: 9 } } });
  prepare(play);
  const { error } = await node.receive(play.message);
  await node.settled();
  return { play, node, uuid, error };
}

/** As before the request: state, flavor, running guest, one allocation (the old flavor's), no kept disks. */
function expectUntouched(node: TestNode, uuid: string): void {
  expect(rowOf(node)).toMatchObject({ vm_state: 'active', task_state: null, instance_type_id: 1, memory_mb: 64 });
  expect(node.guest(uuid)?.isRunning).toBe(true);
  expect(node.placement.consumers.get(uuid)?.allocations[providerUuid]).toEqual({ resources: { VCPU: 1, MEMORY_MB: 64, DISK_GB: 1 } });
  expect(node.placement.consumers.has(String(migrationOf(node)['uuid']))).toBe(false);
  expect(migrationOf(node)['status']).toBe('error');
  expect(node.world.kept.size).toBe(0);
  expect(node.deps.journal.unfinished()).toEqual([]);
}

describe('a resize that this host refuses', () => {
  const withoutRetry = (play: Scene): void => { Object.assign(argsOf(play)['filter_properties'] as Data, { retry: null }); };

  test('to fewer gigabytes leaves the guest running, and its user reads why', async () => {
    const { node, uuid } = await resized((play) => { Object.assign(data(argsOf(play)['flavor']), { root_gb: 0 }); });
    expectUntouched(node, uuid);
    expect(node.guest(uuid)?.starts).toBe(1);
    expect(faults(node)).toEqual(['Resize error: Unable to resize disk down.']);
    expect(failed(node)).toEqual(['compute_resize_instance']);
  });

  test('to more vCPUs than a guest can have is over at once when there is no other host', async () => {
    const { node, uuid, error } = await resized((play) => {
      withoutRetry(play);
      Object.assign(data(argsOf(play)['flavor']), { vcpus: 64 });
    });
    expectUntouched(node, uuid);
    expect(wireFaultOf(error)?.className).toBe('ComputeResourcesUnavailable');
    expect(node.guest(uuid)?.starts).toBe(1);
  });

  test('because the server is on another host is offered to the next host, with the allocation given back first', async () => {
    const { node, uuid, error } = await resized((play) => { Object.assign(data(argsOf(play)['instance']), { host: 'another' }); Object.assign(rowOf(play.node), { host: 'another' }); });
    expect(error).toBeUndefined();
    const cast = node.sent().find(({ method }) => method === 'migrate_server');
    expect(cast?.target).toMatchObject({ topic: 'conductor', namespace: 'compute_task', version: '1.20' });
    expect(cast?.args).toMatchObject({ live: false, rebuild: false, host_list: [], scheduler_hint: { filter_properties: { retry: { num_attempts: 1, exc: [expect.stringContaining('between hosts')] } } } });
    expect(rowOf(node)).toMatchObject({ task_state: 'resize_prep', vm_state: 'active' });
    expect(node.placement.consumers.get(uuid)?.allocations[providerUuid]?.resources['VCPU']).toBe(1);
    expect(migrationOf(node)['status']).toBe('error');
  });

  test('with the same flavor is one to itself', async () => {
    const { node, uuid, error } = await resized((play) => {
      withoutRetry(play);
      Object.assign(data(argsOf(play)['flavor']), { id: 1 });
    });
    expectUntouched(node, uuid);
    expect(wireFaultOf(error)?.className).toBe('UnableToMigrateToSelf');
  });

  test('because its task was cleared while it waited does nothing', async () => {
    const { node, uuid } = await resized((play) => { Object.assign(rowOf(play.node), { task_state: null }); });
    expectUntouched(node, uuid);
  });
});

describe('a resize that fails half way', () => {
  test('before the disks are marked runs again as it was', async () => {
    const { node, uuid } = await resized(({ node: { deps } }) => { deps.storage.keepDisks = () => Promise.reject(new AgentError('zfs-out-of-space', 'out of space')); });
    expectUntouched(node, uuid);
    expect(node.guest(uuid)?.starts).toBe(2);
    expect(failed(node)).toEqual(['compute_resize_instance']);
  });

  test('at the start of the larger guest goes back to the old one', async () => {
    const { node, uuid } = await resized(({ node: { deps } }) => {
      const start = deps.driver.start.bind(deps.driver);
      let isFirst = true;
      deps.driver.start = (instance) => {
        if (!isFirst) return start(instance);
        isFirst = false;
        return broken();
      };
    });
    expectUntouched(node, uuid);
    expect(rowOf(node)).toMatchObject({ old_flavor: null, new_flavor: null });
    expect(node.guest(uuid)?.definition.memoryMiB).toBe(64);
    expect(failed(node)).toEqual(['compute_finish_resize']);
    expect(faults(node)).toEqual(['The compute host could not do this: guest-start-failed']);
  });

  test('and cannot go back either is in error, with the old flavor and its allocation', async () => {
    const { node, uuid } = await resized(({ node: { deps } }) => { deps.driver.start = broken; });
    expect(rowOf(node)).toMatchObject({ vm_state: 'error', task_state: null, instance_type_id: 1 });
    expect(node.placement.consumers.get(uuid)?.allocations[providerUuid]?.resources['VCPU']).toBe(1);
    expect(node.placement.consumers.has(String(migrationOf(node)['uuid']))).toBe(false);
  });

  test('of a server that is deleted meanwhile leaves the migration nothing', async () => {
    const { node } = await resized(({ node: { deps, rpc } }) => {
      deps.storage.keepDisks = async () => { Object.assign(rpc.instances[0] ?? {}, { task_state: 'deleting' }); };
    });
    expect(rowOf(node)).toMatchObject({ task_state: 'deleting' });
    expect(node.placement.consumers.has(String(migrationOf(node)['uuid']))).toBe(false);
    expect(migrationOf(node)['status']).toBe('error');
  });
});

describe('a resize that succeeds', () => {
  test('holds both allocations and both places until it is confirmed', async () => {
    const { node, uuid } = await resized();
    expect(rowOf(node)).toMatchObject({ vm_state: 'resized', task_state: null, instance_type_id: 2, memory_mb: 128 });
    expect(node.guest(uuid)).toMatchObject({ isRunning: true, starts: 2, definition: { memoryMiB: 128 } });
    expect(node.placement.consumers.get(String(migrationOf(node)['uuid']))?.allocations[providerUuid]?.resources['VCPU']).toBe(1);
    expect(node.placement.consumers.get(uuid)?.allocations[providerUuid]?.resources['VCPU']).toBe(9);
    expect(node.rpc.computeNodes[0]).toMatchObject({ memory_mb_used: 512 + 64 + 128 });
    expect([...node.world.kept.values()].map(({ move }) => move)).toEqual([migrationOf(node)['uuid']]);
    await node.deps.tracker.audit(node.deps.ownContext(), { startup: false });
    expect(node.rpc.computeNodes[0]).toMatchObject({ memory_mb_used: 512 + 64 + 128 });
  });

  test('tells its parts on the second topic where the release has one, and the message may come twice', async () => {
    const { node, play } = await resized();
    expect(node.sent().filter(({ method }) => ['resize_instance', 'finish_resize'].includes(method)).map(({ target }) => target)).toEqual(
      [{ topic: 'compute', server: 'fakea', version: '6.0' }, { topic: 'compute', server: 'fakea', version: '6.0' }]);
    const before = structuredClone(rowOf(node));
    await node.receive({ ...play.message, _unique_id: 'f'.repeat(32) });
    await node.settled();
    expect(rowOf(node)).toEqual(before);
    expect(migrationOf(node)['status']).toBe('finished');
  });
});

describe('a confirmation', () => {
  const away = (request: string): void => {
    if (request.startsWith('removeAllocations')) throw new AgentError('http-server-error', 'Placement is away', { retry: 'later' });
  };
  const confirmed = async (prepare: (node: TestNode) => void): Promise<{ node: TestNode; uuid: string; consumer: string; error: unknown }> => {
    const { node, uuid } = await resized();
    prepare(node);
    const { error } = await node.receive(messageOf('confirm_resize', { instance: instanceWire(rowOf(node)), migration: wireObject('Migration', '1.7', structuredClone(migrationOf(node))) }));
    return { node, uuid, consumer: String(migrationOf(node)['uuid']), error };
  };
  const audit = (node: TestNode): Promise<void> => node.deps.tracker.audit(node.deps.ownContext(), { startup: false });

  test('that cannot reach Placement at its end is one all the same; an audit frees the old place when Placement is back', async () => {
    const { node, uuid, consumer, error } = await confirmed(({ placement }) => { placement.before = away; });
    expect(error).toBeUndefined();
    expect(rowOf(node)).toMatchObject({ vm_state: 'active', task_state: null, old_flavor: null, new_flavor: null });
    expect([faults(node), failed(node), migrationOf(node)['status'], node.world.kept.size]).toEqual([[], [], 'confirmed', 0]);
    expect(node.log.lines().filter((line) => Number(line['level']) >= 40).map((line) => line['msg'])).toEqual(['allocation of the old flavor not removed; the audit removes that of a confirmed move']);
    await audit(node);
    expect(node.placement.consumers.has(consumer)).toBe(true);
    node.placement.before = () => undefined;
    await audit(node);
    expect([node.placement.consumers.has(consumer), node.placement.consumers.has(uuid)]).toEqual([false, true]);
  });

  test('that fails before it is through puts the server in error and says why, and frees the old place', async () => {
    const { node, consumer } = await confirmed(({ deps }) => { deps.storage.forgetKept = () => Promise.reject(new AgentError('zfs-busy', 'busy')); });
    expect(rowOf(node)).toMatchObject({ vm_state: 'error', task_state: null });
    expect([faults(node), failed(node), migrationOf(node)['status']]).toEqual([['The compute host could not do this: zfs-busy'], ['compute_confirm_resize'], 'error']);
    expect([node.placement.consumers.has(consumer), node.guest(String(rowOf(node)['uuid']))?.isRunning]).toEqual([false, true]);
  });
});
