/**
 * Notifications: our payloads are those that Nova's own code makes of the same instance (python3-nova), the real listener of oslo.messaging
 * reads what we send, and each method gives the notifications that belong to it. Off, they cost nothing and nothing is sent.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createNotifications, guestName, registeredMethods, type Notifications } from '../../src/compute/index.js';
import { eventsOf } from '../../src/compute/notifications/events.js';
import { lastCompletedPeriod } from '../../src/lib/audit-period.js';
import { systemClock } from '../../src/lib/clock.js';
import { parseArgument, type NovaObjectOf } from '../../src/objects/index.js';
import { contextFromWire, openNotifier, type Notification } from '../../src/rpc/index.js';
import { startOsloPeer, type HeardNotification, type OsloPeer } from '../fakes/oslo-peer.js';
import { startRabbit, type Rabbit } from '../fakes/rabbitmq.js';
import { noMetrics, recordingLog } from '../fakes/recording-log.js';
import { waitUntil } from '../fakes/wait-until.js';
import { instanceWire, wireObject, type TestNode } from './support/compute-node.js';
import { scene } from './support/scene.js';

type Data = Record<string, unknown>;
type Format = 'unversioned' | 'versioned' | 'both';

const image = 'dddddddd-0000-4000-8000-00000000000d';
const context = { user_id: 'u1', project_id: 'p1', request_id: 'req-00000000-0000-4000-8000-000000000001' };
const wireContext = Object.fromEntries(Object.entries(context).map(([key, value]) => [`_context_${key}`, value]));

/** Nova's own code is given the same. */
const period = { begin: new Date('2026-11-01T00:00:00Z'), end: new Date('2026-11-23T06:00:01Z') };
const units = ['hour', 'hour@15', 'day', 'day@18', 'month', 'month@15', 'year', 'year@3'];
/** Around every edge of them, and on it. */
const times = ['2026-01-01', '2026-03-01', '2026-01-15', '2026-03-15', '2028-02-29', '2026-11-26', '2026-12-31'].flatMap((day) => ['00:00:00', '00:00:01', '00:15:00', '17:59:59', '18:00:00', '23:59:59'].map((time) => `${day}T${time}`));

function notificationsTo(sent: Notification[], format: Format = 'both', hasShares = false): Notifications {
  return createNotifications({
    send: (notification) => void sent.push(notification), log: recordingLog().log, load: async () => undefined, blockDevices: async () => [],
    options: { host: 'fakea', format, topics: ['notifications'], versionedTopics: ['versioned_notifications'], hasBlockDevices: false },
    imageUrl: async (id) => `http://glance:9292/images/${id}`, currentPeriod: () => period, instanceName: (instance) => guestName('instance-%08x', instance.get('id'), instance.get('uuid')), hasShares: () => hasShares,
  });
}

/** A server with everything that a notification can tell of. */
async function fullInstance(): Promise<Data> {
  const { row, node } = await scene('stop', { guest: 'running' });
  const { flavor } = row as { flavor: { 'nova_object.data': Data } };
  const cache = { instance_uuid: row['uuid'], network_info: node.rpc.infoCaches[0]?.['network_info'] };
  const pair = { user_id: 'u1', name: 'k', fingerprint: 'aa:bb', public_key: 'ssh-rsa AAAA', type: 'ssh', id: 1, created_at: null, updated_at: null, deleted_at: null, deleted: false };
  return {
    ...row, flavor: { ...flavor, 'nova_object.data': { ...flavor['nova_object.data'] } }, info_cache: wireObject('InstanceInfoCache', '1.5', cache),
    system_metadata: { image_min_ram: '0', image_base_image_ref: image, locked_reason: 'by me' }, metadata: { role: 'db' }, progress: 40, launched_at: '2026-11-23T04:31:54Z',
    keypairs: wireObject('KeyPairList', '1.3', { objects: [wireObject('KeyPair', '1.4', pair)] }),
    tags: wireObject('TagList', '1.1', { objects: [wireObject('Tag', '1.1', { resource_id: row['uuid'], tag: 'blue' })] }),
    trusted_certs: wireObject('TrustedCerts', '1.0', { ids: ['cert-1'] }), power_state: 4, locked: true, display_description: 'd', updated_at: '2026-11-23T05:00:00Z',
  };
}

const device = (row: Data, volume: string | null): Data => wireObject('BlockDeviceMapping', '1.21', {
  id: 1, instance_uuid: row['uuid'], device_name: '/dev/vdb', boot_index: null, delete_on_termination: true, volume_id: volume, tag: 't', source_type: 'volume', destination_type: 'volume',
});

describe("payloads equal those of Nova's own code", () => {
  let expected: { legacy: Data; addresses: Data; periods: Record<string, string[][]>; versioned: Record<string, { 'nova_object.data': Data }> };
  let instance: NovaObjectOf<'Instance'>;
  let bdms: Data;

  beforeAll(async () => {
    const row = await fullInstance();
    bdms = wireObject('BlockDeviceMappingList', '1.18', { objects: [device(row, image), device(row, null)] });
    const wire = instanceWire(row);
    instance = parseArgument('Instance', structuredClone(wire));
    const input = JSON.stringify({ instance: wire, context, bdms, units, times });
    expected = JSON.parse(execFileSync('/usr/bin/python3', ['-W', 'ignore', join(import.meta.dirname, 'nova-notifications.py')], { input, env: { PATH: '/usr/bin:/bin' }, maxBuffer: 1 << 24 }).toString()) as typeof expected;
  }, 120_000);

  async function sentFor(rpc: string, args: Data, phase: 'start' | 'end' = 'start', hasShares = false): Promise<{ legacy: Data; versioned: { 'nova_object.name': string; 'nova_object.version': string; 'nova_object.data': Data } }> {
    const sent: Notification[] = [];
    const notifications = notificationsTo(sent, 'both', hasShares);
    const event = rpc === 'build_and_run_instance' ? { legacy: 'create', action: 'create', payload: 'create' as const } : eventsOf(rpc)[0]!;
    await notifications.instance({ rpc, context: contextFromWire(wireContext), args }, instance, event, phase);
    return { legacy: (sent.find(({ topics }) => topics.includes('notifications'))?.payload ?? {}) as Data, versioned: sent.find(({ topics }) => topics.includes('versioned_notifications'))?.payload as never };
  }

  test('the old one, without and with addresses', async () => {
    expect((await sentFor('pause_instance', {})).legacy).toEqual(expected.legacy);
    expect((await sentFor('finish_resize', {}, 'end')).legacy).toEqual(expected.addresses);
    expect((expected.addresses['fixed_ips'] as unknown[]).length).toBe(1);
  });

  test.each([
    ['action', 'pause_instance', {}], ['rescue', 'rescue_instance', { rescue_image_ref: image }], ['rebuild', 'rebuild_instance', {}], ['snapshot', 'snapshot_instance', { image_id: image }],
    ['volume', 'attach_volume', { volume_id: image }],
  ] as const)('the versioned one of kind %s', async (kind, rpc, args) => {
    expect((await sentFor(rpc, args)).versioned).toEqual(expected.versioned[kind]);
  });

  test('the versioned one of a build, with key pairs, tags, volumes and certificates', async () => {
    expect((await sentFor('build_and_run_instance', { block_device_mapping: bdms, image: { name: 'cirros' } })).versioned).toEqual(expected.versioned['create']);
    expect(expected.versioned['create']?.['nova_object.data']['block_devices']).toHaveLength(1);
  });

  test('the versioned one of a resize names the new flavor', async () => {
    expect((await sentFor('prep_resize', { flavor: instance.get('flavor').toWire() })).versioned).toEqual(expected.versioned['resize-prep']);
  });

  test('what there was of an instance in a period, in both forms, and of the old image when it is rebuilt', async () => {
    const sent: Notification[] = [];
    const exists = (rpc: string, args: Data): Promise<boolean> => notificationsTo(sent).exists({ rpc, context: contextFromWire(wireContext), args }, instance);
    expect(await exists('shelve_instance', {})).toBe(true);
    expect(sent.map(({ eventType, priority }) => [eventType, priority])).toEqual([['compute.instance.exists', 'info'], ['instance.exists', 'info']]);
    expect(sent[0]?.payload).toEqual({ ...expected.legacy, audit_period_beginning: '2026-11-01 00:00:00', audit_period_ending: '2026-11-23 06:00:01' });
    expect(sent[1]?.payload).toEqual(expected.versioned['exists']);
    await exists('rebuild_instance', { orig_image_ref: 'old', orig_sys_metadata: { image_os: 'old' } });
    expect(sent[2]?.payload).toMatchObject({ image_ref_url: 'http://glance:9292/images/old', image_meta: { os: 'old' } });
  });

  test.each(units)('the newest period of %s that is over', (unit) => {
    const ours = times.map((time) => lastCompletedPeriod(unit, new Date(`${time}Z`)));
    expect(ours.map(({ begin, end }) => [begin, end].map((time) => time.toISOString().slice(0, 19).replace('T', ' ')))).toEqual(expected.periods[unit]);
  });

  test('from 2025.1 on each is one version higher and has a list of shares', async () => {
    const { versioned } = await sentFor('pause_instance', {}, 'start', true);
    expect(versioned).toMatchObject({ 'nova_object.version': '1.9', 'nova_object.data': { shares: [] } });
  });
});

/** A node whose notifications end in a list. */
async function noisy(operation: string, guest: 'none' | 'running' | 'stopped', format: Format = 'both'): Promise<{ sent: Notification[]; receive: () => Promise<unknown>; node: TestNode; message: Data }> {
  const play = await scene(operation, { guest });
  const sent: Notification[] = [];
  const target = notificationsTo(sent, format);
  (play.node.deps as { notifications: Notifications }).notifications = target;
  return { sent, node: play.node, message: play.message, receive: async () => { const answer = await play.node.receive(play.message); await play.node.settled(); return answer.error; } };
}
const names = (sent: readonly Notification[], topic: string): string[] => sent.filter(({ topics }) => topics.includes(topic)).map(({ eventType, priority }) => `${eventType} ${priority}`);

describe('what an operation tells', () => {
  test.each([
    ['create', 'none', ['create.start', 'create.end']], ['delete', 'running', ['delete.start', 'shutdown.start', 'shutdown.end', 'delete.end']],
    ['stop', 'running', ['power_off.start', 'power_off.end']], ['start', 'stopped', ['power_on.start', 'power_on.end']], ['reboot-hard', 'running', ['reboot.start', 'reboot.end']],
  ] as const)('%s', async (operation, guest, events) => {
    const { sent, receive, node } = await noisy(operation, guest);
    expect(await receive()).toBeUndefined();
    expect(names(sent, 'notifications')).toEqual(events.map((event) => `compute.instance.${event} info`));
    expect(names(sent, 'versioned_notifications')).toEqual(events.map((event) => `instance.${event} info`));
    expect(sent.map(({ publisherId }) => publisherId)).toEqual(sent.map(({ topics }) => (topics.includes('notifications') ? `compute.${node.deps.options.host}` : `nova-compute:${node.deps.options.host}`)));
    const last = sent.filter(({ topics }) => topics.includes('notifications')).at(-1)?.payload as Data;
    expect(last['state']).toBe(({ create: 'active', delete: 'deleted', stop: 'stopped', start: 'active', 'reboot-hard': 'active' } as const)[operation]);
  });

  test.each([
    ['shelve', 'shelve', true], ['rescue', 'rescue', false], ['rebuild', 'rebuild', true],
  ] as const)('%s tells what was there until now', async (operation, event, isFirst) => {
    const { sent, receive } = await noisy(operation, 'running');
    expect(await receive()).toBeUndefined();
    const told = names(sent, 'notifications').slice(0, 2);
    expect(told).toEqual(isFirst ? ['compute.instance.exists info', `compute.instance.${event}.start info`] : [`compute.instance.${event}.start info`, 'compute.instance.exists info']);
    expect(names(sent, 'versioned_notifications')).toContain('instance.exists info');
  });

  test('a build that fails tells create.error once, with the fault', async () => {
    const { sent, receive, node } = await noisy('create', 'none');
    node.deps.driver.start = () => Promise.reject(new Error('boom of hunter2'));
    await receive();
    expect(names(sent, 'notifications')).toEqual(['compute.instance.create.start info', 'compute.instance.create.error error']);
    expect(names(sent, 'versioned_notifications')).toEqual(['instance.create.start info', 'instance.create.error error']);
    expect(sent.at(-1)?.payload).toMatchObject({ 'nova_object.data': { fault: { 'nova_object.name': 'ExceptionPayload', 'nova_object.data': { function_name: 'build_and_run_instance' } } } });
    expect(sent[2]?.payload).toMatchObject({ code: 500, message: expect.any(String) as string });
  });

  test('a refused request tells the exception under its name, without passwords', async () => {
    const { sent, receive } = await noisy('change-password', 'running');
    await receive();
    expect(names(sent, 'notifications')).toEqual(['set_admin_password error']);
    expect(names(sent, 'versioned_notifications')).toEqual(['compute.exception error']);
    const [old, versioned] = sent;
    expect(Object.keys((old?.payload as { args: Data }).args)).toEqual(['instance']);
    expect(versioned?.payload).toMatchObject({ 'nova_object.name': 'ExceptionPayload', 'nova_object.version': '1.1', 'nova_object.data': { exception: 'NotImplementedError', module_name: 'nova.compute.manager' } });
  });

  test('no secret of a build leaves with an exception', async () => {
    const { sent, node, message } = await noisy('create', 'none');
    const args: Data = { ...(message['args'] as Data), admin_password: 'hunter2', injected_files: [['/etc/x', 'aHVudGVyMg==']] };
    (args['instance'] as { 'nova_object.data': Data })['nova_object.data']['user_data'] = 'aHVudGVyMg==';
    node.deps.notifications.exception({ rpc: 'build_and_run_instance', context: contextFromWire(message), args }, new Error('hunter2'));
    expect(JSON.stringify(sent.map(({ payload }) => payload))).not.toMatch(/hunter2|aHVudGVyMg/);
  });

  test.each([['unversioned', 'notifications'], ['versioned', 'versioned_notifications']] as const)('%s alone is what it says', async (format, topic) => {
    const { sent, receive } = await noisy('stop', 'running', format);
    await receive();
    expect(sent.map(({ topics }) => topics)).toEqual([[topic], [topic]]);
  });

  test('a notification that cannot be made leaves the operation as it is', async () => {
    const { sent, receive, node } = await noisy('stop', 'running');
    node.rpc.infoCaches.length = 0;
    node.deps.notifications.instance = () => Promise.resolve();
    expect(await receive()).toBeUndefined();
    expect(sent).toEqual([]);
    expect(node.rpc.instances[0]).toMatchObject({ vm_state: 'stopped', task_state: null });
  });

  test('off is nothing: no read, no message', async () => {
    const { node, message } = await scene('stop', { guest: 'running' });
    const before = node.sent().length;
    await node.receive(message);
    const quiet = node.sent().slice(before).map(({ args }) => `${String((args['objinst'] as Data | undefined)?.['nova_object.name'] ?? args['objname'])}.${String(args['objmethod'])}`);
    expect(quiet).not.toContain('BlockDeviceMappingList.get_by_instance_uuid');
    expect(node.deps.notifications.isOn).toBe(false);
  });

  test('only methods that exist are in the table', () => {
    const served = new Set(registeredMethods().map(({ rpc }) => rpc));
    const told = [...served].filter((rpc) => eventsOf(rpc).length > 0);
    expect(told.length).toBe(33);
  });
});

describe('the real listener of oslo.messaging', () => {
  let rabbit: Rabbit;
  let peer: OsloPeer;
  beforeAll(async () => {
    rabbit = await startRabbit();
    peer = await startOsloPeer(rabbit.transportUrl);
  }, 120_000);
  afterAll(async () => {
    await peer?.stop();
    await rabbit?.destroy();
  });
  const open = (hasEnvelope = true): ReturnType<typeof openNotifier> =>
    openNotifier({ transportUrl: rabbit.transportUrl, clock: systemClock, log: recordingLog().log, metrics: noMetrics, hasEnvelope });
  const about = (eventType: string, more: Partial<Notification> = {}): Notification => ({
    topics: ['notifications'], publisherId: 'compute.h', eventType, priority: 'info', payload: { text: 'grüße ☃', list: [1, null] },
    context: contextFromWire({ ...wireContext, _context_auth_token: 'gAAAAhunter2', _context_service_catalog: [{ type: 'network' }] }), ...more,
  });
  async function heard(event: string): Promise<HeardNotification> {
    const find = async (): Promise<HeardNotification | undefined> => (await peer.notifications()).find(({ event_type: type }) => type === event);
    await waitUntil(async () => (await find()) !== undefined, `notification ${event}`, 45_000);
    return (await find())!;
  }

  test('hears what was sent before it listened, in order, by topic and priority, and sees no token', async () => {
    const notifier = open();
    ['one', 'two', 'three'].forEach((name) => notifier.send(about(name)));
    notifier.send(about('bad', { priority: 'error', topics: ['notifications', 'second'] }));
    await notifier.close(20_000);
    await peer.listen(['notifications', 'second']);
    const three = await heard('three');
    await heard('bad');
    const all = await peer.notifications();
    expect(all.filter(({ priority }) => priority === 'info').map(({ event_type: type }) => type)).toEqual(['one', 'two', 'three']);
    await waitUntil(async () => (await peer.notifications()).filter(({ priority }) => priority === 'error').length === 2, 'the error on both topics');
    expect(three).toMatchObject({ publisher_id: 'compute.h', payload: { text: 'grüße ☃', list: [1, null] }, context: { request_id: context.request_id, user_id: 'u1' } });
    expect(three.metadata).toMatchObject({ message_id: expect.stringMatching(/^[0-9a-f-]{36}$/) as string, timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}$/) as string });
    expect(JSON.stringify(all)).not.toContain('hunter2');
  });

  test('reads the driver without an envelope too', async () => {
    const notifier = open(false);
    notifier.send(about('plain'));
    await notifier.close(20_000);
    expect(await heard('plain')).toMatchObject({ publisher_id: 'compute.h' });
  });

  test('gets what was told while the broker was away', async () => {
    const notifier = open();
    notifier.send(about('before'));
    await heard('before');
    await rabbit.restart();
    notifier.send(about('during'));
    await heard('during');
    await notifier.close();
  });

  test('closing does not wait for a broker that is not there', async () => {
    const notifier = openNotifier({ transportUrl: 'rabbit://a:b@127.0.0.1:1/', clock: systemClock, log: recordingLog().log, metrics: noMetrics, hasEnvelope: true });
    notifier.send(about('never'));
    await notifier.close(50);
  });
});
