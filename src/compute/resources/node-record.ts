/** The ComputeNode row of this host: found, undeleted, adopted or made, and saved only when it says something else than it did. */
import { AgentError } from '../../lib/errors.js';
import type { Conductor } from '../../conductor/index.js';
import { createObject, isNovaObject, type NovaObjectOf, type ObjectFields, type ReleaseProfile } from '../../objects/index.js';
import type { Logger } from '../../observe/index.js';
import { elevated, type RequestContext } from '../../rpc/context.js';
import type { HostCapabilities, HostInventory } from '../../virt/index.js';
import type { Ratios } from './inventories.js';
import type { HostTotals } from './usage.js';

export type NodeFields = Partial<ObjectFields['ComputeNode']>;
type Node = NovaObjectOf<'ComputeNode'>;

export interface NodeRecordDeps {
  readonly conductor: Pick<Conductor, 'computeNodes' | 'profile'>;
  readonly log: Logger;
  readonly uuid: string;
  readonly host: string;
  readonly node: string;
}

/** What the row says of the machine itself. `numa_topology` stays null, so that no server with NUMA wishes is sent here. */
export function machineFields(
  profile: ReleaseProfile, inventory: HostInventory, totals: HostTotals, machine: { readonly availableDiskGiB: number; readonly hostIp: string },
): NodeFields {
  return {
    hypervisor_hostname: inventory.hypervisorHostname,
    // A closed list in Nova, which has this word.
    hypervisor_type: 'bhyve',
    hypervisor_version: inventory.hypervisorVersion,
    vcpus: totals.vcpus,
    memory_mb: totals.memoryMiB,
    local_gb: totals.diskGiB,
    disk_available_least: machine.availableDiskGiB,
    cpu_info: inventory.cpuInfo,
    metrics: '[]',
    host_ip: machine.hostIp,
    numa_topology: null,
    supported_hv_specs: inventory.supportedArchitectures.map((arch) => createObject(profile, 'HVSpec', { arch, hv_type: 'bhyve', vm_mode: 'hvm' })),
    pci_device_pools: createObject(profile, 'PciDevicePoolList', { objects: [] }),
  };
}

/** VCPU places that one guest may have; never 0, which would make every flavor too big. */
export const maxVcpus = (capabilities: HostCapabilities): number => Math.max(1, capabilities.maxVcpusPerGuest);

/**
 * The row of this node; `fields` and `ratios` are for a new one. Before 2023.1 a row is found by its names (and undeleted by creating it
 * again with its uuid), later by its uuid, deleted or not.
 */
export async function openNode(
  deps: NodeRecordDeps, context: RequestContext, fields: NodeFields, ratios: { readonly [Class in keyof Ratios]: number },
): Promise<{ node: Node; isNew: boolean }> {
  const { conductor, log, uuid, host } = deps;
  const existing = conductor.profile.hasStableNodeIdentity
    ? await conductor.computeNodes.byUuid(elevated(context, 'yes'), uuid)
    : await conductor.computeNodes.byHostAndNodename(context, host, deps.node);
  if (existing === null) {
    const node = createObject(conductor.profile, 'ComputeNode', {
      uuid, host, ...fields, cpu_allocation_ratio: ratios.cpu, ram_allocation_ratio: ratios.ram, disk_allocation_ratio: ratios.disk,
    });
    await conductor.computeNodes.create(context, node);
    node.resetChanges(); // what the conductor makes anew for its answer comes marked as changed
    log.info({ node: deps.node, uuid }, 'compute node record created');
    return { node, isNew: true };
  }
  if (existing.get('uuid') !== uuid) {
    throw new AgentError('node-identity-conflict', `the cloud knows this node as ${existing.get('uuid')}, we are ${uuid}: correct the file compute_id and restart`);
  }
  existing.resetChanges();
  if (existing.maybe('deleted') === true) await undelete(deps, context, existing);
  if (existing.get('host') !== host) {
    log.warn({ from: existing.get('host'), to: host }, 'compute node record of another host taken over');
    existing.set('host', host);
  }
  return { node: existing, isNew: false };
}

async function undelete({ conductor, log, uuid }: NodeRecordDeps, context: RequestContext, node: Node): Promise<void> {
  node.set('deleted', false);
  node.set('deleted_at', null);
  await conductor.computeNodes.save(elevated(context, 'yes'), node);
  log.warn({ uuid }, 'deleted compute node record restored');
}

/** Sets what differs and saves if anything did, or if an earlier save failed. Whether it saved. */
export async function saveIfDifferent(deps: Pick<NodeRecordDeps, 'conductor'>, context: RequestContext, node: Node, fields: NodeFields): Promise<boolean> {
  for (const [field, value] of Object.entries(fields)) {
    const name = field as keyof NodeFields;
    if (!node.isSet(name) || textOf(node.get(name)) !== textOf(value)) node.set(name, value as never);
  }
  if (node.changes.size === 0) return false;
  await deps.conductor.computeNodes.save(context, node);
  return true;
}

/** A value as text for comparing: keys in order, objects without their change marks and the columns that a database adds. */
function textOf(value: unknown): string {
  return JSON.stringify(plainOf(value));
}

const added = new Set(['created_at', 'updated_at', 'deleted_at', 'deleted']);

function plainOf(value: unknown): unknown {
  if (isNovaObject(value)) return { [value.objectName]: plainOf(value.toWire()['nova_object.data']) };
  if (Array.isArray(value)) return value.map(plainOf);
  if (typeof value !== 'object' || value === null) return value;
  if ('nova_object.data' in value && 'nova_object.name' in value) return { [String(value['nova_object.name'])]: plainOf(value['nova_object.data']) };
  const entries = Object.entries(value).filter(([key]) => !added.has(key)).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, element]: [string, unknown]) => [key, plainOf(element)]));
}
