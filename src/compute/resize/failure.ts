/**
 * What a failed part of a move puts back: the allocation (the conductor moved the old one to the migration, the scheduler made the new one under
 * the instance), the migration's status, the tracker's second place. Each failure in here is logged and passed over, because the first error is
 * what the user must read; the next audit repairs the tracker.
 */
import { parseInstanceUuid } from '../../lib/ids.js';
import { novaFaults, refuse } from '../../lib/nova-faults.js';
import { vmStates, type NovaObjectOf } from '../../objects/index.js';
import type { RequestContext } from '../../rpc/context.js';
import { elevated } from '../../rpc/context.js';
import type { ComputeDeps } from '../deps.js';
import { isDeletedMeanwhile, isInterrupted, isTaskStateConflict } from '../error-text.js';

export interface Move {
  readonly instance: NovaObjectOf<'Instance'>;
  readonly migration: NovaObjectOf<'Migration'>;
}

async function quietly({ log }: ComputeDeps, move: Move, what: string, work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (err) {
    log.error({ err, instance: move.instance.get('uuid'), migration: move.migration.get('id'), what }, 'failed move not wholly put back');
  }
}

/** The old flavor's allocation is the instance's again, the claim is dropped, the migration says that it failed. */
export async function abandonMove(deps: ComputeDeps, context: RequestContext, move: Move): Promise<void> {
  const { instance, migration } = move;
  await quietly(deps, move, 'allocation', () => deps.placement.moveAllocations(migration.get('uuid'), instance.get('uuid')));
  await quietly(deps, move, 'claim', () => deps.tracker.endMove(elevated(context), instance, { migration, status: 'error', flavor: instance.get('flavor') },
    () => deps.conductor.instances.dropMigrationContext(context, instance)));
}

/** The same for an instance that is being deleted, or is gone: there is nobody to give the allocation back to. */
async function dropMove(deps: ComputeDeps, context: RequestContext, move: Move): Promise<void> {
  const { instance, migration } = move;
  await quietly(deps, move, 'allocation', () => deps.placement.removeAllocations(migration.get('uuid')));
  await quietly(deps, move, 'claim', () => deps.tracker.endMove(elevated(context), instance, { migration, status: 'error', flavor: instance.get('flavor') }, async () => undefined));
}

/** The migration's row says that it failed; what it holds in Placement is left as it is. */
export const failMove = (deps: ComputeDeps, context: RequestContext, move: Move): Promise<void> => quietly(deps, move, 'status', async () => {
  move.migration.set('status', 'error');
  await deps.conductor.migrations.save(elevated(context), move.migration);
});

/** What becomes of a part that failed before the move was through. `restore` puts guest and row back; it is for failures of ours alone. */
export async function settleFailure(deps: ComputeDeps, context: RequestContext, move: Move, error: unknown, restore: () => Promise<void>): Promise<void> {
  if (isInterrupted(error)) return;
  if (isDeletedMeanwhile(error)) return dropMove(deps, context, move);
  if (!isTaskStateConflict(error)) await restore();
  await abandonMove(deps, context, move);
}

/** What becomes of a revert that failed half way: the server is in error (saved with the task revert), and a human or a hard reboot must help. */
export async function settleRevertFailure(deps: ComputeDeps, context: RequestContext, move: Move, error: unknown): Promise<void> {
  if (isInterrupted(error)) return;
  if (isDeletedMeanwhile(error)) return dropMove(deps, context, move);
  if (!isTaskStateConflict(error)) move.instance.set('vm_state', vmStates.error);
  await failMove(deps, context, move);
}

/**
 * Whether this part of the move is still to be done: a message may come twice, and a request may have been given up while it waited. Nothing is
 * done for a part that is over; for a migration that failed meanwhile the request is refused, so that its task does not hang.
 */
export async function isDue(deps: ComputeDeps, context: RequestContext, { instance, migration }: Move, statuses: readonly string[]): Promise<boolean> {
  const stored = await deps.conductor.migrations.byId(context, migration.get('id'), parseInstanceUuid(instance.get('uuid')));
  const status = stored?.get('status') ?? 'missing';
  if (statuses.includes(status)) return true;
  if (['missing', 'error', 'failed', 'cancelled'].includes(status)) throw refuse(novaFaults.migrationError(`the migration was given up (${status})`));
  deps.log.info({ instance: instance.get('uuid'), migration: migration.get('id'), status }, 'this part of the move is over already');
  return false;
}
