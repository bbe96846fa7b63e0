/** Deferred delete, its end, and the duties that look after deleted and forgotten servers. */
import { beforeEach, describe, expect, test } from 'vitest';
import { AgentError } from '../../../src/lib/errors.js';
import { buildTimeout, pendingDeletes, rebootTimeout, reclaimDeleted } from '../../../src/periodic/index.js';
import { instanceWire, messageOf } from '../../contract/support/compute-node.js';
import { scene, type Scene } from '../../contract/support/scene.js';
import { stepsOf } from '../../contract/support/steps.js';

type Data = Record<string, unknown>;
const never = new AbortController().signal;
let play: Scene;
let row: Data;
let uuid: string;

async function server(state: Data, guest: Parameters<typeof scene>[1]['guest'] = 'running', options = {}): Promise<void> {
  play = await scene('stop', { guest, options });
  row = play.node.rpc.instances[0] ?? {};
  uuid = String(play.row['uuid']);
  Object.assign(row, { task_state: null, power_state: guest === 'running' ? 1 : 4, deleted_at: null }, state);
  if (guest === 'stopped') play.node.taps.clear();
}
beforeEach(() => server({}));

const ago = (seconds: number): string => new Date(play.node.clock.now().getTime() - seconds * 1000).toISOString().replace(/\.\d+Z$/, 'Z');
const steps = (before: Data): string[] => stepsOf(play.node.sent(), before).filter((line) => line !== 'ComputeNode.save');
const here = (): unknown => ({ isRunning: play.node.guest(uuid)?.isRunning ?? null, taps: play.node.taps.size, disks: play.node.world.disks.size, ports: play.node.neutron.ports.size, isAllocated: play.node.placement.consumers.has(uuid) });
const kept = { isRunning: false, taps: 0, disks: 1, ports: 1, isAllocated: true };
const gone = { isRunning: null, taps: 0, disks: 0, ports: 0, isAllocated: false };

async function ask(method: string): Promise<string[]> {
  const before = structuredClone(row);
  await play.node.receive(messageOf(method, { instance: instanceWire(row) }));
  return steps(before);
}

describe('soft_delete_instance', () => {
  test('switches the guest off at once, keeps everything, and tells Nova what nova-compute tells it', async () => {
    Object.assign(row, { task_state: 'soft-deleting' });
    const graces: number[] = [];
    const stop = play.node.deps.driver.stop.bind(play.node.deps.driver);
    play.node.deps.driver.stop = (instance, options) => {
      graces.push(options.graceMs);
      return stop(instance, options);
    };
    expect(await ask('soft_delete_instance')).toEqual([
      `event starts: compute_soft_delete_instance of ${uuid} on fakea`, 'Instance.save expecting soft-deleting: power_state=4 task_state=null vm_state="soft-delete"',
      `event ends: compute_soft_delete_instance of ${uuid}: Success`]);
    expect([graces, here()]).toEqual([[0], kept]);
  });

  test('that fails keeps the server active', async () => {
    Object.assign(row, { task_state: 'soft-deleting' });
    play.node.deps.driver.stop = () => Promise.reject(new AgentError('guest-stop-failed', 'x'));
    await ask('soft_delete_instance');
    expect(row).toMatchObject({ vm_state: 'active', task_state: null });
  });
});

describe('restore_instance', () => {
  test('starts the guest from its disk with its port', async () => {
    await server({ vm_state: 'soft-delete', task_state: 'restoring' }, 'stopped');
    const told = (await ask('restore_instance')).filter((line) => !line.startsWith('InstanceInfoCache'));
    expect(told).toEqual([
      `event starts: compute_restore_instance of ${uuid} on fakea`, 'Instance.save expecting restoring: power_state=1 task_state=null vm_state="active"',
      `event ends: compute_restore_instance of ${uuid}: Success`]);
    expect(here()).toEqual({ ...kept, isRunning: true, taps: 1 });
  });

  test('that fails leaves the server soft-deleted: it can be tried again', async () => {
    await server({ vm_state: 'soft-delete', task_state: 'restoring' }, 'stopped');
    play.node.deps.driver.start = () => Promise.reject(new AgentError('guest-start-failed', 'x'));
    await ask('restore_instance');
    expect(row).toMatchObject({ vm_state: 'soft-delete', task_state: null });
    expect(here()).toEqual(kept);
  });
});

describe('the reclaim duty', () => {
  const reclaim = (): Promise<void> => reclaimDeleted(play.node.deps, 3600).run(never);

  test('really deletes what was soft-deleted long enough ago', async () => {
    await server({ vm_state: 'soft-delete', deleted_at: ago(3700) }, 'stopped');
    await reclaim();
    expect(row).toMatchObject({ vm_state: 'deleted', deleted: true, cleaned: true });
    expect(here()).toEqual(gone);
  });

  test.each([
    ['was deleted a moment ago', { deleted_at: 'recent' }], ['is being restored', { task_state: 'restoring' }], ['is active', { vm_state: 'active' }], ['is on another host', { host: 'another' }],
  ])('leaves a server alone that %s', async (_why, state) => {
    await server({ vm_state: 'soft-delete' }, 'stopped');
    Object.assign(row, { deleted_at: ago(state['deleted_at' as never] === undefined ? 3700 : 100) }, 'deleted_at' in state ? {} : state);
    await reclaim();
    expect(here()).toEqual(kept);
    expect(row['deleted']).toBe(false);
  });

  test('leaves a server alone that is restored at the same moment', async () => {
    await server({ vm_state: 'soft-delete', deleted_at: ago(3700) }, 'stopped');
    play.node.rpc.overrides.set('InstanceList.get_by_filters', () => {
      play.node.rpc.overrides.clear();
      const list = { 'nova_object.name': 'InstanceList', 'nova_object.namespace': 'nova', 'nova_object.version': '2.6', 'nova_object.data': { objects: [instanceWire(row)] } };
      Object.assign(row, { task_state: 'restoring' });
      return list;
    });
    await reclaim();
    expect(here()).toEqual(kept);
  });

  test('that could not finish leaves the server soft-deleted and finishes at the next round', async () => {
    await server({ vm_state: 'soft-delete', deleted_at: ago(3700) }, 'stopped');
    const deleteAllocations = play.node.placement.deleteAllocations.bind(play.node.placement);
    play.node.placement.deleteAllocations = () => Promise.reject(new AgentError('http-unreachable', 'x'));
    await reclaim();
    expect(row).toMatchObject({ vm_state: 'soft-delete', task_state: null, deleted: false });
    play.node.placement.deleteAllocations = deleteAllocations;
    await reclaim();
    expect(row).toMatchObject({ deleted: true });
    expect(here()).toEqual(gone);
  });

  test('is off when nothing is ever soft-deleted', () => {
    expect(reclaimDeleted(play.node.deps, 0).everySeconds).toBe(0);
  });
});

describe('the pending-deletes duty', () => {
  const clean = (): Promise<void> => pendingDeletes(play.node.deps, { everySeconds: 300, maxAttempts: 2 }).run(never);
  const deletedAlone = (guest: 'running' | 'stopped' = 'stopped'): Promise<void> => server({ vm_state: 'deleted', deleted: true, cleaned: false, deleted_at: ago(10), system_metadata: { a: 'b' } }, guest);

  test('removes what is left of a server that the API deleted alone, and notes it', async () => {
    await deletedAlone();
    await clean();
    expect(here()).toMatchObject({ isRunning: null, taps: 0, disks: 0 });
    expect(row).toMatchObject({ cleaned: true, system_metadata: { a: 'b', clean_attempts: '1' } });
  });

  test('leaves a guest that still runs to running_deleted_instance_action', async () => {
    await deletedAlone('running');
    await clean();
    expect(here()).toMatchObject({ isRunning: true, disks: 1 });
    expect(row).toMatchObject({ cleaned: false, system_metadata: { a: 'b' } });
  });

  test('tries as often as it may', async () => {
    await deletedAlone();
    let tries = 0;
    play.node.deps.storage.buryDisks = () => {
      tries += 1;
      return Promise.reject(new AgentError('zfs-busy', 'x'));
    };
    for (let round = 0; round < 4; round += 1) await clean();
    expect(tries).toBe(2);
    expect(row).toMatchObject({ cleaned: false, system_metadata: { clean_attempts: '2' } });
  });

  test('looks at nothing that is alive, cleaned, or of another host', async () => {
    for (const state of [{}, { deleted: true, cleaned: true }, { deleted: true, cleaned: false, host: 'another' }]) {
      await server({ system_metadata: {}, ...state }, 'stopped');
      await clean();
      expect(here()).toEqual(kept);
    }
  });
});

describe('time-outs', () => {
  test('a build that takes longer than instance_build_timeout becomes an error; a younger one does not', async () => {
    await server({ vm_state: 'building', task_state: 'spawning', created_at: ago(100) });
    await buildTimeout(play.node.deps, 200).run(never);
    expect(row['vm_state']).toBe('building');
    await buildTimeout(play.node.deps, 60).run(never);
    expect(row).toMatchObject({ vm_state: 'error', task_state: 'spawning' });
  });

  test('a soft reboot that is lost becomes a hard one after reboot_timeout', async () => {
    await server({ task_state: 'reboot_started', updated_at: ago(100) });
    await rebootTimeout(play.node.deps, 200).run(never);
    expect(play.node.guest(uuid)?.starts).toBe(1);
    await rebootTimeout(play.node.deps, 60).run(never);
    expect(row).toMatchObject({ vm_state: 'active', task_state: null });
    expect(play.node.guest(uuid)?.starts).toBe(2);
  });
});
