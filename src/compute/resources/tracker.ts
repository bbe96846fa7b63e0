/**
 * What this host has, who uses it, and telling so to Nova (ComputeNode row) and Placement (provider). One fair mutex orders claims,
 * releases and audits. What is tracked in memory is a cache: each audit replaces it by what the database says, so nothing that a crash
 * or a lost save left wrong lives longer than a minute.
 *
 *   claim ──▶ tracked ──release / abort──▶ gone
 *     ▲                                      ▲
 *     └──────── audit: tracked := rows of (host, node) that hold resources, moving := migrations in progress
 *   claimMove ──▶ moving ──endMove──▶ gone: of a move within the host both flavors count until it is over
 *
 * Memory, disk and processors are not tested at a claim: Placement did that. A claim refuses what this host cannot honour.
 */
import { Mutex } from 'async-mutex';
import { novaFaults, refuse } from '../../lib/nova-faults.js';
import type { Conductor } from '../../conductor/index.js';
import { isBootFromVolume, type NovaObjectOf } from '../../objects/index.js';
import { elevated, type RequestContext } from '../../rpc/context.js';
import { auditResources, type Count, type ResourceTrackerDeps, type View } from './audit.js';
import { aimMigration, recordMove, saveStatus, type MoveClaim } from './move-claim.js';
import { saveIfDifferent, type NodeFields } from './node-record.js';
import { createProviderReport } from './provider-report.js';
import { accountFor, holdsResources, statesOf, trackedOf, usageOf } from './usage.js';

export interface ResourceTracker {
  /** uuid of this node's provider in Placement. */
  readonly providerUuid: string;
  /**
   * Takes the place of an instance here: sets and saves host, launched_on, node and (where the release has it) compute_id. Refuses with
   * ComputeResourcesUnavailable another node, NUMA and PCI wishes, and any claim before the first audit. `limits` hold nothing that is tested.
   */
  claim(context: RequestContext, instance: NovaObjectOf<'Instance'>, request: { readonly node: string | null; readonly limits?: unknown }): Promise<void>;
  /** Gives the place back and saves null for host, node, launched_on and compute_id, also for an instance that never had one. */
  abortClaim(context: RequestContext, instance: NovaObjectOf<'Instance'>): Promise<void>;
  /**
   * Takes the place of the new flavor beside the old one's: aims the migration at this host and records the move on the instance. Refuses what
   * `claim` refuses.
   */
  claimMove(context: RequestContext, instance: NovaObjectOf<'Instance'>, move: MoveClaim): Promise<void>;
  /**
   * The move is over: saves the migration's status, counts the instance under the flavor that it has from now on, and (inside the same turn, so
   * that no audit comes between) does what the caller has to write.
   */
  endMove(
    context: RequestContext, instance: NovaObjectOf<'Instance'>,
    move: { readonly migration: NovaObjectOf<'Migration'>; readonly status: 'confirmed' | 'reverted' | 'error'; readonly flavor: NovaObjectOf<'Flavor'> }, write: () => Promise<void>,
  ): Promise<void>;
  /** Gives the place back; the row is the caller's. */
  release(context: RequestContext, instance: NovaObjectOf<'Instance'>): Promise<void>;
  /** Counts a tracked instance under its new states; others are ignored. */
  update(context: RequestContext, instance: NovaObjectOf<'Instance'>): Promise<void>;
  /** nova-contract 9. Throws at start-up only; later failures are logged and the next audit tries again. */
  audit(context: RequestContext, options: { readonly startup: boolean }): Promise<void>;
  /** For the scheduler's build-failure weigher; told with the next claim, release or audit. */
  recordBuildFailure(): Promise<void>;
  recordBuildSuccess(): Promise<void>;
  /** COMPUTE_STATUS_DISABLED, at once. */
  setHostEnabled(enabled: boolean): Promise<void>;
}

export function createResourceTracker(deps: ResourceTrackerDeps): ResourceTracker {
  const { conductor, log, options, uuid } = deps;
  const mutex = new Mutex();
  const provider = createProviderReport({
    placement: deps.placement, clock: deps.clock, log, uuid, name: options.node, refreshMs: options.associationRefreshMs,
  });
  let view: View | undefined;
  let failedBuilds = 0;

  const accounts = ({ totals, tracked, moving }: Count): NodeFields => {
    const { fields, stats } = accountFor(totals, options.reserved, [...tracked.values()], [...moving.values()], failedBuilds);
    return { ...fields, stats };
  };

  /** The row's numbers are for weighers and operators; that they are late must not fail a build or a delete. */
  async function tell(context: RequestContext): Promise<void> {
    if (view === undefined) return;
    try {
      await saveIfDifferent(deps, elevated(context), view.node, accounts(view));
    } catch (err) {
      log.warn({ err }, 'usage not saved; the next audit does it');
    }
  }

  async function giveBack(context: RequestContext, instance: NovaObjectOf<'Instance'>): Promise<void> {
    if (view?.tracked.delete(instance.get('uuid')) === true) await tell(context);
  }

  /** What every claim must pass. */
  async function admit(context: RequestContext, instance: NovaObjectOf<'Instance'>, node: string | null): Promise<View> {
    if (view === undefined) throw refuse(novaFaults.computeResourcesUnavailable('this node has not been audited yet'));
    if (node !== null && node !== options.node) throw refuse(novaFaults.computeResourcesUnavailable(`node ${node} is not here`));
    await refuseWishes(deps, context, instance);
    return view;
  }

  return {
    providerUuid: uuid,
    claim: (context, instance, { node }) => mutex.runExclusive(async () => {
      const view = await admit(context, instance, node);
      const tracked = trackedOf(instance);
      setPlace(conductor, instance, { host: options.host, node: options.node, computeId: view.node.get('id') });
      await conductor.instances.save(context, instance);
      view.tracked.set(instance.get('uuid'), tracked);
      await tell(context);
    }),
    abortClaim: (context, instance) => mutex.runExclusive(async () => {
      await giveBack(context, instance);
      setPlace(conductor, instance, null);
      await conductor.instances.save(context, instance);
    }),
    claimMove: (context, instance, { migration, flavor, node }) => mutex.runExclusive(async () => {
      const view = await admit(context, instance, node);
      await aimMigration(conductor, context, migration, { host: options.host, node: options.node, hostIp: options.hostIp, computeId: view.node.get('id') });
      await recordMove(conductor, context, instance, migration);
      view.moving.set(instance.get('uuid'), usageOf(flavor, isBootFromVolume(instance, [])));
      await tell(context);
    }),
    endMove: (context, instance, { migration, status, flavor }, write) => mutex.runExclusive(async () => {
      await saveStatus(conductor, context, migration, status);
      const uuid = instance.get('uuid');
      const tracked = view?.tracked.get(uuid);
      if (tracked !== undefined) view?.tracked.set(uuid, { ...tracked, ...statesOf(instance), usage: usageOf(flavor, isBootFromVolume(instance, [])) });
      view?.moving.delete(uuid);
      await tell(context);
      await write();
    }),
    release: (context, instance) => mutex.runExclusive(() => giveBack(context, instance)),
    update: (context, instance) => mutex.runExclusive(async () => {
      const before = view?.tracked.get(instance.get('uuid'));
      if (view === undefined || before === undefined) return;
      if (!holdsResources(instance)) return giveBack(context, instance);
      view.tracked.set(instance.get('uuid'), { ...before, ...statesOf(instance) });
      await tell(context);
    }),
    audit: (context, { startup }) => mutex.runExclusive(async () => {
      try {
        await auditResources(deps, provider, context, (found) => { view = found; }, accounts);
      } catch (err) {
        if (startup) throw err;
        log.error({ err }, 'resource audit failed; the next one tries again');
      }
    }),
    recordBuildFailure: async () => { failedBuilds += 1; },
    recordBuildSuccess: async () => { failedBuilds = 0; },
    setHostEnabled: (enabled) => mutex.runExclusive(() => provider.setEnabled(enabled)),
  };
}

/** Host, node and compute_id go together: from 2023.2 on the conductor refuses a node without its id. */
function setPlace(conductor: Pick<Conductor, 'profile'>, instance: NovaObjectOf<'Instance'>, place: { host: string; node: string; computeId: number } | null): void {
  instance.set('host', place?.host ?? null);
  instance.set('launched_on', place?.host ?? null);
  instance.set('node', place?.node ?? null);
  if (conductor.profile.hasComputeId) instance.set('compute_id', place?.computeId ?? null);
}

/** bhyve guests here have no NUMA placement and no passthrough: another host may honour the wish. */
async function refuseWishes(deps: ResourceTrackerDeps, context: RequestContext, instance: NovaObjectOf<'Instance'>): Promise<void> {
  await deps.conductor.instances.load(context, instance, ['numa_topology', 'pci_requests', 'flavor']);
  if ((instance.maybe('numa_topology') ?? null) !== null) throw refuse(novaFaults.computeResourcesUnavailable('NUMA placement is not supported on this host'));
  if ((instance.maybe('pci_requests')?.maybe('requests') ?? []).length > 0) {
    throw refuse(novaFaults.computeResourcesUnavailable('PCI passthrough is not supported on this host'));
  }
}

