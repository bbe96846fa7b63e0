/**
 * The audit (nova-contract 9): level-triggered, from the machine and the database, never from what was remembered. Order: who we are, who
 * is here, the row, the provider, and last what others left behind. One bad instance, migration or orphan is logged and passed over.
 */
import { AgentError } from '../../lib/errors.js';
import type { Clock } from '../../lib/clock.js';
import type { InstanceUuid } from '../../lib/ids.js';
import type { Conductor } from '../../conductor/index.js';
import type { NovaObjectOf } from '../../objects/index.js';
import type { Logger } from '../../observe/index.js';
import type { PlacementClient } from '../../openstack/index.js';
import { elevated, type RequestContext } from '../../rpc/context.js';
import { isRemote } from '../../rpc/index.js';
import type { NodeStorage } from '../../storage/index.js';
import type { HostInventory, HypervisorDriver } from '../../virt/index.js';
import { removeLeftAllocations } from './allocation-audit.js';
import type { Ratios } from './inventories.js';
import { planMoves } from './moves.js';
import { machineFields, maxVcpus, openNode, saveIfDifferent, type NodeFields } from './node-record.js';
import type { ProviderAdditions } from './provider-config.js';
import type { ProviderReport } from './provider-report.js';
import { holdsResources, trackedOf, type HostTotals, type Reserved, type TrackedInstance, type Usage } from './usage.js';

/** nova.conf's names, in the units of their suffix; null = not set. */
export interface ResourceOptions {
  readonly host: string;
  /** hypervisor_hostname */
  readonly node: string;
  /** my_ip */
  readonly hostIp: string;
  /** reserved_host_cpus, reserved_host_memory_mb, reserved_host_disk_mb */
  readonly reserved: Reserved;
  /** cpu_, ram_ and disk_allocation_ratio; 0 counts as not set. */
  readonly ratios: Ratios;
  /** initial_*_allocation_ratio; null takes the release's default. */
  readonly initialRatios: Ratios;
  readonly associationRefreshMs: number;
  /** [compute]image_type_exclude_list */
  readonly excludedImageTypes: readonly string[];
}

export interface ResourceTrackerDeps {
  readonly conductor: Pick<Conductor, 'profile' | 'computeNodes' | 'instances' | 'migrations' | 'services'>;
  readonly placement: PlacementClient;
  readonly driver: Pick<HypervisorDriver, 'inventory' | 'capabilities'>;
  readonly storage: Pick<NodeStorage, 'usage'>;
  readonly clock: Clock;
  readonly log: Logger;
  /** From establishIdentity: uuid of the ComputeNode row and of the resource provider. */
  readonly uuid: string;
  readonly options: ResourceOptions;
  /** What the operator adds to the provider; absent: nothing. */
  readonly additions?: ProviderAdditions;
}

/** What there is, and who uses it. */
export interface Count {
  readonly totals: HostTotals;
  readonly tracked: Map<string, TrackedInstance>;
  /** The other flavor of instances that are on the move, by instance. */
  readonly moving: Map<string, Usage>;
}

/** What the last audit found. */
export interface View extends Count {
  readonly node: NovaObjectOf<'ComputeNode'>;
}

const GiB = 1024n ** 3n;
/** What the accounts need of an instance. */
const instanceAttributes = ['system_metadata', 'numa_topology', 'flavor', 'migration_context'] as const;

/**
 * One audit. `publish` gets the view as soon as it is complete, before anything is told to others: claims go on with it even if Placement
 * is away. `accounts` turns a count into the row's numbers.
 */
export async function auditResources(
  deps: ResourceTrackerDeps, provider: ProviderReport, context: RequestContext, publish: (view: View) => void, accounts: (count: Count) => NodeFields,
): Promise<void> {
  const { conductor, options } = deps;
  const machine = await readMachine(deps);
  const service = await serviceOf(deps, context);
  await removeOrphans(deps, context);
  const instances = await conductor.instances.byHostAndNode(context, options.host, options.node, instanceAttributes);
  const migrations = await conductor.migrations.inProgressAndError(context, options.host, options.node);
  const tracked = trackAll(deps, instances);
  const moves = planMoves(migrations, await instancesOf(deps, context, migrations, instances), new Set(tracked.keys()), options);
  await markStale(deps, context, moves.stale);

  const initial = initialRatios(deps);
  const count: Count = { totals: machine.totals, tracked, moving: moves.usages };
  const fields = { ...machine.fields, ...accounts(count) };
  const { node, isNew } = await openNode({ ...options, conductor, log: deps.log, uuid: deps.uuid }, context, fields, initial);
  publish({ ...count, node });
  await correctComputeIds(deps, context, instances, node);
  await saveIfDifferent(deps, context, node, {
    ...fields, ...setRatios(options.ratios),
    ...(service !== null && conductor.profile.hasStableNodeIdentity ? { service_id: service.get('id') } : {}),
  });
  await provider.report({
    inventory: {
      totals: machine.totals, reserved: options.reserved, ratios: ratiosOf(options.ratios), initialRatios: initial, maxVcpusPerGuest: maxVcpus(deps.driver.capabilities),
      additional: deps.additions?.inventories ?? {},
    },
    traits: {
      host: machine.inventory.traits, excludedImageTypes: options.excludedImageTypes, needsOwnerNova: conductor.profile.needsOwnerNovaTrait,
      isDisabled: service?.get('disabled') ?? null, additional: deps.additions?.traits ?? [],
    },
  });
  if (isNew) return;
  const migrating = migrations.flatMap((migration) => migration.maybe('uuid') ?? []);
  await removeLeftAllocations({ conductor, placement: deps.placement, log: deps.log, host: options.host, uuid: deps.uuid }, context, new Set([...tracked.keys(), ...migrating]));
}

interface Machine { readonly inventory: HostInventory; readonly totals: HostTotals; readonly fields: NodeFields }

async function readMachine({ driver, storage, options, conductor }: ResourceTrackerDeps): Promise<Machine> {
  const inventory = await driver.inventory();
  if (inventory.hypervisorHostname !== options.node) {
    throw new AgentError('node-renamed', `this host calls itself ${inventory.hypervisorHostname}, but the node is ${options.node}: give it its old name again`);
  }
  const { totalBytes, availableBytes } = await storage.usage();
  const totals = { vcpus: inventory.vcpus, memoryMiB: inventory.memoryMiB, diskGiB: Number(totalBytes / GiB) };
  const availableDiskGiB = Number(availableBytes / GiB);
  return { inventory, totals, fields: machineFields(conductor.profile, inventory, totals, { availableDiskGiB, hostIp: options.hostIp }) };
}

/** Null when an operator deleted the row: the heartbeat reports that, and the scheduler leaves such a host alone. */
async function serviceOf({ conductor, log, options }: ResourceTrackerDeps, context: RequestContext): Promise<NovaObjectOf<'Service'> | null> {
  try {
    return await conductor.services.byComputeHost(context, options.host);
  } catch (err) {
    if (!isRemote(err, 'ComputeHostNotFound', 'ServiceNotFound')) throw err;
    log.error({ host: options.host }, 'the service record of this host is gone; restart the agent to make a new one');
    return null;
  }
}

/** Rows of this host under names that it no longer has. One that still has instances is an accident, and is kept for a human. */
async function removeOrphans({ conductor, placement, log, options, uuid }: ResourceTrackerDeps, context: RequestContext): Promise<void> {
  for (const orphan of await conductor.computeNodes.byHost(context, options.host)) {
    const name = orphan.get('hypervisor_hostname');
    if (name === options.node || orphan.get('uuid') === uuid) continue;
    try {
      const instances = await conductor.instances.byHostAndNode(context, options.host, name, []);
      if (instances.length > 0) {
        log.error({ node: name, instances: instances.length }, 'another node record of this host has instances; it was left alone');
        continue;
      }
      await conductor.computeNodes.destroy(context, orphan);
      for (const consumer of Object.keys(await placement.allocationsOnProvider(orphan.get('uuid')))) {
        await placement.removeProviderFromAllocations(consumer, orphan.get('uuid'));
      }
      await placement.deleteProvider(orphan.get('uuid'));
      log.warn({ node: name, uuid: orphan.get('uuid') }, 'orphaned compute node record and provider removed');
    } catch (err) {
      log.error({ err, node: name }, 'orphaned compute node record not removed');
    }
  }
}

function trackAll({ log }: ResourceTrackerDeps, instances: readonly NovaObjectOf<'Instance'>[]): Map<string, TrackedInstance> {
  const tracked = new Map<string, TrackedInstance>();
  for (const instance of instances.filter(holdsResources)) {
    try {
      tracked.set(instance.get('uuid'), trackedOf(instance));
    } catch (err) {
      log.error({ err, instance: instance.maybe('uuid') }, 'instance not counted: its record is incomplete');
    }
  }
  return tracked;
}

/** The instances of the migrations, those that live elsewhere or are deleted included. */
async function instancesOf(
  { conductor, log }: ResourceTrackerDeps, context: RequestContext, migrations: readonly NovaObjectOf<'Migration'>[], known: readonly NovaObjectOf<'Instance'>[],
): Promise<Map<string, NovaObjectOf<'Instance'>>> {
  const instances = new Map(known.map((instance) => [instance.get('uuid'), instance]));
  for (const migration of migrations) {
    const uuid = migration.get('instance_uuid');
    if (uuid === null || instances.has(uuid)) continue;
    try {
      instances.set(uuid, await conductor.instances.byUuid(elevated(context, 'yes'), uuid as InstanceUuid, instanceAttributes));
    } catch (err) {
      if (!isRemote(err, 'InstanceNotFound')) log.warn({ err, instance: uuid }, 'instance of a migration not read; it is not counted');
    }
  }
  return instances;
}

async function markStale({ conductor, log }: ResourceTrackerDeps, context: RequestContext, stale: readonly NovaObjectOf<'Migration'>[]): Promise<void> {
  for (const migration of stale) {
    try {
      migration.set('status', 'error');
      await conductor.migrations.save(context, migration);
      log.warn({ migration: migration.get('id'), instance: migration.get('instance_uuid') }, 'migration left over from an earlier move set to error');
    } catch (err) {
      log.warn({ err, migration: migration.get('id') }, 'stale migration not saved; the next audit tries again');
    }
  }
}

/** Rows from before 2023.2 have no compute_id; the API and later releases look for it. */
async function correctComputeIds(
  { conductor, log }: ResourceTrackerDeps, context: RequestContext, instances: readonly NovaObjectOf<'Instance'>[], node: NovaObjectOf<'ComputeNode'>,
): Promise<void> {
  if (!conductor.profile.hasComputeId) return;
  for (const instance of instances) {
    if (instance.maybe('compute_id') === node.get('id')) continue;
    try {
      instance.set('compute_id', node.get('id'));
      await conductor.instances.save(context, instance);
    } catch (err) {
      log.warn({ err, instance: instance.get('uuid') }, 'compute_id of an instance not saved; the next audit tries again');
    }
  }
}

/** Nova lets 0 stand for "not set". */
const orUnset = (ratio: number | null): number | null => (ratio === 0 ? null : ratio);
const ratiosOf = (ratios: Ratios): Ratios => ({ cpu: orUnset(ratios.cpu), ram: orUnset(ratios.ram), disk: orUnset(ratios.disk) });

function initialRatios({ conductor, options: { initialRatios: set } }: ResourceTrackerDeps): { readonly [Class in keyof Ratios]: number } {
  const { initialCpuRatio, initialRamRatio } = conductor.profile;
  return { cpu: set.cpu ?? initialCpuRatio, ram: set.ram ?? initialRamRatio, disk: set.disk ?? 1 };
}

function setRatios(ratios: Ratios): NodeFields {
  const { cpu, ram, disk } = ratiosOf(ratios);
  return {
    ...(cpu === null ? {} : { cpu_allocation_ratio: cpu }), ...(ram === null ? {} : { ram_allocation_ratio: ram }),
    ...(disk === null ? {} : { disk_allocation_ratio: disk }),
  };
}
