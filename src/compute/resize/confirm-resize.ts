import { parseInstanceUuid } from '../../lib/ids.js';
import { runSteps } from '../../journal/index.js';
import { taskStates, vmStates, type NovaObjectOf } from '../../objects/index.js';
import { elevated } from '../../rpc/context.js';
import { powerStates } from '../../virt/index.js';
import { isInstanceGone, isInterrupted } from '../error-text.js';
import type { InstanceMethod, Operation } from '../operation.js';
import { saveState } from '../save-state.js';
import { moveArguments, moveAttributes, sameHostOnly, type MoveArguments } from './arguments.js';
import { forgetKept } from './disk-steps.js';
import { failMove } from './failure.js';
import { clearStash } from './row.js';

/**
 * The user is content: what a revert would need goes. Also called, and waited for, by nova-api before it deletes a resized server. Killed in
 * the middle it is run again: each part is harmless a second time.
 */
export const confirmResize: InstanceMethod<MoveArguments> = {
  kind: 'instance',
  rpc: 'confirm_resize',
  availability: sameHostOnly,
  args: moveArguments,
  wrappers: { revertsTask: false, event: 'compute_confirm_resize', recordsFault: true },
  gate: 'resize',
  isJournalled: true,
  run: confirm,
};

async function confirm(operation: Operation<MoveArguments>): Promise<null> {
  const { args: { migration }, isResumed, log } = operation;
  const status = migration.get('status') ?? '';
  if (!['finished', 'confirming'].includes(status)) {
    log.info({ status }, 'migration is not one to confirm');
    return null;
  }
  const instance = await fresh(operation);
  if (instance === null) return null;
  const isSettled = isResumed && instance.get('vm_state') !== vmStates.resized; // killed in the middle, after the row was saved
  try {
    if (!isSettled) await settle(operation, instance);
  } catch (error) {
    if (isInterrupted(error)) throw error;
    await markFailed(operation, instance);
    await tidy(operation, instance);
    throw error;
  }
  await tidy(operation, instance);
  return null;
}

/** The row as it is now; null when it is gone. */
async function fresh({ args, context, deps }: Operation<MoveArguments>): Promise<NovaObjectOf<'Instance'> | null> {
  try {
    return await deps.conductor.instances.byUuid(context, parseInstanceUuid(args.instance.get('uuid')), moveAttributes);
  } catch (error) {
    if (isInstanceGone(error)) return null;
    throw error;
  }
}

async function settle({ id, args: { migration }, context, deps, signal }: Operation<MoveArguments>, instance: NovaObjectOf<'Instance'>): Promise<void> {
  await deps.ports.refresh(context, instance);
  await runSteps(deps.journal, id, [forgetKept(deps, parseInstanceUuid(instance.get('uuid')), migration.get('uuid'))], signal);
  await deps.tracker.endMove(elevated(context), instance, { migration, status: 'confirmed', flavor: instance.get('flavor') },
    () => deps.conductor.instances.dropMigrationContext(context, instance));
  // A server that was stopped may have been started to look at the result, and the other way round.
  const vmState = instance.get('power_state') === powerStates.shutdown ? vmStates.stopped : vmStates.active;
  await saveState(deps, context, instance, { vmState, taskState: null }, [null, taskStates.deleting, taskStates.softDeleting]);
}

/** Whether it went well or not: the instance is where it is, and the old flavor's place is free. */
async function tidy({ args: { migration }, context, deps, log }: Operation<MoveArguments>, instance: NovaObjectOf<'Instance'>): Promise<void> {
  try {
    await deps.placement.removeAllocations(migration.get('uuid'));
  } catch (err) {
    // Nova puts the server into error here and leaks the allocation. The move itself is over, so its user reads of no failure.
    if (isInterrupted(err)) throw err;
    log.warn({ err, migration: migration.get('uuid') }, 'allocation of the old flavor not removed; the audit removes that of a confirmed move');
  }
  if (deps.options.trackInstanceChanges) await deps.conductor.scheduler.updateInstances(context, deps.options.host, [instance]);
  clearStash(instance);
  await deps.conductor.instances.save(context, instance);
}

async function markFailed({ args: { migration }, context, deps, log }: Operation<MoveArguments>, instance: NovaObjectOf<'Instance'>): Promise<void> {
  await failMove(deps, context, { instance, migration });
  try {
    await saveState(deps, context, instance, { vmState: vmStates.error, taskState: null });
  } catch (err) {
    if (!isInstanceGone(err)) log.error({ err }, 'failed confirmation not recorded');
  }
}
