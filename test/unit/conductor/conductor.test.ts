import { pino } from 'pino';
import { beforeEach, describe, expect, test } from 'vitest';
import { createConductor, type Conductor } from '../../../src/conductor/index.js';
import { parseInstanceUuid, type InstanceUuid } from '../../../src/lib/ids.js';
import { createObject, parseObject, profileNamed, type NovaObjectOf } from '../../../src/objects/index.js';
import { adminContext } from '../../../src/rpc/context.js';
import { RemoteError } from '../../../src/rpc/index.js';
import { FakeConductorRpc } from '../../fakes/conductor-rpc.js';
import { createVirtualClock, type VirtualClock } from '../../fakes/virtual-clock.js';

const context = adminContext({ requestId: 'req-1' });
const zed = profileNamed('zed');
let rpc: FakeConductorRpc;
let clock: VirtualClock;
let conductor: Conductor;
const make = (): Conductor => createConductor({ rpc, clock, log: pino({ level: 'silent' }), random: () => 1 });

beforeEach(() => {
  rpc = new FakeConductorRpc();
  clock = createVirtualClock();
  conductor = make();
});

async function instanceInRow(fields: Record<string, unknown>): Promise<{ row: Record<string, unknown>; instance: NovaObjectOf<'Instance'>; uuid: InstanceUuid }> {
  const row = rpc.addInstance(fields);
  const uuid = parseInstanceUuid(row['uuid']);
  return { row, uuid, instance: await conductor.instances.byUuid(context, uuid) };
}

describe('waiting for the conductor', () => {
  test('goes on through time-outs and lost connections until it answers', async () => {
    rpc.beSilent('ping', 'before', 12);
    rpc.beSilent('ping', 'before', 3, 'rpc-disconnected');
    await conductor.waitUntilAlive(new AbortController().signal);
    expect(rpc.sentAs('ping')).toHaveLength(16);
    expect(rpc.sentAs('ping')[0]!.target).toMatchObject({ topic: 'conductor', namespace: 'baseapi', version: '1.0' });
  });

  test('ends when the signal fires', async () => {
    const controller = new AbortController();
    controller.abort(new Error('stop'));
    rpc.beSilent('ping', 'before', 100);
    await expect(conductor.waitUntilAlive(controller.signal)).rejects.toThrow('stop');
  });
});

describe('the release', () => {
  test.each(['zed', '2023.1', '2023.2', '2024.1', '2025.1', '2025.2', '2026.1', '2026.2'])('%s is recognised from its conductor', async (name) => {
    rpc.useRelease(name);
    expect((await conductor.negotiate()).name).toBe(name);
    expect(conductor.profile.name).toBe(name);
  });

  test('2023.1 and 2023.2 have one number; asking for the newer Instance tells them apart, and only then', async () => {
    rpc.useRelease('2023.2');
    await conductor.negotiate();
    expect(rpc.sentAs('Instance.get_by_uuid')).toHaveLength(1);
    rpc.sent.length = 0;
    rpc.useRelease('2025.1');
    await conductor.negotiate();
    expect(rpc.sentAs('Instance.get_by_uuid')).toHaveLength(0);
  });

  test('the profile is not to be had before negotiation', () => {
    expect(() => conductor.profile).toThrow();
  });

  test('before negotiation nothing newer than Zed is asked for', async () => {
    rpc.useRelease('zed');
    await instanceInRow({});
    expect(rpc.sentAs('Instance.get_by_uuid')[0]!.args['object_versions']).toMatchObject({ Instance: '2.7' });
  });

  test('a cloud older than Zed is refused', async () => {
    rpc.serviceVersion = 61;
    await expect(conductor.negotiate()).rejects.toMatchObject({ code: 'release-unsupported' });
  });

  test('a conductor that is older than its number says so, and is asked again for what it has', async () => {
    rpc.useRelease('2025.1');
    await conductor.negotiate();
    rpc.versions = { ...rpc.versions, Instance: '2.7' };
    const { uuid } = await instanceInRow({});
    await conductor.instances.byUuid(context, uuid);
    const asked = rpc.sentAs('Instance.get_by_uuid').map((message) => (message.args['object_versions'] as Record<string, string>)['Instance']);
    expect(asked).toEqual(['2.8', '2.7', '2.7']);
  });
});

describe('what is sent', () => {
  test('an instance that a newer API gave us is lowered to what the conductor knows', async () => {
    const { row, uuid } = await instanceInRow({ task_state: 'spawning' });
    const newer = parseObject({
      'nova_object.name': 'Instance', 'nova_object.namespace': 'nova', 'nova_object.version': '2.8', 'nova_object.data': { ...row, compute_id: null },
    }) as unknown as NovaObjectOf<'Instance'>;
    newer.set('vm_state', 'active');
    await conductor.instances.save(context, newer);
    expect(rpc.instances.find((instance) => instance['uuid'] === uuid)!['vm_state']).toBe('active');
  });

  test('expecting no task is [null] on the wire: Nova takes a bare null for "do not check"', async () => {
    const { instance } = await instanceInRow({ task_state: 'deleting' });
    instance.set('vm_state', 'active');
    await expect(conductor.instances.save(context, instance, { expectedTaskState: null })).rejects.toMatchObject({ className: 'UnexpectedDeletingTaskStateError' });
    expect(rpc.sentAs('Instance.save')[0]!.args['kwargs']).toEqual({ expected_task_state: [null] });
  });

  test('objects among the arguments of a rebuild elsewhere are written', async () => {
    const { instance } = await instanceInRow({});
    await conductor.rebuildElsewhere(context, { instances: [instance], filter_properties: { retry: { num_attempts: 1 } }, host_lists: [[null]] });
    expect(rpc.sent.at(-1)).toMatchObject({
      kind: 'cast', method: 'build_instances', target: { topic: 'conductor', namespace: 'compute_task', version: '1.19' },
      args: { instances: [{ 'nova_object.name': 'Instance', 'nova_object.version': '2.7' }], filter_properties: { retry: { num_attempts: 1 } }, host_lists: [[null]] },
    });
  });
});

describe('a conductor that does not answer', () => {
  test('is asked again for reads', async () => {
    const { uuid } = await instanceInRow({});
    rpc.beSilent('Instance.get_by_uuid', 'before', 3);
    expect((await conductor.instances.byUuid(context, uuid)).get('uuid')).toBe(uuid);
  });

  test('is given up after the configured time', async () => {
    const { uuid } = await instanceInRow({});
    const impatient = createConductor({ rpc, clock, log: pino({ level: 'silent' }), random: () => 1, retryForMs: 20_000 });
    rpc.beSilent('Instance.get_by_uuid', 'before', 1_000);
    await expect(impatient.instances.byUuid(context, uuid)).rejects.toMatchObject({ code: 'rpc-timeout' });
    expect(clock.sleptMs).toBeLessThanOrEqual(20_000);
    expect(rpc.sentAs('Instance.get_by_uuid').length).toBeGreaterThan(3);
  });

  test('but one that answers with an error is not asked again', async () => {
    rpc.overrides.set('InstanceList.get_by_host', () => { throw new RemoteError('DBError', 'nova.exception', 'x', [], {}); });
    await expect(conductor.instances.byHost(context, 'a')).rejects.toMatchObject({ className: 'DBError' });
    expect(rpc.sentAs('InstanceList.get_by_host')).toHaveLength(1);
  });

  test('a save whose answer got lost counts as done when the row holds what we wrote', async () => {
    const { row, instance } = await instanceInRow({ task_state: 'spawning', vm_state: 'building' });
    rpc.beSilent('Instance.save', 'after');
    instance.set('task_state', null);
    instance.set('vm_state', 'active');
    await conductor.instances.save(context, instance, { expectedTaskState: 'spawning' });
    expect(row).toMatchObject({ task_state: null, vm_state: 'active' });
    expect([...instance.changes]).toEqual([]);
    expect(instance.get('updated_at')).toBe(row['updated_at']);
  });

  test('a save whose answer got lost and whose row was then changed by somebody else fails as Nova says', async () => {
    const { row, instance } = await instanceInRow({ task_state: 'spawning', vm_state: 'building' });
    rpc.beSilent('Instance.save', 'before');
    row['task_state'] = null;
    row['vm_state'] = 'error';
    instance.set('task_state', null);
    instance.set('vm_state', 'active');
    await expect(conductor.instances.save(context, instance, { expectedTaskState: 'spawning' })).rejects.toMatchObject({ className: 'UnexpectedTaskStateError' });
    expect(row['vm_state']).toBe('error');
  });

  test('a save whose first attempt never arrived is done by the second', async () => {
    const { row, instance } = await instanceInRow({ task_state: 'spawning' });
    rpc.beSilent('Instance.save', 'before', 2, 'rpc-disconnected');
    instance.set('task_state', null);
    await conductor.instances.save(context, instance, { expectedTaskState: ['spawning'] });
    expect(row['task_state']).toBeNull();
  });

  test('an unexpected state without a repeat is never explained away', async () => {
    const { instance } = await instanceInRow({ task_state: null });
    instance.set('task_state', null);
    await expect(conductor.instances.save(context, instance, { expectedTaskState: 'spawning' })).rejects.toMatchObject({ className: 'UnexpectedTaskStateError' });
  });

  test('creating the service or the node twice makes one row', async () => {
    rpc.beSilent('Service.create', 'after');
    const service = await conductor.services.create(context, { host: 'n1', binary: 'nova-compute', topic: 'compute', reportCount: 0, version: 64 });
    expect(service.get('id')).toBe(rpc.services[0]!['id']);
    expect(rpc.services).toHaveLength(1);

    rpc.hasLooseColumns = true;
    rpc.beSilent('ComputeNode.create', 'after');
    const node = createObject(zed, 'ComputeNode', { host: 'n1', hypervisor_hostname: 'n1' });
    await conductor.computeNodes.create(context, node);
    expect(rpc.computeNodes).toHaveLength(1);
    expect(node.get('uuid')).toBe(rpc.computeNodes[0]!['uuid']);
    expect([...node.changes]).toEqual([]);
  });

  test('destroying twice is destroying, but what was gone before is reported', async () => {
    const { instance } = await instanceInRow({});
    rpc.beSilent('Instance.destroy', 'after');
    await conductor.instances.destroy(context, instance);
    await expect(conductor.instances.destroy(context, instance)).rejects.toMatchObject({ className: 'InstanceNotFound' });
  });

  test('recording a virtual interface twice is recording it', async () => {
    const uuid = parseInstanceUuid('69e439e8-259a-443a-876b-62979aca17c9');
    const vif = { port: '88bae59e-43bd-41e9-8acf-0d565d17933a', instance: uuid, mac: 'fa:16:3e:de:ec:9a', tag: null };
    rpc.beSilent('VirtualInterface.create', 'after');
    await conductor.virtualInterfaces.create(context, vif);
    expect(rpc.virtualInterfaces).toHaveLength(1);
    await expect(conductor.virtualInterfaces.create(context, vif)).rejects.toMatchObject({ className: 'VirtualInterfaceCreateException' });
  });

  test.each([
    ['the heartbeat', 'Service.save', async () => conductor.services.save(context, createObject(zed, 'Service', { id: 1, report_count: 2 }))],
    ['a new action', 'InstanceAction.action_start', async () => conductor.actions.actionStart(context, parseInstanceUuid('69e439e8-259a-443a-876b-62979aca17c9'), 'stop')],
    ['a rebuild elsewhere', 'build_instances', async () => conductor.rebuildElsewhere(context, {})],
    ['a console token', 'ConsoleAuthToken.authorize', async () => conductor.consoleTokens.authorize(context, {
      consoleType: 'novnc', host: 'h', port: 1, instance: parseInstanceUuid('69e439e8-259a-443a-876b-62979aca17c9'), accessUrlBase: 'http://x', ttlSeconds: 600,
    })],
  ])('%s is tried once', async (_what, key, run) => {
    rpc.beSilent(key, 'before', 5);
    await expect(run()).rejects.toMatchObject({ code: 'rpc-timeout' });
    expect(rpc.sentAs(key)).toHaveLength(1);
  });

  test('schedulers that could not be told do not fail the operation', async () => {
    rpc.beSilent('delete_instance_info', 'before', 1, 'rpc-disconnected');
    await conductor.scheduler.deleteInstance(context, 'n1', parseInstanceUuid('69e439e8-259a-443a-876b-62979aca17c9'));
    expect(rpc.sent.at(-1)!.target).toMatchObject({ topic: 'scheduler', fanout: true, version: '4.2' });
  });
});

describe('the caller sees', () => {
  test('action events carry its own request id', async () => {
    const { uuid } = await instanceInRow({});
    await conductor.actions.eventStart(context, uuid, 'compute_stop_instance', 'n1');
    await conductor.actions.eventFinish(context, uuid, 'compute_stop_instance', { message: 'no', trace: 't' });
    expect(rpc.events).toEqual([
      { uuid, event: 'compute_stop_instance', outcome: 'started', requestId: 'req-1' }, { uuid, event: 'compute_stop_instance', outcome: 'Error', requestId: 'req-1' },
    ]);
  });

  test('a database error by its name, without the statement and its values', async () => {
    const failed = await conductor.computeNodes.create(context, createObject(zed, 'ComputeNode', { host: 'n1' })).catch((error: unknown) => error);
    expect(failed).toMatchObject({ className: 'DBError', module: 'oslo_db.exception' });
    expect(JSON.stringify(failed) + String(failed)).not.toContain('hunter2');
  });

  test('load fetches only what is unset and changes nothing else', async () => {
    const { instance, row } = await instanceInRow({ vm_state: 'active' });
    const bare = createObject(zed, 'Instance', { uuid: instance.get('uuid'), id: instance.get('id'), vm_state: 'mine' });
    await conductor.instances.load(context, bare, ['system_metadata', 'vm_state']);
    expect(bare.get('system_metadata')).toEqual(row['system_metadata']);
    expect(bare.get('vm_state')).toBe('mine');
    expect(rpc.sent.at(-1)!.args['kwargs']).toEqual({ expected_attrs: ['system_metadata'] });
    const before = rpc.sent.length;
    await conductor.instances.load(context, bare, ['system_metadata']);
    expect(rpc.sent).toHaveLength(before);
  });
});
