import { runSteps } from '../../journal/index.js';
import { taskStates, toNovaTime, vmStates } from '../../objects/index.js';
import { elevated } from '../../rpc/context.js';
import type { InstanceMethod, Operation } from '../operation.js';
import { saveState, saveWithPower } from '../save-state.js';
import { moveArguments, moveAttributes, oldVmState, sameHostOnly, stashedFlavor, type MoveArguments } from './arguments.js';
import { isDue, settleRevertFailure } from './failure.js';
import { putBackSteps } from './put-back.js';
import { clearStash, setFlavor } from './row.js';

/** The source's part of a revert: the old flavor, the disks as they were when the resize began, and the guest unless it was stopped then. */
export const finishRevertResize: InstanceMethod<MoveArguments> = {
  kind: 'instance',
  rpc: 'finish_revert_resize',
  availability: sameHostOnly,
  args: moveArguments,
  wrappers: { revertsTask: true, event: 'compute_finish_revert_resize', recordsFault: true },
  gate: 'resize',
  isJournalled: true,
  resumeTasks: [taskStates.resizeReverting],
  run: finish,
};

async function finish(operation: Operation<MoveArguments>): Promise<null> {
  const { args: { instance, migration }, context, deps } = operation;
  if (!(await isDue(deps, context, { instance, migration }, ['reverted']))) return null;
  await deps.conductor.instances.load(context, instance, moveAttributes);
  try {
    await goBack(operation);
  } catch (error) {
    await settleRevertFailure(deps, context, { instance, migration }, error);
    throw error;
  }
  clearStash(instance);
  await deps.conductor.instances.save(context, instance);
  return null;
}

async function goBack({ id, args: { instance, migration }, context, deps, signal }: Operation<MoveArguments>): Promise<void> {
  const reverting = taskStates.resizeReverting;
  const wasStopped = oldVmState(instance) === vmStates.stopped;
  setFlavor(instance, stashedFlavor(instance, 'old_flavor'));
  await saveState(deps, context, instance, { taskState: reverting }, [reverting]);
  await deps.placement.moveAllocations(migration.get('uuid'), instance.get('uuid'));
  const vifs = await deps.ports.rebind(elevated(context), instance, deps.options.host);
  await runSteps(deps.journal, id, putBackSteps(deps, instance, migration, vifs), signal);
  await deps.conductor.instances.dropMigrationContext(context, instance);
  instance.set('launched_at', toNovaTime(deps.clock.now()));
  await saveState(deps, context, instance, { taskState: reverting }, reverting);
  // Nova starts a server that was stopped and stops it again; here it was never started.
  await saveWithPower(deps, context, instance, { vmState: wasStopped ? vmStates.stopped : vmStates.active, taskState: null }, reverting);
}
