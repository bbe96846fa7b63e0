/**
 * Allocations that outlived their server. Only those of deleted instances go; an instance that is still being scheduled, one of another
 * host, a migration's and anything unknown is left alone: somebody else owns it, and a lost allocation would oversell a host.
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
  readonly conductor: Pick<Conductor, 'instances'>;
  readonly placement: PlacementClient;
  readonly log: Logger;
  readonly uuid: string;
}

/** `known` are consumers that this host accounts for: tracked instances and migrations in progress. Failures are logged; the next audit repeats. */
export async function removeAllocationsOfDeleted(deps: AllocationAuditDeps, context: RequestContext, known: ReadonlySet<string>): Promise<void> {
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
      if (!(await isDeletedInstance(deps, context, consumer))) continue;
      await placement.removeAllocations(consumer);
      log.info({ instance: consumer }, 'allocation of a deleted instance removed');
    } catch (err) {
      log.warn({ err, instance: consumer }, 'allocation not checked; the next audit looks again');
    }
  }
}

async function isDeletedInstance({ conductor, log }: AllocationAuditDeps, context: RequestContext, consumer: string): Promise<boolean> {
  let instance: NovaObjectOf<'Instance'>;
  try {
    instance = await conductor.instances.byUuid(elevated(context, 'yes'), consumer as InstanceUuid, []);
  } catch (error) {
    if (!isRemote(error, 'InstanceNotFound')) throw error;
    log.info({ consumer }, 'an allocation here belongs to nothing that this cell knows; left alone');
    return false;
  }
  return instance.maybe('deleted') === true && instance.maybe('hidden') !== true;
}
