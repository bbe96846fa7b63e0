/**
 * Allocations that outlived what they are for. Those of deleted instances go, and those of confirmed moves from this host, whose end could not reach
 * Placement (Nova leaks these). An instance that is still being scheduled, one of another host, the migration of any other move and anything
 * unknown is left alone: somebody else owns it, or a revert gives it back, and a lost allocation would oversell a host.
 */
import { codeOf } from '../../lib/errors.js';
import type { InstanceUuid } from '../../lib/ids.js';
import type { Conductor } from '../../conductor/index.js';
import type { NovaObjectOf } from '../../objects/index.js';
import type { Logger } from '../../observe/index.js';
import type { PlacementClient } from '../../openstack/index.js';
import { elevated, type RequestContext } from '../../rpc/context.js';
import { isRemote } from '../../rpc/index.js';

export interface AllocationAuditDeps {
  readonly conductor: Pick<Conductor, 'instances' | 'migrations'>;
  readonly placement: PlacementClient;
  readonly log: Logger;
  readonly host: string;
  /** Of this host's provider. */
  readonly uuid: string;
}

/** `known` are consumers that this host accounts for: tracked instances and migrations in progress. Failures are logged; the next audit repeats. */
export async function removeLeftAllocations(deps: AllocationAuditDeps, context: RequestContext, known: ReadonlySet<string>): Promise<void> {
  const { placement, log, uuid } = deps;
  let consumers: string[];
  try {
    consumers = Object.keys(await placement.allocationsOnProvider(uuid));
  } catch (err) {
    if (codeOf(err) === undefined) throw err;
    log.warn({ err }, 'allocations not read; the next audit looks again');
    return;
  }
  for (const consumer of consumers.filter((candidate) => !known.has(candidate))) {
    try {
      const owner = await ownerOf(deps, context, consumer);
      if (owner === 'another') continue;
      await placement.removeAllocations(consumer);
      log.info({ consumer, owner }, 'left-over allocation removed');
    } catch (err) {
      log.warn({ err, consumer }, 'allocation not checked; the next audit looks again');
    }
  }
}

type Owner = 'deleted-instance' | 'confirmed-move' | 'another';

async function ownerOf({ conductor, log, host }: AllocationAuditDeps, context: RequestContext, consumer: string): Promise<Owner> {
  let instance: NovaObjectOf<'Instance'>;
  try {
    instance = await conductor.instances.byUuid(elevated(context, 'yes'), consumer as InstanceUuid, []);
  } catch (error) {
    if (!isRemote(error, 'InstanceNotFound')) throw error;
    const confirmed = await conductor.migrations.byFilters(elevated(context), { uuid: [consumer], source_compute: host, status: 'confirmed' });
    if (confirmed.some((migration) => migration.maybe('uuid') === consumer)) return 'confirmed-move';
    log.info({ consumer }, 'an allocation here belongs to nothing that this cell knows; left alone');
    return 'another';
  }
  return instance.maybe('deleted') === true && instance.maybe('hidden') !== true ? 'deleted-instance' : 'another';
}
