/** Power sync, scheduler sync, running-deleted and heal, on one server. */
import { beforeEach, describe, expect, test } from 'vitest';
import { parseInstanceUuid, type InstanceUuid } from '../../../src/lib/ids.js';
import { healInfoCache, powerSync, runningDeleted, schedulerSync } from '../../../src/periodic/index.js';
import { recordedMessages } from '../../fakes/wire-samples.js';
import { wireObject, type TestNode } from '../../contract/support/compute-node.js';
import { scene } from '../../contract/support/scene.js';
import { stepsOf } from '../../contract/support/steps.js';

type Data = Record<string, unknown>;
const never = new AbortController().signal;
let node: TestNode;
let uuid: InstanceUuid;
let row: Data;

async function server(state: Data, guest: 'running' | 'stopped'): Promise<void> {
  const play = await scene('stop', { guest });
  node = play.node;
  uuid = parseInstanceUuid(play.row['uuid']);
  row = node.rpc.instances[0] ?? {};
  Object.assign(row, { task_state: null, power_state: 1 }, state);
}
beforeEach(() => server({}, 'running'));

const steps = (before: Data): string[] => stepsOf(node.sent(), before).filter((line) => line !== 'ComputeNode.save');

describe('the power sync', () => {
  const sync = async (): Promise<string[]> => {
    const before = structuredClone(row);
    await powerSync(node.deps, 600).run(never);
    return steps(before);
  };

  test('says nothing when row and guest agree', async () => {
    expect(await sync()).toEqual([]);
  });

  test('stops a server whose guest ended, the way nova-api would', async () => {
    await server({}, 'stopped');
    expect(await sync()).toEqual([
      'Instance.save expecting null: power_state=4', `InstanceAction.action_start ${JSON.stringify([uuid, 'stop'])}`, 'Instance.save expecting null: task_state="powering-off"',
      `event starts: compute_stop_instance of ${uuid} on fakea`, 'Instance.save expecting null|powering-off: task_state=null vm_state="stopped"',
      `event ends: compute_stop_instance of ${uuid}: Success`,
    ]);
  });

  test('stops a guest that was started behind Nova’s back, at once', async () => {
    await server({ vm_state: 'stopped', power_state: 4 }, 'running');
    const graces: number[] = [];
    const stop = node.deps.driver.stop.bind(node.deps.driver);
    node.deps.driver.stop = (instance, options) => {
      graces.push(options.graceMs);
      return stop(instance, options);
    };
    await sync();
    expect(graces).toEqual([0]);
    expect(row).toMatchObject({ vm_state: 'stopped', task_state: null, power_state: 4 });
    expect(node.guest(uuid)?.isRunning).toBe(false);
  });

  test.each([['a task is under way', { task_state: 'rebooting' }], ['it moved to another host', { host: 'another' }]])('leaves a server alone while %s', async (_name, state) => {
    await server({}, 'stopped');
    const uuids = [uuid];
    node.rpc.overrides.set('InstanceList.get_uuids_by_host', () => uuids);
    Object.assign(row, state);
    expect(await sync()).toEqual([]);
  });

  test('leaves a server alone whose request is at work', async () => {
    await server({}, 'stopped');
    let release: () => void = () => undefined;
    const held = node.deps.gate.run(uuid, 'reboot', () => new Promise<void>((resolve) => { release = resolve; }));
    expect(await sync()).toEqual([]);
    release();
    await held;
  });

  test('steps back when the user asked for something in between', async () => {
    await server({}, 'stopped');
    node.rpc.overrides.set('InstanceAction.action_start', () => {
      Object.assign(row, { task_state: 'deleting' });
      return null;
    });
    await sync();
    expect(row).toMatchObject({ vm_state: 'active', task_state: 'deleting' });
    expect(node.log.lines().filter((line) => Number(line['level']) >= 40).map((line) => line['msg'])).toEqual([]);
  });

  test.each(['building', 'rescued', 'resized', 'suspended', 'error'])('only notes the power state of a server in %s', async (vmState) => {
    await server({ vm_state: vmState }, 'stopped');
    expect(await sync()).toEqual(['Instance.save expecting null: power_state=4']);
  });
});

test('a guest that powers itself off makes its server stopped at once', async () => {
  await node.join();
  node.forget();
  await node.deps.driver.stop(uuid, { graceMs: 0, retryMs: 0 });
  node.tell({ instance: uuid, kind: 'stopped', verdict: { kind: 'powered-off', at: '2026-11-23T04:00:00Z' } });
  await node.settled();
  expect(row).toMatchObject({ vm_state: 'stopped', task_state: null, power_state: 4 });
});

test('with handle_virt_lifecycle_events off the power sync finds out', async () => {
  Object.assign(node.deps, { options: { ...node.deps.options, handlesLifecycleEvents: false } });
  await node.join();
  await node.deps.driver.stop(uuid, { graceMs: 0, retryMs: 0 });
  node.tell({ instance: uuid, kind: 'stopped', verdict: { kind: 'powered-off', at: '2026-11-23T04:00:00Z' } });
  await node.settled();
  expect(row).toMatchObject({ vm_state: 'active' });
  await powerSync(node.deps, 600).run(never);
  expect(row).toMatchObject({ vm_state: 'stopped', task_state: null, power_state: 4 });
});

test('a guest that reboots itself stays active', async () => {
  await node.join();
  node.forget();
  node.tell({ instance: uuid, kind: 'rebooted', verdict: null });
  await node.settled();
  expect(row).toMatchObject({ vm_state: 'active', task_state: null });
  expect(node.sent()).toEqual([]);
});

test('the scheduler sync says what the recorded one said: host and uuids, to all schedulers', async () => {
  const recorded = recordedMessages('periodic-two-minutes').find((one) => one.message['method'] === 'sync_instance_info');
  await schedulerSync(node.deps, 120).run(never);
  const sent = node.sent().find((one) => one.method === 'sync_instance_info');
  expect(Object.keys(sent?.args ?? {}).sort()).toEqual(Object.keys((recorded?.message['args'] ?? {}) as Data).sort());
  expect(sent).toMatchObject({ kind: 'cast', target: { topic: 'scheduler', fanout: true, version: recorded?.message['version'] }, args: { host_name: 'fakea', instance_uuids: [uuid] } });
});

describe('guests whose row is deleted', () => {
  const reap = (action: 'log' | 'shutdown' | 'reap' = 'reap'): Promise<void> => runningDeleted(node.deps, { everySeconds: 1800, action, timeoutSeconds: 0 }).run(never);
  const here = (): unknown => [node.guest(uuid)?.isRunning ?? null, node.taps.size, node.world.disks.size];

  test.each([['reap', [null, 0, 0]], ['shutdown', [false, 1, 1]], ['log', [true, 1, 1]]] as const)('%s', async (action, left) => {
    Object.assign(row, { deleted: true, deleted_at: '2026-11-23T03:00:00Z', vm_state: 'deleted' });
    await reap(action);
    expect(here()).toEqual(left);
  });

  test('are looked for among deleted rows; a guest with a living row is never touched', async () => {
    await reap();
    expect(here()).toEqual([true, 1, 1]);
    expect(node.sent().find((one) => one.args['objmethod'] === 'get_by_filters')?.context.readDeleted).toBe('yes');
  });

  test('are not those that are only soft-deleted: their disks are what a restore needs', async () => {
    await server({ vm_state: 'soft-delete', power_state: 4, deleted: false, deleted_at: '2026-11-23T03:00:00Z' }, 'stopped');
    await reap();
    expect([node.guest(uuid)?.isRunning, node.world.disks.size]).toEqual([false, 1]);
    const filters = (node.sent().find((one) => one.args['objmethod'] === 'get_by_filters')?.args['args'] as unknown[])[0];
    expect(filters).toMatchObject({ deleted: true, soft_deleted: false });
  });

  test('are not ours to remove when Nova knows nothing of them', async () => {
    node.rpc.instances.splice(0);
    await reap();
    expect(here()).toEqual([true, 1, 1]);
  });
});

test('heal gives a server its lost port back, and leaves one alone that is at work', async () => {
  const port = [...node.neutron.ports.keys()].join(' ');
  Object.assign(node.rpc.infoCaches[0] ?? {}, { network_info: '[]' });
  Object.assign(row, { task_state: 'rebooting' });
  await healInfoCache(node.deps, 60).run(never);
  expect(steps(row)).toEqual([]);
  Object.assign(row, { task_state: null });
  await healInfoCache(node.deps, 60).run(never);
  expect(steps(row)).toEqual([`InstanceInfoCache.save: ${port}`]);
});

test('heal renews the network cache of one server, and binds nothing that is bound here', async () => {
  Object.assign(row, { info_cache: wireObject('InstanceInfoCache', '1.5', { instance_uuid: uuid, network_info: '[]' }) });
  for (const neutronPort of node.neutron.ports.values()) Object.assign(neutronPort, { fixed_ips: [] });
  await healInfoCache(node.deps, 60).run(never);
  expect(steps(row)).toEqual([`InstanceInfoCache.save: ${[...node.neutron.ports.keys()].join(' ')}`]);
});
