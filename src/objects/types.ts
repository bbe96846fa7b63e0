/**
 * Nova's versioned objects as the agent sees them. Rules (nova-contract 7, wire.md 4):
 *  - a field not in `data` is unset (lazy), which is not null;
 *  - fields and newer minors that we do not know are kept untouched and written back;
 *  - an object from the conductor goes back at the version received; one that we create uses the release profile;
 *    nothing newer than the conductor knows is ever sent: it would kill the cell's conductor;
 *  - DateTime stays the wire's ISO text; JSON-in-a-string fields stay text (helpers parse them).
 */

/** The wire form: keys `nova_object.name/namespace/version/data/changes`. */
export interface WireObject {
  readonly 'nova_object.name': string;
  readonly 'nova_object.namespace': string;
  readonly 'nova_object.version': string;
  readonly 'nova_object.data': Readonly<Record<string, unknown>>;
  readonly 'nova_object.changes'?: readonly string[];
}

/** Fields by object name; only those the agent touches are typed, the others are reachable as `unknown`. */
export interface ObjectFields {
  Instance: {
    id: number; uuid: string; host: string | null; node: string | null; compute_id: number | null; launched_on: string | null;
    vm_state: string | null; task_state: string | null; power_state: number | null; display_name: string | null; hostname: string | null;
    user_id: string | null; project_id: string | null; image_ref: string | null; kernel_id: string | null; ramdisk_id: string | null;
    memory_mb: number | null; vcpus: number | null; root_gb: number | null; ephemeral_gb: number | null; instance_type_id: number | null;
    root_device_name: string | null; default_ephemeral_device: string | null; default_swap_device: string | null;
    key_name: string | null; key_data: string | null; user_data: string | null; config_drive: string | null; availability_zone: string | null;
    launch_index: number | null; launched_at: string | null; terminated_at: string | null; created_at: string | null; updated_at: string | null;
    deleted: boolean; deleted_at: string | null; cleaned: boolean; hidden: boolean; os_type: string | null; architecture: string | null;
    access_ip_v4: string | null; access_ip_v6: string | null; progress: number | null; reservation_id: string | null; auto_disk_config: boolean;
    metadata: Record<string, string>; system_metadata: Record<string, string>; info_cache: NovaObjectOf<'InstanceInfoCache'> | null;
    flavor: NovaObjectOf<'Flavor'>; old_flavor: NovaObjectOf<'Flavor'> | null; new_flavor: NovaObjectOf<'Flavor'> | null;
    numa_topology: NovaObject | null; pci_requests: NovaObjectOf<'InstancePCIRequests'> | null; pci_devices: NovaObject | null;
    security_groups: NovaObjectOf<'SecurityGroupList'>; keypairs: NovaObjectOf<'KeyPairList'>; device_metadata: NovaObjectOf<'InstanceDeviceMetadata'> | null;
    migration_context: NovaObjectOf<'MigrationContext'> | null; trusted_certs: NovaObject | null; resources: NovaObject | null; tags: NovaObject; services: NovaObject;
  };
  Flavor: { id: number; name: string; flavorid: string; memory_mb: number; vcpus: number; root_gb: number; ephemeral_gb: number; swap: number; extra_specs: Record<string, string> };
  InstanceInfoCache: { instance_uuid: string; network_info: string | null };
  InstanceFault: { instance_uuid: string; code: number; message: string | null; details: string | null; host: string | null };
  InstanceExternalEvent: { instance_uuid: string; name: string; status: string; tag: string | null };
  InstancePCIRequests: { instance_uuid: string; requests: NovaObject[] };
  InstanceList: { objects: NovaObjectOf<'Instance'>[] };
  Service: { id: number; host: string; binary: string; topic: string; report_count: number; disabled: boolean; disabled_reason: string | null; forced_down: boolean; version: number; uuid: string; last_seen_up: string | null };
  ComputeNode: {
    id: number; uuid: string; service_id: number | null; host: string | null; hypervisor_hostname: string; hypervisor_type: string; hypervisor_version: number;
    vcpus: number; vcpus_used: number; memory_mb: number; memory_mb_used: number; local_gb: number; local_gb_used: number; free_ram_mb: number | null; free_disk_gb: number | null;
    disk_available_least: number | null; running_vms: number | null; current_workload: number | null; cpu_info: string; metrics: string | null; stats: Record<string, string> | null;
    host_ip: string | null; supported_hv_specs: NovaObject[]; numa_topology: string | null; pci_device_pools: NovaObject | null;
    cpu_allocation_ratio: number; ram_allocation_ratio: number; disk_allocation_ratio: number; deleted: boolean; deleted_at: string | null; mapped: number;
  };
  PciDevicePoolList: { objects: NovaObject[] };
  ComputeNodeList: { objects: NovaObjectOf<'ComputeNode'>[] };
  HVSpec: { arch: string; hv_type: string; vm_mode: string };
  BlockDeviceMapping: {
    id: number; uuid: string; instance_uuid: string; source_type: string | null; destination_type: string | null; device_name: string | null; device_type: string | null;
    disk_bus: string | null; boot_index: number | null; delete_on_termination: boolean; guest_format: string | null; image_id: string | null; volume_id: string | null;
    volume_size: number | null; connection_info: string | null; attachment_id: string | null; tag: string | null; no_device: boolean;
  };
  BlockDeviceMappingList: { objects: NovaObjectOf<'BlockDeviceMapping'>[] };
  Migration: {
    id: number; uuid: string; status: string | null; migration_type: string; instance_uuid: string | null; source_compute: string | null; dest_compute: string | null;
    source_node: string | null; dest_node: string | null; dest_host: string | null; dest_compute_id: number | null; old_instance_type_id: number | null;
    new_instance_type_id: number | null; created_at: string | null; updated_at: string | null;
  };
  /** What a move changes besides the flavor; old and new of each resource that Placement does not hold. */
  MigrationContext: {
    instance_uuid: string; migration_id: number; old_numa_topology: NovaObject | null; new_numa_topology: NovaObject | null; old_pci_devices: NovaObject | null;
    new_pci_devices: NovaObject | null; old_pci_requests: NovaObject | null; new_pci_requests: NovaObject | null; old_resources: NovaObject | null; new_resources: NovaObject | null;
  };
  MigrationList: { objects: NovaObjectOf<'Migration'>[] };
  NetworkRequest: { network_id: string | null; address: string | null; port_id: string | null; tag: string | null; device_id: string | null; pci_request_id: string | null };
  NetworkRequestList: { objects: NovaObjectOf<'NetworkRequest'>[] };
  VirtualInterface: { id: number; uuid: string; instance_uuid: string | null; address: string; tag: string | null };
  VirtualInterfaceList: { objects: NovaObjectOf<'VirtualInterface'>[] };
  /** What was done for a period, by whom; times as in DateTime fields. */
  TaskLog: { task_name: string; host: string; period_beginning: string; period_ending: string; message: string; task_items: number; errors: number };
  ConsoleAuthToken: { id: number; console_type: string; host: string; port: number; internal_access_path: string | null; instance_uuid: string; access_url_base: string; token: string };
  /** `_rules` is the wire's name; `max_server_per_host` is a number in text. */
  InstanceGroup: { id: number; uuid: string; name: string; policy: string | null; _rules: Record<string, string>; members: string[]; hosts: string[] | null };
  InstanceDeviceMetadata: { devices: NovaObject[] };
  NetworkInterfaceMetadata: { mac: string; bus: NovaObject; tags: string[]; vlan: number; vf_trusted: boolean };
  DiskMetadata: { serial: string | null; path: string; bus: NovaObject; tags: string[] };
  PCIDeviceBus: { address: string };
  Diagnostics: Record<string, unknown>;
  CpuDiagnostics: Record<string, unknown>;
  MemoryDiagnostics: Record<string, unknown>;
  NicDiagnostics: Record<string, unknown>;
  DiskDiagnostics: Record<string, unknown>;
  KeyPair: { name: string; type: string; public_key: string };
  KeyPairList: { objects: NovaObjectOf<'KeyPair'>[] };
  SecurityGroup: { name: string; uuid: string; id: number };
  SecurityGroupList: { objects: NovaObjectOf<'SecurityGroup'>[] };
  Selection: { service_host: string; nodename: string; compute_node_uuid: string };
  RequestSpec: { instance_uuid: string; scheduler_hints: Record<string, string[]> | null; image: NovaObject | null; instance_group: NovaObjectOf<'InstanceGroup'> | null };
}

export type ObjectName = keyof ObjectFields;
export type NovaObjectOf<Name extends ObjectName> = NovaObject<ObjectFields[Name]>;

/** A moment in the life of an object; opaque to others. */
export interface Revision {
  readonly own: number;
  readonly nested: ReadonlyMap<string, Revision>;
}

/** One object; the class that implements it is in nova-object.ts. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- the default lets any object stand where fields do not matter
export interface NovaObject<Fields extends object = any> {
  readonly objectName: string;
  readonly version: string;
  isSet(field: keyof Fields & string): boolean;
  /** AgentError `object-field-unset` if unset. */
  get<F extends keyof Fields & string>(field: F): Fields[F];
  /** undefined if unset. */
  maybe<F extends keyof Fields & string>(field: F): Fields[F] | undefined;
  /**
   * Sets and marks the field changed, even if the value is the same, as Nova does: the row may differ from our copy, and
   * a save without changed fields checks no expected state. The value is copied; what `get` returns is frozen.
   */
  set<F extends keyof Fields & string>(field: F, value: Fields[F]): void;
  /** Changed fields, counting one whose nested object has changes. */
  readonly changes: ReadonlySet<string>;
  /** Forgets all changes, those of nested objects too. */
  resetChanges(): void;
  /**
   * Takes over what the conductor answered to an object_action: primitives of changed fields and obj_what_changed.
   * A nested object that was set before keeps its identity and gets the new fields. What somebody set while the call was
   * under way (after `since`, taken before it) is newer than the answer: it stays, and stays changed.
   */
  applyUpdates(updates: Readonly<Record<string, unknown>>, since?: Revision): void;
  /** The present moment in the object's life, for applyUpdates. */
  revision(): Revision;
  /** Takes over the fields that are set in a fresh copy of the same object, without marking them changed; `fields` limits them. */
  takeFrom(fresh: NovaObject<Fields>, fields?: readonly string[]): void;
  toWire(): WireObject;
  clone(): NovaObject<Fields>;
}

/** What differs between releases (nova-contract 1 and 7.2), chosen from the conductor's own service version. */
export interface ReleaseProfile {
  /** 'zed' | '2023.1' | … | '2026.2' */
  readonly name: string;
  /** The number to claim in services.version. */
  readonly serviceVersion: number;
  /** Version to ask for and to create with, by object name. */
  readonly objectVersions: Readonly<Record<string, string>>;
  /** Instance and Migration carry compute_id; a save that changes `node` must then name it (2023.2 on). */
  readonly hasComputeId: boolean;
  /** ComputeNode is found by uuid, not by host and node name (2023.1 on). */
  readonly hasStableNodeIdentity: boolean;
  readonly hasComputeAltTopic: boolean;
  readonly needsOwnerNovaTrait: boolean;
  /** initial_cpu_allocation_ratio and initial_ram_allocation_ratio defaults. */
  readonly initialCpuRatio: number;
  readonly initialRamRatio: number;
}
