/**
 * The versioned payloads (nova/notifications/objects/instance.py). They are the same in all releases but for the list of shares, which came
 * with 2025.1 and raised each version by one.
 */
import type { PayloadKind } from './events.js';
import { membersOf, wireData, type Data, type InstanceFacts } from './facts.js';

export interface VersionedFacts {
  readonly facts: InstanceFacts;
  readonly request: { readonly id: string; readonly userId: string | null; readonly projectId: string | null };
  /** What went wrong, as the payload says it; null: nothing. */
  readonly fault: Data | null;
  /** BlockDeviceMappings to tell of; null: not told. */
  readonly blockDevices: readonly Data[] | null;
  readonly hasShares: boolean;
  /** The name by the operator's template; for builds. */
  readonly instanceName: string;
  /** The arguments of the request. */
  readonly args: Data;
}

const orNull = (value: unknown): unknown => value ?? null;
/** A payload object of Nova's notifications; they are no database objects and have versions of their own. */
const payloadObject = (name: string, version: string, data: Data): Record<string, unknown> => ({
  'nova_object.name': name, 'nova_object.namespace': 'nova', 'nova_object.version': version, 'nova_object.data': data,
});

/** Nova's words for the numbers of power states. */
const powerWords: Readonly<Record<number, string>> = { 0: 'pending', 1: 'running', 3: 'paused', 4: 'shutdown', 6: 'crashed', 7: 'suspended' };

export function flavorPayload(flavor: Data): Record<string, unknown> {
  const names = ['flavorid', 'memory_mb', 'vcpus', 'root_gb', 'ephemeral_gb', 'name', 'swap', 'rxtx_factor', 'vcpu_weight', 'disabled', 'is_public', 'extra_specs', 'projects', 'description'];
  return payloadObject('FlavorPayload', '1.4', Object.fromEntries(names.map((name) => [name, orNull(flavor[name])])));
}

function instanceData({ facts, request, fault, blockDevices, hasShares }: VersionedFacts): Record<string, unknown> {
  const { instance, metadata, systemMetadata } = facts;
  const same = Object.fromEntries(['uuid', 'user_id', 'reservation_id', 'display_name', 'display_description', 'host', 'node', 'os_type', 'architecture', 'availability_zone', 'key_name',
    'kernel_id', 'ramdisk_id', 'created_at', 'launched_at', 'terminated_at', 'deleted_at', 'updated_at', 'task_state', 'progress'].map((name) => [name, orNull(instance[name])]));
  return {
    ...same, tenant_id: orNull(instance['project_id']), host_name: orNull(instance['hostname']), image_uuid: orNull(instance['image_ref']), state: orNull(instance['vm_state']),
    power_state: powerWords[Number(instance['power_state'] ?? -1)] ?? null, metadata, locked: instance['locked'] === true, auto_disk_config: instance['auto_disk_config'] === true ? 'AUTO' : 'MANUAL',
    flavor: flavorPayload(facts.flavor), ip_addresses: addressPayloads(facts), block_devices: blockDevices === null ? null : blockDevicePayloads(blockDevices),
    request_id: request.projectId !== null && request.userId !== null ? request.id : null, action_initiator_user: request.userId, action_initiator_project: request.projectId,
    locked_reason: systemMetadata['locked_reason'] ?? null, fault, ...(hasShares ? { shares: [] } : {}),
  };
}

const addressPayloads = ({ addresses }: InstanceFacts): unknown[] => addresses.map(({ vif, network, address }) => payloadObject('IpPayload', '1.0', {
  label: orNull(network['label']), mac: orNull(vif['address']), meta: vif['meta'] ?? {}, port_uuid: orNull(vif['id']), version: orNull(address['version']), address: orNull(address['address']),
  device_name: orNull(vif['devname']),
}));

const blockDevicePayloads = (devices: readonly Data[]): unknown[] => devices.filter((device) => (device['volume_id'] ?? null) !== null).map((device) =>
  payloadObject('BlockDevicePayload', '1.0', Object.fromEntries(['device_name', 'boot_index', 'delete_on_termination', 'volume_id', 'tag'].map((name) => [name, orNull(device[name])]))));

const certificatesOf = (instance: Data): unknown => orNull(wireData(instance['trusted_certs'])['ids']);

function createData({ facts, instanceName }: VersionedFacts): Record<string, unknown> {
  const { instance } = facts;
  return {
    keypairs: membersOf(instance['keypairs']).map((pair) => payloadObject('KeypairPayload', '1.0', Object.fromEntries(['user_id', 'name', 'fingerprint', 'public_key', 'type'].map((name) => [name, orNull(pair[name])])))),
    tags: membersOf(instance['tags']).map((tag) => tag['tag']), trusted_image_certificates: certificatesOf(instance), instance_name: instanceName,
  };
}

/** Name, minor version up to 2024.2, and what the kind has beside the common fields. */
const kinds: Readonly<Record<PayloadKind, { readonly name: string; readonly minor: number; readonly more: (facts: VersionedFacts) => Data }>> = {
  action: { name: 'InstanceActionPayload', minor: 8, more: () => ({}) },
  create: { name: 'InstanceCreatePayload', minor: 12, more: createData },
  rescue: { name: 'InstanceActionRescuePayload', minor: 3, more: ({ args }) => ({ rescue_image_ref: orNull(args['rescue_image_ref']) }) },
  rebuild: { name: 'InstanceActionRebuildPayload', minor: 9, more: ({ facts }) => ({ trusted_image_certificates: certificatesOf(facts.instance) }) },
  snapshot: { name: 'InstanceActionSnapshotPayload', minor: 9, more: ({ args }) => ({ snapshot_image_id: orNull(args['image_id']) }) },
  'resize-prep': { name: 'InstanceActionResizePrepPayload', minor: 3, more: ({ args }) => ({ new_flavor: newFlavor(args['flavor']) }) },
  volume: { name: 'InstanceActionVolumePayload', minor: 6, more: ({ args }) => ({ volume_id: volumeOf(args) }) },
};

const newFlavor = (flavor: unknown): unknown => (flavor === null || flavor === undefined ? null : flavorPayload(wireData(flavor)));

/** Of an attach it is in the block device, of a detach an argument. */
export const volumeOf = (args: Data): unknown => orNull(args['volume_id'] ?? wireData(args['bdm'])['volume_id']);

export function versionedPayload(kind: PayloadKind, facts: VersionedFacts): Record<string, unknown> {
  const { name, minor, more } = kinds[kind];
  return payloadObject(name, `1.${minor + (facts.hasShares ? 1 : 0)}`, { ...instanceData(facts), ...more(facts) });
}

/** What there was of an instance in a period; times as in '2026-11-01T00:00:00Z'. */
export function existsPayload(facts: VersionedFacts, period: { readonly begin: string; readonly end: string }): Record<string, unknown> {
  const { fault: _fault, ...data } = instanceData(facts);
  const auditPeriod = payloadObject('AuditPeriodPayload', '1.0', { audit_period_beginning: period.begin, audit_period_ending: period.end });
  return payloadObject('InstanceExistsPayload', facts.hasShares ? '2.1' : '2.0', { ...data, audit_period: auditPeriod });
}

/** nova/notifications/objects/exception.py. No traceback: causes may hold what nobody may read (nova-contract 16), and they are in our log. */
export const exceptionPayload = (rpc: string, fault: { readonly className: string; readonly message: string }): Record<string, unknown> =>
  payloadObject('ExceptionPayload', '1.1', {
    module_name: 'nova.compute.manager', function_name: rpc, exception: fault.className, exception_message: fault.message, traceback: '',
  });
