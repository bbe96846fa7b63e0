/**
 * A nova-conductor behind an RpcClient: rows in memory, the checks that matter (expected task state, unique rows, object
 * versions, read_deleted), and silence on demand. It behaves as nova 26.2's does where the agent can tell; see
 * test/contract/objects-conductor.test.ts for the recordings that keep it and the caller honest.
 */
import { randomUUID } from 'node:crypto';
import { AgentError } from '../../src/lib/errors.js';
import { compareVersions, profileNamed } from '../../src/objects/index.js';
import type { RequestContext } from '../../src/rpc/context.js';
import { RemoteError, type RpcCallOptions, type RpcClient, type RpcTarget } from '../../src/rpc/index.js';

type Data = Record<string, unknown>;
type Wire = { 'nova_object.name': string; 'nova_object.version': string; 'nova_object.data': Data; 'nova_object.changes'?: string[] };

export interface SentMessage {
  readonly kind: 'call' | 'cast';
  readonly target: RpcTarget;
  readonly method: string;
  readonly args: Data;
  readonly context: RequestContext;
}

/** Silence for calls whose key (`Instance.save`, `ping`) is given: before the work is done, or after it (the answer gets lost). */
interface Silence { readonly key: string; readonly when: 'before' | 'after'; readonly code: string; left: number }

const novaError = (className: string, message: string, kwargs: Data = {}): RemoteError => new RemoteError(className, 'nova.exception', message, [message], kwargs);
/** Attributes of an instance that come only when they are asked for (INSTANCE_OPTIONAL_ATTRS of nova/objects/instance.py). */
const OPTIONAL = new Set(['metadata', 'system_metadata', 'info_cache', 'security_groups', 'pci_devices', 'tags', 'services', 'fault', 'flavor', 'old_flavor', 'new_flavor', 'ec2_ids',
  'keypairs', 'device_metadata', 'numa_topology', 'pci_requests', 'trusted_certs', 'resources', 'vcpu_model', 'migration_context']);
/** The flavors of a move come together with the flavor. */
const asked = (row: Data, expected: unknown): Data =>
  Object.fromEntries(Object.entries(row).filter(([field]) => !OPTIONAL.has(field) || (expected as string[]).includes(/^(old|new)_flavor$/.test(field) ? 'flavor' : field)));
const CHECKED_OUT = { deleted: false, deleted_at: null, updated_at: null, created_at: '2026-11-23T04:00:00Z' };

export class FakeConductorRpc implements RpcClient {
  readonly sent: SentMessage[] = [];
  readonly services: Data[] = [];
  readonly computeNodes: Data[] = [];
  readonly instances: Data[] = [];
  readonly migrations: Data[] = [];
  readonly blockDevices: Data[] = [];
  readonly infoCaches: Data[] = [];
  readonly virtualInterfaces: Data[] = [];
  readonly groups: Data[] = [];
  readonly faults: Data[] = [];
  readonly tokens: Data[] = [];
  readonly events: { uuid: unknown; event: unknown; outcome: 'started' | 'Success' | 'Error'; requestId: string }[] = [];
  /** Class methods and object methods (`Name.method`) with another behaviour. */
  readonly overrides = new Map<string, (args: unknown[], kwargs: Data, context: RequestContext) => unknown>();
  /** Called with every cast: the part of the broker, for messages to ourselves. */
  onCast: ((target: RpcTarget, method: string, args: Data, context: RequestContext) => void) | undefined;
  /** Lets tests make node rows of a few columns. */
  hasLooseColumns = false;
  serviceVersion = 64;
  /** What was too new for it, if anything was: from then on the real one answers nothing, whoever asks. */
  stoppedBy: string | null = null;
  versions: Readonly<Record<string, string>> = profileNamed('zed').objectVersions;
  #silences: Silence[] = [];
  #nextId = 1;

  /** The next `times` calls of `key` get no answer. */
  beSilent(key: string, when: 'before' | 'after', times = 1, code = 'rpc-timeout'): void {
    this.#silences.push({ key, when, code, left: times });
  }

  useRelease(name: string): void {
    const profile = profileNamed(name);
    this.serviceVersion = profile.serviceVersion;
    this.versions = profile.objectVersions;
  }

  /** Messages of one kind: `Instance.save`, `update_instance_info`. */
  sentAs(key: string): SentMessage[] {
    return this.sent.filter((message) => keyOf(message.method, message.args) === key);
  }

  async call(target: RpcTarget, method: string, args: Readonly<Data>, context: RequestContext, _options?: RpcCallOptions): Promise<unknown> {
    const copied = structuredClone(args) as Data;
    const key = keyOf(method, copied);
    this.sent.push({ kind: 'call', target, method, args: copied, context });
    this.#breakOn(key, 'before');
    this.#refuseNewer(copied);
    const answer = structuredClone(this.#dispatch(key, method, copied, context));
    this.#breakOn(key, 'after');
    return answer;
  }

  async cast(target: RpcTarget, method: string, args: Readonly<Data>, context: RequestContext): Promise<void> {
    const copied = structuredClone(args) as Data;
    this.sent.push({ kind: 'cast', target, method, args: copied, context });
    this.#breakOn(method, 'before');
    this.#refuseNewer(copied);
    this.onCast?.(target, method, copied, context);
  }

  addInstance(fields: Data): Data {
    const row = {
      ...CHECKED_OUT, id: this.#nextId++, uuid: randomUUID(), host: null, node: null, vm_state: 'building', task_state: null, power_state: 0, hidden: false,
      cleaned: false, metadata: {}, system_metadata: {}, info_cache: null, project_id: 'p1', os_type: null, launched_on: null, ...fields,
    };
    this.instances.push(row);
    return row;
  }

  #breakOn(key: string, when: 'before' | 'after'): void {
    const silence = this.#silences.find((candidate) => candidate.key === key && candidate.when === when && candidate.left > 0);
    if (silence === undefined) return;
    silence.left -= 1;
    throw new AgentError(silence.code, `no answer to ${key}`, { retry: 'later' });
  }

  /** The real one would ask itself for a backport until it stops answering: a test must fail loudly instead. */
  #refuseNewer(value: unknown): void {
    if (typeof value !== 'object' || value === null) return;
    const { 'nova_object.name': name, 'nova_object.version': version } = value as Data;
    const known = typeof name === 'string' ? this.versions[name] : undefined;
    if (typeof version === 'string' && known !== undefined && compareVersions(version, known) > 0) {
      this.stoppedBy ??= `it was sent ${String(name)} ${version} and knows ${known}`;
      throw new Error(`the cell's conductor stopped: ${this.stoppedBy}`);
    }
    Object.values(value).forEach((element) => this.#refuseNewer(element));
  }

  #dispatch(key: string, method: string, args: Data, context: RequestContext): unknown {
    const positional = (args['args'] as unknown[] | undefined) ?? [];
    const kwargs = (args['kwargs'] as Data | undefined) ?? {};
    const override = this.overrides.get(key);
    if (override !== undefined) return override(positional, kwargs, context);
    if (method === 'ping') return { service: 'conductor', arg: args['arg'] };
    if (method === 'object_class_action_versions') {
      this.#checkManifest(String(args['objname']), args['object_versions'] as Record<string, string>);
      return this.#classAction(key, positional, kwargs, context);
    }
    if (method === 'object_action') return this.#objectAction(key, args['objinst'] as Wire, kwargs);
    throw new RemoteError('NoSuchMethod', 'oslo_messaging.rpc.dispatcher', `Endpoint does not support RPC method ${method}`, [], {});
  }

  #checkManifest(name: string, manifest: Record<string, string>): void {
    const [asked, known] = [manifest[name], this.versions[name]];
    if (asked === undefined) throw new RemoteError('KeyError', 'builtins', name, [name], {});
    if (known === undefined || compareVersions(asked, known) <= 0) return;
    throw new RemoteError('IncompatibleObjectVersion', 'oslo_versionedobjects.exception', `Version ${asked} of ${name} is not supported`, [],
      { objname: name, objver: asked, supported: known });
  }

  #wire(name: string, data: Data): Wire {
    return { 'nova_object.name': name, 'nova_object.namespace': 'nova', 'nova_object.version': this.versions[name]!, 'nova_object.data': data } as Wire;
  }

  #list(name: string, rows: Data[]): Wire {
    return this.#wire(`${name}List`, { objects: rows.map((row) => this.#wire(name, row)) });
  }

  #node(found: Data | undefined, key: unknown): Wire {
    if (found === undefined) throw novaError('ComputeHostNotFound', `Compute host ${String(key)} could not be found.`, { host: key });
    return this.#wire('ComputeNode', found);
  }

  #classAction(key: string, args: unknown[], kwargs: Data, context: RequestContext): unknown {
    const visible = (row: Data): boolean => context.readDeleted === 'yes' || row['deleted'] !== true;
    const [first, second] = args;
    const members = (rows: Data[]): Data[] => rows.map((row) => asked(row, kwargs['expected_attrs'] ?? []));
    const at = (row: Data): boolean => row['host'] === first && (second === undefined || row['node'] === second);
    switch (key) {
      case 'Service.get_minimum_version': {
        const versions = this.services.filter((row) => row['binary'] === first).map((row) => Number(row['version']));
        if (first === 'nova-conductor') return this.serviceVersion;
        return versions.length === 0 ? 0 : Math.min(...versions);
      }
      case 'Service.get_by_host_and_binary': {
        const row = this.services.find((service) => service['host'] === first && service['binary'] === second);
        return row === undefined ? null : this.#wire('Service', row);
      }
      case 'Service.get_by_compute_host': {
        const row = this.services.find((service) => service['host'] === first && service['binary'] === 'nova-compute');
        if (row === undefined) throw novaError('ComputeHostNotFound', `Compute host ${String(first)} could not be found.`, { host: first });
        return this.#wire('Service', row);
      }
      case 'ComputeNode.get_by_host_and_nodename':
        return this.#node(this.computeNodes.find((row) => visible(row) && row['host'] === first && row['hypervisor_hostname'] === second), first);
      case 'ComputeNode.get_by_uuid': return this.#node(this.computeNodes.find((row) => visible(row) && row['uuid'] === first), first);
      case 'ComputeNodeList.get_all_by_host': {
        const rows = this.computeNodes.filter((row) => visible(row) && row['host'] === first);
        if (rows.length === 0) this.#node(undefined, first);
        return this.#list('ComputeNode', rows);
      }
      case 'ComputeNodeList.get_all_by_uuids': return this.#list('ComputeNode', this.computeNodes.filter((row) => visible(row) && (first as string[]).includes(String(row['uuid']))));
      case 'Instance.get_by_uuid': return this.#wire('Instance', asked(this.#instance(first, visible), kwargs['expected_attrs'] ?? ['info_cache', 'security_groups']));
      case 'InstanceList.get_by_host': case 'InstanceList.get_by_host_and_node': return this.#list('Instance', members(this.instances.filter((row) => visible(row) && at(row))));
      case 'InstanceList.get_by_filters': return this.#list('Instance', members(this.instances.filter((row) => matches(row, first as Data, context))));
      case 'InstanceList.get_uuids_by_host': return this.instances.filter((row) => visible(row) && at(row)).map((row) => row['uuid']);
      case 'BlockDeviceMappingList.get_by_instance_uuid': return this.#list('BlockDeviceMapping', this.blockDevices.filter((row) => row['instance_uuid'] === first));
      case 'VirtualInterfaceList.get_by_instance_uuid': return this.#list('VirtualInterface', this.virtualInterfaces.filter((row) => row['instance_uuid'] === first));
      case 'VirtualInterface.get_by_uuid': {
        const row = this.virtualInterfaces.find((vif) => vif['uuid'] === first);
        return row === undefined ? null : this.#wire('VirtualInterface', row);
      }
      case 'VirtualInterface.delete_by_instance_uuid': return remove(this.virtualInterfaces, (row) => row['instance_uuid'] === first);
      case 'InstanceInfoCache.get_by_instance_uuid': {
        const row = this.infoCaches.find((cache) => cache['instance_uuid'] === first);
        if (row === undefined) throw novaError('InstanceInfoCacheNotFound', 'Info cache could not be found.', { instance_uuid: first });
        return this.#wire('InstanceInfoCache', row);
      }
      case 'MigrationList.get_in_progress_and_error':
        return this.#list('Migration', this.migrations.filter((row) => [row['source_compute'], row['dest_compute']].includes(first)
          && !['confirmed', 'reverted', 'failed', 'completed', 'cancelled', 'done'].includes(String(row['status']))));
      case 'MigrationList.get_unconfirmed_by_dest_compute':
        return this.#list('Migration', this.migrations.filter((row) => row['status'] === 'finished' && row['dest_compute'] === second));
      case 'Migration.get_by_id_and_instance': {
        const row = this.migrations.find((migration) => migration['id'] === first && migration['instance_uuid'] === second);
        if (row === undefined) throw novaError('MigrationNotFoundForInstance', `Migration ${String(first)} not found for instance ${String(second)}`, { migration_id: first, instance_id: second });
        return this.#wire('Migration', row);
      }
      case 'MigrationList.get_by_filters': return this.#list('Migration', this.migrations.filter((row) => matches(row, first as Data, context)));
      case 'InstanceActionEvent.event_start': return void this.events.push({ uuid: first, event: second, outcome: 'started', requestId: context.requestId });
      case 'InstanceActionEvent.event_finish_with_failure':
        return void this.events.push({ uuid: first, event: second, outcome: kwargs['exc_val'] === null ? 'Success' : 'Error', requestId: context.requestId });
      case 'InstanceAction.action_start': return null;
      case 'ConsoleAuthToken.clean_console_auths_for_instance': return remove(this.tokens, (row) => row['instance_uuid'] === first);
      case 'ConsoleAuthToken.clean_expired_console_auths': return null;
      case 'InstanceGroup.get_by_instance_uuid': case 'InstanceGroup.get_by_name': case 'InstanceGroup.get_by_uuid': {
        const row = this.groups.find((group) => group['uuid'] === first || group['name'] === first || (group['members'] as unknown[] | undefined)?.includes(first));
        if (row === undefined) throw novaError('InstanceGroupNotFound', `Instance group ${String(first)} could not be found.`, { group_uuid: first });
        return this.#wire('InstanceGroup', row);
      }
      default: throw new Error(`the fake conductor has no class method ${key}`);
    }
  }

  #instance(uuid: unknown, visible: (row: Data) => boolean = () => true): Data {
    const row = this.instances.find((instance) => instance['uuid'] === uuid && visible(instance));
    if (row === undefined) throw novaError('InstanceNotFound', `Instance ${String(uuid)} could not be found.`, { instance_id: uuid });
    return row;
  }

  #objectAction(key: string, object: Wire, kwargs: Data): unknown {
    const data = object['nova_object.data'];
    const changed = Object.fromEntries((object['nova_object.changes'] ?? []).map((field) => [field, data[field]]));
    const created = (rows: Data[], extra: Data = {}): unknown => {
      const row = { ...CHECKED_OUT, id: this.#nextId++, ...extra, ...stripped(data) };
      rows.push(row);
      return [{ ...row, obj_what_changed: [] }, null];
    };
    const saved = (row: Data | undefined, missing: string): unknown => {
      if (row === undefined) throw novaError(missing, 'not found');
      const isDifferent = Object.keys(changed).length > 0;
      Object.assign(row, stripped(changed), isDifferent ? { updated_at: '2026-11-23T05:00:00Z' } : {});
      return [{ ...changed, updated_at: row['updated_at'], obj_what_changed: [] }, null];
    };
    const byId = (rows: Data[]): Data | undefined => rows.find((row) => row['id'] === data['id']);
    switch (key) {
      case 'Service.create':
        if (this.services.some((row) => row['host'] === data['host'] && row['topic'] === data['topic'])) throw novaError('ServiceTopicExists', 'exists', { host: data['host'] });
        return created(this.services, { uuid: randomUUID(), disabled: false, disabled_reason: null, forced_down: false, last_seen_up: null });
      case 'Service.save': return saved(byId(this.services), 'ServiceNotFound');
      case 'ComputeNode.create':
        for (const column of ['vcpus', 'vcpus_used', 'memory_mb', 'memory_mb_used', 'local_gb', 'local_gb_used', 'hypervisor_type', 'hypervisor_version', 'cpu_info']) {
          if ((data[column] ?? null) === null && !this.hasLooseColumns) throw new RemoteError('DBError', 'oslo_db.exception', `Column '${column}' cannot be null [parameters: 'hunter2']`, [], {});
        }
        if (this.computeNodes.some((row) => row['uuid'] === data['uuid'] && data['uuid'] !== undefined)) throw novaError('DuplicateRecord', 'duplicate uuid');
        if (this.computeNodes.some((row) => row['deleted'] !== true && row['host'] === data['host'] && row['hypervisor_hostname'] === data['hypervisor_hostname'])) {
          throw novaError('DuplicateRecord', 'duplicate host and node');
        }
        return created(this.computeNodes, { uuid: randomUUID(), mapped: 0, service_id: null });
      case 'ComputeNode.save': return saved(byId(this.computeNodes), 'ComputeHostNotFound');
      case 'ComputeNode.destroy': {
        const row = byId(this.computeNodes);
        if (row === undefined || row['deleted'] === true) throw novaError('ComputeHostNotFound', 'not found');
        Object.assign(row, { deleted: true, deleted_at: '2026-11-23T05:00:00Z' });
        return [{ obj_what_changed: [] }, null];
      }
      case 'Instance.save': return this.#saveInstance(data, changed, kwargs);
      case 'Instance.refresh': return [{ ...asked(this.#instance(data['uuid']), Object.keys(data)), obj_what_changed: [] }, null];
      case 'Instance.destroy':
        if (this.#instance(data['uuid'])['deleted'] === true) throw novaError('InstanceNotFound', 'gone', { instance_id: data['uuid'] });
        Object.assign(this.#instance(data['uuid']), { deleted: true, deleted_at: '2026-11-23T05:00:00Z' });
        return [{ deleted: true, obj_what_changed: [] }, null];
      case 'Instance.drop_migration_context':
        this.#instance(data['uuid'])['migration_context'] = null;
        // What was changed and not saved stays changed.
        return [{ migration_context: null, obj_what_changed: Object.keys(changed) }, null];
      case 'InstanceInfoCache.save': {
        const row = this.infoCaches.find((cache) => cache['instance_uuid'] === data['instance_uuid']);
        if (row === undefined) return created(this.infoCaches);
        return saved(row, 'InstanceInfoCacheNotFound');
      }
      case 'BlockDeviceMapping.save': return saved(byId(this.blockDevices), 'BDMNotFound');
      case 'Migration.save': return saved(byId(this.migrations), 'MigrationNotFound');
      case 'InstanceFault.create': return created(this.faults);
      case 'VirtualInterface.create':
        if (this.virtualInterfaces.some((row) => row['uuid'] === data['uuid'])) throw novaError('VirtualInterfaceCreateException', 'Virtual Interface creation failed');
        return created(this.virtualInterfaces);
      case 'ConsoleAuthToken.authorize': {
        const token = randomUUID();
        created(this.tokens);
        return [{ token, obj_what_changed: [] }, token];
      }
      default: throw new Error(`the fake conductor has no object method ${key}`);
    }
  }

  #saveInstance(data: Data, changed: Data, kwargs: Data): unknown {
    const row = this.#instance(data['uuid']);
    if (Object.keys(changed).length > 0) {
      const expected = kwargs['expected_task_state'];
      const allowed: unknown[] = Array.isArray(expected) ? expected : [expected];
      if (expected !== undefined && expected !== null && !allowed.includes(row['task_state'])) {
        const isDeleting = row['task_state'] === 'deleting';
        throw novaError(isDeleting ? 'UnexpectedDeletingTaskStateError' : 'UnexpectedTaskStateError', `Conflict updating instance ${String(data['uuid'])}.`,
          { instance_uuid: data['uuid'], expected: { task_state: allowed }, actual: { task_state: row['task_state'] } });
      }
      if (compareVersions(this.versions['Instance']!, '2.8') >= 0 && 'node' in changed && !('compute_id' in changed)) {
        throw novaError('ObjectActionError', 'Object action save failed because: Node but no compute_id', { action: 'save' });
      }
      Object.assign(row, stripped(changed), { updated_at: '2026-11-23T05:00:00Z' });
    }
    return [{ ...changed, updated_at: row['updated_at'], obj_what_changed: [] }, null];
  }
}

function keyOf(method: string, args: Data): string {
  if (method === 'object_class_action_versions') return `${String(args['objname'])}.${String(args['objmethod'])}`;
  if (method === 'object_action') return `${(args['objinst'] as Wire)['nova_object.name']}.${String(args['objmethod'])}`;
  return method;
}

/** Rows keep nested objects without their change marks. */
function stripped<Value>(value: Value): Value {
  if (Array.isArray(value)) return value.map(stripped) as Value;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).filter(([key]) => key !== 'nova_object.changes').map(([key, element]) => [key, stripped(element as unknown)])) as Value;
}

function matches(row: Data, filters: Data, context: RequestContext): boolean {
  if (!('deleted' in filters) && context.readDeleted !== 'yes' && row['deleted'] === true) return false;
  // As in nova/db/main/api.py: "deleted" takes soft-deleted rows along unless soft_deleted is false.
  const isAlsoSoft = filters['deleted'] === true && filters['soft_deleted'] !== false && row['vm_state'] === 'soft-delete';
  return Object.entries(filters).filter(([key]) => key !== 'soft_deleted' && !(key === 'deleted' && isAlsoSoft))
    .every(([key, wanted]) => (Array.isArray(wanted) ? wanted.includes(row[key]) : row[key] === wanted));
}

function remove(rows: Data[], goes: (row: Data) => boolean): null {
  const kept = rows.filter((row) => !goes(row));
  rows.splice(0, rows.length, ...kept);
  return null;
}
