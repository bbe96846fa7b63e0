/**
 * What a compute tells the rest of Nova, as comparable lines: each state-changing call with what matters in it. Reads are left out: what
 * is asked for, and how often, is everybody's own business.
 */
import { objectsIn } from '../../fakes/wire-samples.js';

type Data = Readonly<Record<string, unknown>>;
export interface Sent { readonly method: string; readonly args: Data }

/** Fields of an instance that others decide by or show to users. */
const meaningful = new Set(['host', 'node', 'launched_on', 'compute_id', 'vm_state', 'task_state', 'power_state', 'launched_at', 'terminated_at', 'system_metadata', 'config_drive',
  'availability_zone', 'root_device_name', 'access_ip_v4', 'access_ip_v6', 'image_ref', 'image_properties']);
const times = new Set(['launched_at', 'terminated_at']);

/** Class methods that only read. */
const isRead = (objmethod: string): boolean => /^get_/.test(objmethod);

/**
 * "There are ports" is set by a thread of its own in Nova as here, so which save takes it along is chance; that there are none is a step. When a server was
 * shelved is a time.
 */
function withoutChance(data: Data): Data {
  const metadata = data['system_metadata'] as Data | undefined;
  if (metadata?.['shelved_at'] !== undefined) return { ...data, system_metadata: { ...metadata, shelved_at: '<time>' } };
  if (metadata?.['network_allocated'] !== 'True') return data;
  const { network_allocated: _flag, ...rest } = metadata;
  return { ...data, system_metadata: rest };
}

/** JSON with keys in order of their text. */
const show = (value: unknown): string => JSON.stringify(value, (_key, one: unknown) =>
  (typeof one === 'object' && one !== null && !Array.isArray(one) ? Object.fromEntries(Object.entries(one).sort(([a], [b]) => (a < b ? -1 : 1))) : one));
const dataOf = (object: Data | undefined): Data => (object?.['nova_object.data'] ?? {}) as Data;

/** One spelling of what may be written as a state, a list or (for "do not check") null. */
function expectation(kwargs: Data): string {
  const expected = kwargs['expected_task_state'];
  if (expected === undefined || expected === null) return '';
  const list = (Array.isArray(expected) ? expected : [expected]) as (string | null)[];
  return ` expecting ${list.map(String).sort().join('|')}`;
}

/**
 * The calls as lines. `row` is the instance before them: a field that is set to what it is already says nothing and is left out. Order of
 * keys and of expected states does not matter.
 */
export function stepsOf(sent: readonly Sent[], row: Data): string[] {
  const known: Record<string, unknown> = { ...row };
  return sent.flatMap(({ method, args }) => {
    if (method === 'object_class_action_versions') return classStep(args);
    if (method === 'object_action') return objectStep(args, known);
    return [castStep(method, args)];
  });
}

function classStep(args: Data): string[] {
  const name = `${String(args['objname'])}.${String(args['objmethod'])}`;
  if (isRead(String(args['objmethod']))) return [];
  const [uuid, event] = args['args'] as unknown[];
  const kwargs = args['kwargs'] as Data;
  switch (name) {
    case 'InstanceActionEvent.event_start': return [`event starts: ${String(event)} of ${String(uuid)} on ${String(kwargs['host'])}`];
    case 'InstanceActionEvent.event_finish_with_failure': return [`event ends: ${String(event)} of ${String(uuid)}: ${kwargs['exc_val'] === null ? 'Success' : 'Error'}`];
    default: return [`${name} ${show(args['args'])}`];
  }
}

function objectStep(args: Data, known: Record<string, unknown>): string[] {
  const [object] = objectsIn(args['objinst']);
  const name = `${String(object?.['nova_object.name'])}.${String(args['objmethod'])}`;
  const data = dataOf(object);
  const changes = (object?.['nova_object.changes'] ?? []) as string[];
  switch (name) {
    case 'Instance.refresh': case 'InstanceInfoCache.refresh': return [];
    case 'Instance.save': {
      const data = withoutChance(dataOf(object));
      const changed = changes.filter((field) => meaningful.has(field) && show(data[field]) !== show(known[field])).sort();
      for (const field of changed) known[field] = data[field];
      const expected = expectation(args['kwargs'] as Data);
      if (changed.length === 0 && expected === '') return [];
      return [`Instance.save${expected}: ${changed.map((field) => `${field}=${times.has(field) ? '<time>' : show(data[field])}`).join(' ')}`];
    }
    case 'InstanceInfoCache.save': return [`${name}: ${networks(data['network_info'])}`];
    case 'VirtualInterface.create': return [`${name}: ${String(data['uuid'])} ${String(data['address'])} tag=${show(data['tag'])} of ${String(data['instance_uuid'])}`];
    case 'BlockDeviceMapping.save': return [`${name}: ${changes.filter((field) => field !== 'id').sort().map((field) => `${field}=${show(data[field])}`).join(' ')}`];
    // Totals are each host's own; who is counted is for the tracker's own tests.
    case 'ComputeNode.save': return [name];
    case 'InstanceFault.create': return [`${name}: ${String(data['code'])} on ${String(data['host'])}`];
    case 'Migration.save': return [`${name}: ${changes.filter((field) => field !== 'id' && field !== 'dest_host').sort().map((field) => `${field}=${show(data[field])}`).join(' ')}`];
    case 'ConsoleAuthToken.authorize': return [`${name}: ${String(data['console_type'])} ${String(data['access_url_base'])} ttl=${show(args['args'])}`];
    case 'Instance.destroy': case 'Instance.drop_migration_context': return [name];
    default: return [`${name}: ${changes.filter((field) => field !== 'id').sort().join(' ')}`];
  }
}

function networks(text: unknown): string {
  const vifs = JSON.parse(String(text)) as { id: string }[];
  return vifs.length === 0 ? 'no vif' : vifs.map((vif) => vif.id).join(' ');
}

function castStep(method: string, args: Data): string {
  const objects = [...objectsIn(args['instance_info']), ...objectsIn(args['instances'])];
  switch (method) {
    case 'update_instance_info': case 'delete_instance_info': {
      const members = objects.flatMap((object) => objectsIn(dataOf(object)['objects'])).map((member) => {
        const { uuid, host, vm_state: vmState, task_state: taskState } = dataOf(member);
        return `${String(uuid)} host=${show(host)} ${String(vmState)} ${show(taskState)}`;
      });
      return `${method} of ${String(args['host_name'])}: ${members.length === 0 ? String(args['instance_uuid']) : members.join(', ')}`;
    }
    case 'build_instances': {
      const { uuid, host, task_state: taskState } = dataOf(objects[0]);
      const filters = args['filter_properties'] as { retry?: Data };
      const retry = filters.retry ?? {};
      return `build_instances ${String(uuid)} host=${show(host)} ${show(taskState)} retry=${Object.keys(retry).sort().join()} arguments=${Object.keys(args).sort().join()} `
        + `host_lists=${show(args['host_lists'])}`;
    }
    case 'resize_instance': case 'finish_resize': case 'finish_revert_resize': {
      const { uuid, host, task_state: taskState } = dataOf(objectsIn(args['instance'])[0]);
      const { status } = dataOf(objectsIn(args['migration'])[0]);
      return `${method} ${String(uuid)} host=${show(host)} ${show(taskState)} migration ${show(status)} arguments=${Object.keys(args).sort().join()}`;
    }
    default: return `${method} ${show(args)}`;
  }
}
