/**
 * What the objects must look like that building, deleting, power, reboot and consoles need: checked once, at the RPC border,
 * so that inner code may trust the types. Loose on purpose: unset fields, unknown fields and newer minors pass.
 */
import { z } from 'zod';
import { isUuid } from '../lib/ids.js';

const text = z.string();
const integer = z.number().int();
const uuid = z.custom<string>(isUuid, 'not a canonical UUID');
const textMap = z.record(z.string(), z.string());
const orNull = <Schema extends z.ZodType>(schema: Schema): z.ZodNullable<Schema> => z.nullable(schema);

const nested = (name: string): z.ZodType => z.lazy(() => wireSchema(name));
const listOf = (name: string): z.ZodType => z.looseObject({ objects: z.array(nested(name)) });

/** Fields that must be set, and fields that must have this type when they are set. */
const fields = (required: Record<string, z.ZodType>, optional: Record<string, z.ZodType>): z.ZodType =>
  z.looseObject({ ...required, ...Object.fromEntries(Object.entries(optional).map(([name, schema]) => [name, schema.optional()])) });

const all = <Schema extends z.ZodType>(schema: Schema, ...names: string[]): Record<string, Schema> =>
  Object.fromEntries(names.map((name) => [name, schema]));

const dataSchemas: Readonly<Record<string, z.ZodType>> = {
  Instance: fields({ uuid, id: integer }, {
    ...all(orNull(text), 'host', 'node', 'launched_on', 'vm_state', 'task_state', 'display_name', 'hostname', 'user_id', 'project_id', 'image_ref',
      'kernel_id', 'ramdisk_id', 'root_device_name', 'key_name', 'key_data', 'user_data', 'config_drive', 'availability_zone', 'launched_at',
      'terminated_at', 'os_type', 'architecture'),
    ...all(orNull(integer), 'compute_id', 'power_state', 'memory_mb', 'vcpus', 'root_gb', 'ephemeral_gb', 'instance_type_id', 'launch_index'),
    metadata: textMap, system_metadata: textMap, deleted: z.boolean(),
    info_cache: orNull(nested('InstanceInfoCache')), flavor: nested('Flavor'), old_flavor: orNull(nested('Flavor')), new_flavor: orNull(nested('Flavor')),
    pci_requests: orNull(nested('InstancePCIRequests')), keypairs: nested('KeyPairList'), security_groups: nested('SecurityGroupList'),
  }),
  InstanceList: listOf('Instance'),
  InstanceInfoCache: fields({}, { instance_uuid: uuid, network_info: orNull(text) }),
  InstancePCIRequests: fields({}, { requests: z.array(z.unknown()) }),
  Flavor: fields({ memory_mb: integer, vcpus: integer, root_gb: integer }, { ephemeral_gb: integer, swap: integer, name: orNull(text), flavorid: orNull(text), extra_specs: textMap }),
  KeyPair: fields({}, { name: text, type: text, public_key: orNull(text) }),
  KeyPairList: listOf('KeyPair'),
  SecurityGroup: fields({}, { name: orNull(text), uuid: orNull(text) }),
  SecurityGroupList: listOf('SecurityGroup'),
  BlockDeviceMapping: fields({}, {
    instance_uuid: uuid, ...all(orNull(text), 'source_type', 'destination_type', 'device_name', 'device_type', 'disk_bus', 'guest_format', 'image_id',
      'volume_id', 'connection_info', 'attachment_id', 'tag'),
    boot_index: orNull(integer), volume_size: orNull(integer), delete_on_termination: z.boolean(), no_device: z.boolean(),
  }),
  BlockDeviceMappingList: listOf('BlockDeviceMapping'),
  NetworkRequest: fields({}, all(orNull(text), 'network_id', 'address', 'port_id', 'tag', 'pci_request_id')),
  NetworkRequestList: listOf('NetworkRequest'),
  InstanceExternalEvent: fields({ instance_uuid: uuid, name: text, status: text }, { tag: orNull(text) }),
  RequestSpec: fields({}, { instance_uuid: uuid, scheduler_hints: orNull(z.record(z.string(), z.array(text))) }),
  Selection: fields({ service_host: text, nodename: text }, { compute_node_uuid: orNull(text) }),
  Migration: fields({ id: integer, uuid }, {
    ...all(orNull(text), 'status', 'migration_type', 'instance_uuid', 'source_compute', 'dest_compute', 'source_node', 'dest_node', 'dest_host'),
    ...all(orNull(integer), 'old_instance_type_id', 'new_instance_type_id'),
  }),
  MigrationContext: fields({}, { instance_uuid: uuid, migration_id: integer }),
  Service: fields({ id: integer, host: text }, { report_count: integer, disabled: z.boolean(), version: integer }),
  ComputeNode: fields({ id: integer, uuid, hypervisor_hostname: text }, { host: orNull(text), stats: orNull(textMap) }),
};

const cache = new Map<string, z.ZodType>();

/** The wire form of one object of this name; only its envelope is checked if we have no schema for the name. */
export function wireSchema(name: string): z.ZodType {
  const known = cache.get(name);
  if (known !== undefined) return known;
  const schema = z.looseObject({
    'nova_object.name': z.literal(name),
    'nova_object.namespace': z.literal('nova'),
    'nova_object.version': z.string().regex(/^\d+\.\d+(\.\d+)?$/),
    'nova_object.data': dataSchemas[name] ?? z.looseObject({}),
    'nova_object.changes': z.array(text).optional(),
  });
  cache.set(name, schema);
  return schema;
}
