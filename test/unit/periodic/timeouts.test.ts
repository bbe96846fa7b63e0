/** rescue_timeout and resize_confirm_window: what a user forgot is ended, what somebody works on is left alone. */
import { beforeEach, describe, expect, test } from 'vitest';
import { AgentError } from '../../../src/lib/errors.js';
import { parseInstanceUuid, type InstanceUuid } from '../../../src/lib/ids.js';
import { rescueTimeout, unconfirmedResizes } from '../../../src/periodic/index.js';
import { RemoteError } from '../../../src/rpc/index.js';
import { providerUuid, type TestNode } from '../../contract/support/compute-node.js';
import { scene } from '../../contract/support/scene.js';
import { stepsOf } from '../../contract/support/steps.js';

type Data = Record<string, unknown>;
const never = new AbortController().signal;
const stopped = AbortSignal.abort();
let node: TestNode;
let uuid: InstanceUuid;
let row: Data;

const ago = (seconds: number): string => new Date(node.clock.now().getTime() - seconds * 1000).toISOString().replace(/\.\d+Z$/, 'Z');
const saves = (before: Data): string[] => stepsOf(node.sent(), before).filter((line) => line !== 'ComputeNode.save');
const warnings = (): unknown[] => node.log.lines().filter((line) => Number(line['level']) >= 40).map((line) => line['msg']);

async function withBusyGate(kind: 'rescue' | 'resize', work: () => Promise<void>): Promise<void> {
  let release: () => void = () => undefined;
  const held = node.deps.gate.run(uuid, kind, () => new Promise<void>((resolve) => { release = resolve; }));
  await work();
  release();
  await held;
}

describe('a rescue that is forgotten', () => {
  beforeEach(async () => {
    const play = await scene('unrescue', { guest: 'running' });
    node = play.node;
    uuid = parseInstanceUuid(play.row['uuid']);
    row = node.rpc.instances[0] ?? {};
    const disks = node.world.disks.get(uuid);
    disks?.set('rescue', { isGrown: true, image: 'cached', bus: null, bytes: 1n << 30n, madeFor: null });
    node.world.rescueDrives.add(uuid);
    Object.assign(row, { vm_state: 'rescued', task_state: null, launched_at: ago(100) });
  });
  const run = async (timeoutSeconds = 60, signal = never): Promise<string[]> => {
    const before = structuredClone(row);
    await rescueTimeout(node.deps, timeoutSeconds).run(signal);
    return saves(before);
  };
  const isRescued = (): boolean => node.world.disks.get(uuid)?.has('rescue') === true && node.world.rescueDrives.has(uuid) && node.guest(uuid)?.starts === 1;

  test('is ended after rescue_timeout, the way nova-api would: the server runs from its own disk', async () => {
    expect((await run()).slice(0, 3)).toEqual([
      'Instance.save expecting null: task_state="unrescuing"', `InstanceAction.action_start ${JSON.stringify([uuid, 'unrescue'])}`, `event starts: compute_unrescue_instance of ${uuid} on fakea`]);
    expect(row).toMatchObject({ vm_state: 'active', task_state: null, power_state: 1 });
    expect(node.guest(uuid)).toMatchObject({ isRunning: true, starts: 2 });
    expect([...(node.world.disks.get(uuid)?.keys() ?? [])]).toEqual(['root']);
    expect(node.world.rescueDrives.size).toBe(0);
    expect(node.deps.journal.unfinished()).toEqual([]);
  });

  test.each([
    ['it never began', { launched_at: null }, 60], ['it is as old as that', {}, 100], ['its user ends it', { task_state: 'unrescuing' }, 60], ['it is deleted', { task_state: 'deleting' }, 60],
    ['it is on another host', { host: 'another' }, 60], ['it is none', { vm_state: 'active' }, 60],
  ])('goes on while %s', async (_name, state, timeoutSeconds) => {
    Object.assign(row, state);
    expect(await run(timeoutSeconds)).toEqual([]);
    expect(isRescued()).toBe(true);
  });

  test('goes on while the server is at work, and when the agent stops', async () => {
    await withBusyGate('rescue', async () => expect(await run()).toEqual([]));
    expect(await run(60, stopped)).toEqual([]);
    expect(isRescued()).toBe(true);
  });

  test('is not ended when its user was faster than the second look', async () => {
    node.rpc.overrides.set('InstanceList.get_by_filters', () => {
      node.rpc.overrides.clear();
      return { 'nova_object.name': 'InstanceList', 'nova_object.namespace': 'nova', 'nova_object.version': '2.6', 'nova_object.data': { objects: [
        { 'nova_object.name': 'Instance', 'nova_object.namespace': 'nova', 'nova_object.version': '2.7', 'nova_object.data': { ...structuredClone(row), metadata: {}, system_metadata: {} } }] } };
    });
    const before = structuredClone(row);
    const duty = rescueTimeout(node.deps, 60).run(never);
    Object.assign(row, { vm_state: 'active' });
    await duty;
    expect(saves({ ...before, vm_state: 'active' })).toEqual([]);
    expect(isRescued()).toBe(true);
  });

  test('whose end fails puts the server in error, and is said in the log', async () => {
    node.deps.driver.start = () => Promise.reject(new AgentError('guest-start-failed', 'vm_setup_memory: Cannot allocate memory'));
    await run();
    expect(row).toMatchObject({ vm_state: 'error', task_state: null });
    expect(warnings()).toContain('rescue not ended; the next round tries again');
  });

  test('whose server is taken or gone at that moment is nobody’s fault', async () => {
    for (const className of ['UnexpectedTaskStateError', 'InstanceNotFound']) {
      node.rpc.overrides.set('Instance.save', () => { throw new RemoteError(className, 'nova.exception', 'x', [], {}); });
      await run();
    }
    expect(warnings()).toEqual([]);
    expect(isRescued()).toBe(true);
  });

  test('is for ever with rescue_timeout 0', () => {
    expect([rescueTimeout(node.deps, 0).everySeconds, rescueTimeout(node.deps, 1).everySeconds]).toEqual([0, 60]);
  });
});

describe('a resize that nobody confirms', () => {
  let migration: Data;

  beforeEach(async () => {
    const play = await scene('resize', { guest: 'running', isOneHost: true });
    node = play.node;
    uuid = parseInstanceUuid(play.row['uuid']);
    node.placement.allocate(uuid, { [providerUuid]: { resources: { VCPU: 9 } } });
    await node.receive(play.message);
    await node.settled();
    row = node.rpc.instances[0] ?? {};
    migration = node.rpc.migrations[0] ?? {};
    node.forget();
    expect([row['vm_state'], migration['status']]).toEqual(['resized', 'finished']);
  });
  const run = async (signal = never): Promise<void> => {
    await unconfirmedResizes(node.deps, 60).run(signal);
    await node.settled();
  };
  const isKept = (): boolean => node.world.kept.size === 1 && node.placement.consumers.has(String(migration['uuid'])) && row['vm_state'] === 'resized';

  test('is confirmed after resize_confirm_window, with a message as nova-api’s that outlives the agent', async () => {
    await run();
    const asked = node.sent().find(({ args }) => args['objmethod'] === 'get_unconfirmed_by_dest_compute');
    expect(asked?.args['args']).toEqual([60, 'fakea']);
    const cast = node.sent().find(({ method }) => method === 'confirm_resize');
    expect(cast).toMatchObject({ kind: 'cast', target: { topic: 'compute', server: 'fakea' } });
    expect(Object.keys(cast?.args ?? {})).toEqual(['instance', 'migration']);
    expect(row).toMatchObject({ vm_state: 'active', task_state: null, old_flavor: null });
    expect(migration['status']).toBe('confirmed');
    expect([node.world.kept.size, node.placement.consumers.has(String(migration['uuid'])), node.guest(uuid)?.starts]).toEqual([0, false, 2]);
    expect(node.rpc.events.filter(({ event }) => event === 'compute_confirm_resize').map(({ outcome }) => outcome)).toEqual(['started', 'Success']);
  });

  test.each(['deleting', 'soft-deleting', 'resize_finish'])('is left alone while the server is in task %s', async (task) => {
    Object.assign(row, { task_state: task });
    await run();
    expect([isKept(), migration['status']]).toEqual([true, 'finished']);
  });

  test.each([['is in error', { vm_state: 'error' }], ['has another task', { task_state: 'resize_reverting' }], ['runs as before', { vm_state: 'active' }]])(
    'becomes an error when its server %s: it can never be confirmed', async (_name, state) => {
      Object.assign(row, state);
      await run();
      expect(migration['status']).toBe('error');
      expect(row).toMatchObject(state);
      expect(node.sent().some(({ method }) => method === 'confirm_resize')).toBe(false);
    });

  test('becomes an error when its server is gone', async () => {
    node.rpc.instances.splice(0);
    await run();
    expect(migration['status']).toBe('error');
  });

  test('is left to the host that the server came from', async () => {
    Object.assign(migration, { source_compute: 'another' });
    await run();
    expect([isKept(), migration['status']]).toEqual([true, 'finished']);
  });

  test('waits while the server is at work, and when the agent stops', async () => {
    await withBusyGate('resize', () => unconfirmedResizes(node.deps, 60).run(never));
    await run(stopped);
    expect([isKept(), migration['status']]).toEqual([true, 'finished']);
  });

  test('is tried again when the broker did not take the message', async () => {
    node.rpc.beSilent('confirm_resize', 'before');
    await run();
    expect([isKept(), migration['status']]).toEqual([true, 'finished']);
    expect(warnings()).toEqual(['resize not confirmed; the next round tries again']);
    await run();
    expect([row['vm_state'], migration['status']]).toEqual(['active', 'confirmed']);
  });

  test('is for ever with resize_confirm_window 0', () => {
    expect([unconfirmedResizes(node.deps, 0).everySeconds, unconfirmedResizes(node.deps, 1).everySeconds]).toEqual([0, 60]);
  });
});
