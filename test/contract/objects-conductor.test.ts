/** What our conductor client sends is what nova 26.2's compute sent in the same situation, and it understands the recorded answers. */
import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { createConductor, type Conductor } from '../../src/conductor/index.js';
import { parseInstanceUuid, type InstanceUuid } from '../../src/lib/ids.js';
import { parseObject, type NovaObjectOf, type ObjectName } from '../../src/objects/index.js';
import { contextFromWire, RemoteError, type RequestContext, type RpcClient, type RpcTarget } from '../../src/rpc/index.js';
import { createVirtualClock } from '../fakes/virtual-clock.js';
import { recordedMessages, recordedOperations } from '../fakes/wire-samples.js';

type Data = Record<string, unknown>;
interface Exchange { readonly operation: string; readonly request: Data; readonly reply: Data | undefined; readonly key: string; readonly routingKey: string; readonly exchange: string }

const keyOf = (request: Data): string => {
  const args = request['args'] as Data;
  const object = args['objinst'] as Data | undefined;
  return typeof args['objmethod'] !== 'string' ? String(request['method']) : `${String(args['objname'] ?? object?.['nova_object.name'])}.${args['objmethod']}`;
};

/** Requests of the recorded computes with their answers. */
const exchanges: Exchange[] = recordedOperations().flatMap((operation) => {
  const all = recordedMessages(operation);
  const replies = new Map(all.filter(({ message }) => 'result' in message && message['ending'] === true).map(({ message }) => [message['_msg_id'], message]));
  return all.filter(({ publisher, message }) => publisher.startsWith('nova-compute@') && typeof message['method'] === 'string')
    .map(({ message, routing_keys: [routingKey], exchange }) => ({
      operation, request: message, reply: replies.get(message['_msg_id']), key: keyOf(message), routingKey: routingKey ?? '', exchange,
    }));
});
const recorded = (key: string): Exchange[] => exchanges.filter((exchange) => exchange.key === key && (exchange.reply !== undefined || !('_msg_id' in exchange.request)));

/** Answers each call with the recorded reply, and keeps what was sent. */
function replay(exchange: Exchange): { conductor: Conductor; sent: { target: RpcTarget; method: string; args: Data; context: RequestContext }[] } {
  const sent: { target: RpcTarget; method: string; args: Data; context: RequestContext }[] = [];
  const failure = (exchange.reply?.['failure'] as Data | null | undefined)?.['(this is a JSON string on the wire)'] as Data | undefined;
  const rpc: RpcClient = {
    async call(target, method, args, context) {
      sent.push({ target, method, args: structuredClone(args), context });
      if (failure !== undefined) throw new RemoteError(String(failure['class']), String(failure['module']), String(failure['message']), [], failure['kwargs'] as Data);
      return structuredClone(exchange.reply?.['result']);
    },
    async cast(target, method, args, context) {
      sent.push({ target, method, args: structuredClone(args), context });
    },
  };
  return { conductor: createConductor({ rpc, clock: createVirtualClock(), log: pino({ level: 'silent' }) }), sent };
}

/** The order of `changes` means nothing on the wire; `use_slave` and empty expected_attrs ask for nothing else. */
function normal(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(normal);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).filter(([key, element]) => key !== 'use_slave' && !(key === 'expected_attrs' && Array.isArray(element) && element.length === 0));
  return Object.fromEntries(entries.map(([key, element]) => [key, key === 'nova_object.changes' ? [...(element as string[])].sort() : normal(element)]));
}

const withoutChanges = (wire: unknown, inLists = false): unknown => (Array.isArray(wire) ? (inLists ? wire.map((element) => withoutChanges(element, true)) : wire) : typeof wire !== 'object' || wire === null ? wire
  : Object.fromEntries(Object.entries(wire).filter(([key]) => key !== 'nova_object.changes').map(([key, element]) => [key, withoutChanges(element, inLists)])));

/** The object before the recorded compute changed it, and then changed in the same way. */
function changedLike<Name extends ObjectName>(wire: unknown): NovaObjectOf<Name> {
  const { 'nova_object.data': data, 'nova_object.changes': changes } = wire as { 'nova_object.data': Data; 'nova_object.changes'?: string[] };
  const object = parseObject(withoutChanges(wire));
  for (const field of changes ?? []) object.set(field, data[field]);
  return object as unknown as NovaObjectOf<Name>;
}

const objectOf = <Name extends ObjectName>(exchange: Exchange): NovaObjectOf<Name> => changedLike<Name>((exchange.request['args'] as Data)['objinst']);
const argsOf = (exchange: Exchange): unknown[] => (exchange.request['args'] as Data)['args'] as unknown[];
const kwargsOf = (exchange: Exchange): Data => (exchange.request['args'] as Data)['kwargs'] as Data;
const dataOf = (exchange: Exchange): Data => ((exchange.request['args'] as Data)['objinst'] as Data)['nova_object.data'] as Data;
const text = (value: unknown): string => value as string;

type Drive = (conductor: Conductor, context: RequestContext, exchange: Exchange, object?: NovaObjectOf<never>) => Promise<unknown>;

const actions: Record<string, Drive> = {
  'Service.create': (conductor, context, exchange) => {
    const data = dataOf(exchange);
    return conductor.services.create(context, { host: text(data['host']), binary: 'nova-compute', topic: 'compute', reportCount: 0, version: 64 });
  },
  'Service.save': (conductor, context, exchange, object = objectOf<never>(exchange)) => conductor.services.save(context, object),
  'ComputeNode.create': (conductor, context, exchange, object = objectOf<never>(exchange)) => conductor.computeNodes.create(context, object),
  'ComputeNode.save': (conductor, context, exchange, object = objectOf<never>(exchange)) => conductor.computeNodes.save(context, object),
  'Instance.save': (conductor, context, exchange, object = objectOf<never>(exchange)) => {
    const kwargs = kwargsOf(exchange);
    // A recorded null means "no check" and is the same as leaving it out.
    const expected = kwargs['expected_task_state'];
    if (expected === null) delete kwargs['expected_task_state'];
    return conductor.instances.save(context, object, typeof expected === 'string' || Array.isArray(expected) ? { expectedTaskState: expected as string[] } : {});
  },
  'Instance.refresh': (conductor, context, exchange, object = objectOf<never>(exchange)) => conductor.instances.refresh(context, object),
  'Instance.destroy': (conductor, context, exchange, object = objectOf<never>(exchange)) => conductor.instances.destroy(context, object),
  'InstanceInfoCache.save': (conductor, context, exchange, object = objectOf<never>(exchange)) => conductor.infoCaches.save(context, object),
  'BlockDeviceMapping.save': (conductor, context, exchange, object = objectOf<never>(exchange)) => conductor.blockDevices.save(context, object),
  'Migration.save': (conductor, context, exchange, object = objectOf<never>(exchange)) => conductor.migrations.save(context, object),
  'VirtualInterface.create': (conductor, context, exchange) => {
    const data = dataOf(exchange);
    return conductor.virtualInterfaces.create(context, {
      port: text(data['uuid']), instance: parseInstanceUuid(data['instance_uuid']), mac: text(data['address']).split('/')[0]!, tag: data['tag'] as string | null,
    });
  },
  'ConsoleAuthToken.authorize': (conductor, context, exchange) => {
    const data = dataOf(exchange);
    data['internal_access_path'] = null; // the recorded fake driver invents one
    return conductor.consoleTokens.authorize(context, {
      consoleType: text(data['console_type']), host: text(data['host']), port: Number(data['port']), instance: parseInstanceUuid(data['instance_uuid']),
      accessUrlBase: text(data['access_url_base']), ttlSeconds: 600,
    });
  },
};

const classCalls: Record<string, Drive> = {
  'InstanceActionEvent.event_start': (conductor, context, exchange) => {
    const [uuid, event] = argsOf(exchange);
    return conductor.actions.eventStart(context, parseInstanceUuid(uuid), text(event), text(kwargsOf(exchange)['host']));
  },
  'InstanceActionEvent.event_finish_with_failure': (conductor, context, exchange) => {
    const [uuid, event] = argsOf(exchange);
    const { exc_val: message, exc_tb: trace } = kwargsOf(exchange);
    return conductor.actions.eventFinish(context, parseInstanceUuid(uuid), text(event), message === null ? null : { message: text(message), trace: text(trace) });
  },
  'Service.get_minimum_version': (conductor, context) => conductor.services.minimumVersion(context, 'nova-compute'),
  'Service.get_by_host_and_binary': (conductor, context, exchange) => conductor.services.byHostAndBinary(context, text(argsOf(exchange)[0]), 'nova-compute'),
  'Service.get_by_compute_host': (conductor, context, exchange) => conductor.services.byComputeHost(context, text(argsOf(exchange)[0])),
  'ComputeNode.get_by_host_and_nodename': (conductor, context, exchange) =>
    conductor.computeNodes.byHostAndNodename(context, text(argsOf(exchange)[0]), text(argsOf(exchange)[1])),
  'ComputeNodeList.get_all_by_host': (conductor, context, exchange) => conductor.computeNodes.byHost(context, text(argsOf(exchange)[0])),
  'Instance.get_by_uuid': (conductor, context, exchange) => {
    const kwargs = kwargsOf(exchange);
    // Nova's lazy loading names the argument; by position it is the same.
    if ('uuid' in kwargs) argsOf(exchange).push(kwargs['uuid']);
    delete kwargs['uuid'];
    return conductor.instances.byUuid(context, argsOf(exchange)[0] as InstanceUuid, kwargs['expected_attrs'] as string[] | undefined);
  },
  'InstanceList.get_by_host': (conductor, context, exchange) =>
    conductor.instances.byHost(context, text(argsOf(exchange)[0]), kwargsOf(exchange)['expected_attrs'] as string[] | undefined),
  'InstanceList.get_by_host_and_node': (conductor, context, exchange) =>
    conductor.instances.byHostAndNode(context, text(argsOf(exchange)[0]), text(argsOf(exchange)[1]), kwargsOf(exchange)['expected_attrs'] as string[] | undefined),
  'InstanceList.get_by_filters': (conductor, context, exchange) =>
    conductor.instances.byFilters(context, argsOf(exchange)[0] as Data, kwargsOf(exchange)['expected_attrs'] as string[] | undefined),
  'InstanceList.get_uuids_by_host': (conductor, context, exchange) => conductor.instances.uuidsByHost(context, text(argsOf(exchange)[0])),
  'BlockDeviceMappingList.get_by_instance_uuid': (conductor, context, exchange) => conductor.blockDevices.byInstance(context, parseInstanceUuid(argsOf(exchange)[0])),
  'MigrationList.get_by_filters': (conductor, context, exchange) => conductor.migrations.byFilters(context, argsOf(exchange)[0] as Data),
  'MigrationList.get_in_progress_and_error': (conductor, context, exchange) =>
    conductor.migrations.inProgressAndError(context, text(argsOf(exchange)[0]), text(argsOf(exchange)[1])),
  'VirtualInterface.delete_by_instance_uuid': (conductor, context, exchange) =>
    conductor.virtualInterfaces.deleteByInstance(context, parseInstanceUuid(argsOf(exchange)[0])),
  'VirtualInterfaceList.get_by_instance_uuid': (conductor, context, exchange) =>
    conductor.virtualInterfaces.byInstance(context, parseInstanceUuid(argsOf(exchange)[0])),
  'ConsoleAuthToken.clean_console_auths_for_instance': (conductor, context, exchange) =>
    conductor.consoleTokens.cleanForInstance(context, parseInstanceUuid(argsOf(exchange)[0])),
  'InstanceGroup.get_by_uuid': (conductor, context, exchange) => conductor.groups.byUuid(context, text(argsOf(exchange)[0])),
};

const casts: Record<string, Drive> = {
  update_instance_info: (conductor, context, exchange) => {
    const args = exchange.request['args'] as { host_name: string; instance_info: { 'nova_object.data': { objects: unknown[] } } };
    return conductor.scheduler.updateInstances(context, args.host_name, args.instance_info['nova_object.data'].objects.map((wire) => parseObject(wire) as unknown as NovaObjectOf<'Instance'>));
  },
  delete_instance_info: (conductor, context, exchange) => {
    const args = exchange.request['args'] as { host_name: string; instance_uuid: string };
    return conductor.scheduler.deleteInstance(context, args.host_name, parseInstanceUuid(args.instance_uuid));
  },
  sync_instance_info: (conductor, context, exchange) => {
    const args = exchange.request['args'] as { host_name: string; instance_uuids: string[] };
    return conductor.scheduler.syncInstances(context, args.host_name, args.instance_uuids.map(parseInstanceUuid));
  },
  build_instances: (conductor, context, exchange) => {
    const args = exchange.request['args'] as Data;
    const read = (value: unknown): unknown => (Array.isArray(value) ? value.map(read) : typeof value === 'object' && value !== null && 'nova_object.name' in value ? parseObject(value) : value);
    return conductor.rebuildElsewhere(context, Object.fromEntries(Object.entries(args).map(([key, value]) => [key, read(value)])));
  },
};

describe.each(Object.entries({ ...actions, ...classCalls, ...casts }))('%s', (key, drive) => {
  test('is sent as the recorded computes sent it', async () => {
    const all = recorded(key);
    expect(all.length, 'recordings of this call').toBeGreaterThan(0);
    for (const exchange of all) {
      const context = contextFromWire(exchange.request);
      const { conductor, sent } = replay(exchange);
      await drive(conductor, context, exchange);
      expect(sent, exchange.operation).toHaveLength(1);
      const [message] = sent;
      expect(message!.method).toBe(exchange.request['method']);
      expect(normal(message!.args), exchange.operation).toEqual(normal(exchange.request['args']));
      expect(message!.context).toEqual(context);
      expect(message!.target.version).toBe(exchange.request['version']);
      expect(message!.target.namespace).toBe(exchange.request['namespace']);
      expect(message!.target.fanout === true ? `${message!.target.topic}_fanout` : 'nova').toBe(exchange.exchange);
      if (message!.target.fanout !== true) expect(message!.target.topic).toBe(exchange.routingKey);
    }
  });
});

test.each(Object.keys(actions).filter((key) => !/create|authorize|InfoCache/.test(key)))('after %s nothing is left changed that the conductor wrote', async (key) => {
  for (const exchange of recorded(key)) {
    const { conductor } = replay(exchange);
    const object = objectOf<never>(exchange);
    const [updates] = exchange.reply!['result'] as [Data];
    await actions[key]!(conductor, contextFromWire(exchange.request), exchange, object);
    expect([...object.changes].sort()).toEqual([...(updates['obj_what_changed'] as string[])].sort());
    const data = object.toWire()['nova_object.data'];
    for (const [field, value] of Object.entries(updates)) {
      if (field !== 'obj_what_changed') expect(withoutChanges(data[field], true), `${exchange.operation} ${field}`).toEqual(withoutChanges(value, true));
    }
  }
});

test('the calls that find nothing end as callers expect', async () => {
  const missing = { operation: '', key: '', routingKey: '', exchange: '', request: {}, reply: undefined };
  const failing = (className: string): Conductor =>
    replay({ ...missing, reply: { failure: { '(this is a JSON string on the wire)': { class: className, module: 'nova.exception', message: 'x', kwargs: {} } } } }).conductor;
  const context = contextFromWire({});
  const uuid = parseInstanceUuid('69e439e8-259a-443a-876b-62979aca17c9');
  expect(await failing('ComputeHostNotFound').computeNodes.byHostAndNodename(context, 'a', 'a')).toBeNull();
  expect(await failing('ComputeHostNotFound').computeNodes.byHost(context, 'a')).toEqual([]);
  expect(await failing('InstanceGroupNotFound').groups.byUuid(context, uuid)).toBeNull();
  expect(await failing('InstanceInfoCacheNotFound').infoCaches.byInstance(context, uuid)).toBeNull();
  await expect(failing('InstanceNotFound').instances.byUuid(context, uuid)).rejects.toMatchObject({ className: 'InstanceNotFound' });
  await expect(failing('InstanceNotFound').instances.destroy(context, objectOf<'Instance'>(recorded('Instance.destroy')[0]!))).rejects.toMatchObject({ className: 'InstanceNotFound' });
});
