/**
 * Everything that survives the agent: Nova's rows, Neutron's ports, Placement's allocations, and the machine. The fakes below are
 * views on it; a new agent on the same world is a restarted agent.
 */
import { createObject, parseObject, profileNamed, type NovaObjectOf, type WireObject } from '../../src/objects/index.js';
import type { InstanceUuid } from '../../src/lib/ids.js';
import type { CheckpointKeeping, CheckpointMemory, DiskBus, DiskRole } from '../../src/storage/index.js';
import type { WireMessage } from '../../src/rpc/index.js';
import type { GuestDefinition } from '../../src/virt/index.js';

export const profile = profileNamed('zed');
export const ourHost = 'sim-host';
export const providerUuid = '99999999-9999-4999-8999-999999999999';
export const imageId = '77777777-7777-4777-8777-777777777777';
/** Made by nova-api for a snapshot or a shelve. */
export const newImageId = '66666666-6666-4666-8666-666666666666';
export const projectId = 'project-1';

export interface Guest {
  definition: GuestDefinition;
  isRunning: boolean;
  /** Frozen while it runs. */
  isPaused?: boolean;
  /** How often it was started: a reboot must show. */
  starts: number;
  /** What it remembers, changed by each cold start; a save of it. */
  memory?: number;
  save?: { readonly memory: number; readonly disks: Readonly<Record<string, string>>; readonly writtenBy?: number | undefined };
  /** The start at which its firmware's variables began; null: it has none yet. */
  variablesSince: number | null;
}

export interface FakeDisk {
  isGrown: boolean;
  /** Null: it began empty. */
  readonly image: string | null;
  readonly bytes: bigint;
  readonly madeFor: string | null;
  readonly bus: DiskBus | null;
  format?: string;
  /** Which run of a guest wrote to it last. */
  writtenBy?: number;
}

export interface World {
  /** uuid → wire form of the row; absent = destroyed. */
  readonly rows: Map<string, WireObject>;
  readonly faults: { uuid: string; message: string }[];
  readonly events: { uuid: string; event: string; result: string | null }[];
  /** port id → what Neutron knows */
  readonly ports: Map<string, { instance: string; isBound: boolean; isActive: boolean }>;
  /** consumer → has an allocation on our provider */
  readonly allocations: Set<string>;
  readonly rebuilds: unknown[];
  readonly folders: Map<InstanceUuid, Guest | 'empty'>;
  readonly disks: Map<InstanceUuid, Map<DiskRole, FakeDisk>>;
  /** UUID/ROLE → a disk that is to take the place of another. */
  readonly successors: Map<string, FakeDisk>;
  /** UUID/ROLE → the disk as it was when a move began, and which move. */
  readonly kept: Map<string, { readonly move: string; readonly disk: FakeDisk }>;
  /** Instances whose disks are held still for a save. */
  readonly still: Set<InstanceUuid>;
  /** Which run had written to them by then. */
  readonly heldAt: Map<InstanceUuid, number | undefined>;
  /** What guests remembered that are being saved. */
  readonly partialSaves: Map<InstanceUuid, number>;
  /** node id → what the guest remembers there, if anything, and since which start it had its variables. */
  readonly keptFiles: Map<string, { readonly instance: InstanceUuid; readonly memory: number | null; readonly writtenBy?: number | undefined; readonly variablesSince: number | null }>;
  /** How often guests were started or went on; and those that went on over disks that other runs have written to. */
  runs: number;
  readonly torn: string[];
  /** Whether the host's self-test has passed. */
  canSave: boolean;
  /** What bhyve does with a save that it is to restore. */
  restores: 'taken' | 'refused';
  /** Config drives of rescues. */
  readonly rescueDrives: Set<InstanceUuid>;
  /** UUID of a whole instance, or UUID/ROLE. */
  readonly graveyard: string[];
  readonly taps: Map<string, InstanceUuid>;
  /** In the cache of this host. */
  readonly images: Set<string>;
  /** id → the migration's row. */
  readonly migrations: Map<number, WireObject>;
  /** Messages to this host that the broker holds. */
  readonly queue: WireMessage[];
  /** Glance's images but the one that everybody boots from. */
  readonly glance: Map<string, { status: 'queued' | 'saving' | 'active'; diskFormat: string | null; properties?: Readonly<Record<string, string>>; isHidden?: boolean }>;
  /** image id → its octets */
  readonly imageData: Map<string, Buffer>;
  /** image id → which run had written to the disk in it, for those in the cache that say so. */
  readonly imageWriters: Map<string, number | undefined>;
  /** id → a node of the checkpoint tree. */
  readonly nodes: Map<string, { readonly instance: InstanceUuid; readonly parent: string | null; readonly guest: 'running' | 'off'; readonly memory: CheckpointMemory | null; readonly disks: ReadonlyMap<DiskRole, FakeDisk> } & CheckpointKeeping>;
  /** instance → the node that its disks descend from. */
  readonly currentNodes: Map<InstanceUuid, string>;
  /** operation → whose disk is kept for it */
  readonly snapshots: Map<string, InstanceUuid>;
  /** operation → the disk, if it is one of a node */
  readonly copies: Map<string, FakeDisk>;
  shelvedOffloadSeconds: number;
  /** Delivers Neutron's word to whichever agent lives. */
  deliver: ((instance: InstanceUuid, name: string, tag: string) => void) | null;
}

export function createWorld(): World {
  return {
    rows: new Map(), faults: [], events: [], ports: new Map(), allocations: new Set(), rebuilds: [], folders: new Map(), disks: new Map(), successors: new Map(), kept: new Map(), still: new Set(), heldAt: new Map(), partialSaves: new Map(), keptFiles: new Map(), runs: 0, torn: [], canSave: true, restores: 'taken', rescueDrives: new Set(), graveyard: [],
    taps: new Map(), images: new Set(), glance: new Map(), nodes: new Map(), currentNodes: new Map(), snapshots: new Map(), copies: new Map(), imageData: new Map(), imageWriters: new Map(), shelvedOffloadSeconds: 0, migrations: new Map(), queue: [], deliver: null,
  };
}

export const sameFields = { project_id: projectId, user_id: 'user-1' } as const;

const flavor = (id: number, memory: number, rootGiB: number, [ephemeralGiB, swapMiB]: readonly [number, number] = [0, 0]): NovaObjectOf<'Flavor'> => createObject(profile, 'Flavor', {
  id, name: `m1.${id}`, flavorid: String(id), memory_mb: memory, vcpus: 1, root_gb: rootGiB, ephemeral_gb: ephemeralGiB, swap: swapMiB, extra_specs: {},
});
export const flavors = { small: flavor(1, 128, 1), large: flavor(2, 256, 2), roomy: flavor(3, 128, 1, [2, 64]) } as const;
export const migrationUuid = '88888888-8888-4888-8888-888888888888';

/** A row as the API makes it, before any host is chosen. */
export function newInstance(uuid: InstanceUuid, over: Readonly<Record<string, unknown>> = {}): NovaObjectOf<'Instance'> {
  const cache = createObject(profile, 'InstanceInfoCache', { instance_uuid: uuid, network_info: '[]' });
  const instance = createObject(profile, 'Instance', {
    id: 1, uuid, host: null, node: null, launched_on: null, vm_state: 'building', task_state: 'scheduling', power_state: 0, display_name: 'sim', hostname: 'sim',
    image_ref: imageId, memory_mb: 128, vcpus: 1, root_gb: 1, ephemeral_gb: 0, root_device_name: null, config_drive: '', metadata: {}, system_metadata: {},
    availability_zone: null, access_ip_v4: null, access_ip_v6: null, launched_at: null, terminated_at: null, deleted: false, os_type: null, trusted_certs: null,
    numa_topology: null, pci_requests: null, migration_context: null, old_flavor: null, new_flavor: null, instance_type_id: 1, flavor: flavors.small, info_cache: cache, ...sameFields, ...over,
  });
  instance.resetChanges();
  return instance;
}

/** A fresh object of a row; undefined when it was destroyed. */
export function rowOf(world: World, uuid: string): NovaObjectOf<'Instance'> | undefined {
  const wire = world.rows.get(uuid);
  return wire === undefined ? undefined : (parseObject(wire) as NovaObjectOf<'Instance'>);
}

/** What is on the machine of one instance, in words; empty = nothing. */
export function remains(world: World, uuid: InstanceUuid): string[] {
  const folder = world.folders.get(uuid);
  return [
    ...(folder === undefined ? [] : [folder === 'empty' ? 'an empty folder' : folder.isRunning ? 'a running guest' : 'a folder']),
    ...(folder !== undefined && folder !== 'empty' && folder.save !== undefined ? ['a save'] : []),
    ...(world.still.has(uuid) ? ['disks held still'] : []),
    ...[...(world.disks.get(uuid)?.keys() ?? [])].map((role) => (role === 'root' ? 'a disk' : `a ${role} disk`)),
    ...([...world.nodes.values()].some(({ instance }) => instance === uuid) ? ['a checkpoint'] : []),
    ...([...world.keptFiles.values()].some(({ instance }) => instance === uuid) ? ['files of a checkpoint'] : []),
    ...([...world.snapshots.values()].includes(uuid) ? ['a copy of its disk'] : []),
    ...[...world.taps].filter(([, owner]) => owner === uuid).map(([tap]) => `tap ${tap}`),
  ];
}

/** What is left of one instance in the cloud, besides its row. */
export function traces(world: World, uuid: InstanceUuid): string[] {
  return [
    ...[...world.ports].filter(([, port]) => port.instance === uuid).map(([id]) => `port ${id}`),
    ...[...world.allocations].map((consumer) => (consumer === uuid ? 'an allocation' : `an allocation of ${consumer}`)),
  ];
}
