import { parseInstanceUuid } from '../../lib/ids.js';
import { runSteps } from '../../journal/index.js';
import { taskStates } from '../../objects/index.js';
import { elevated } from '../../rpc/context.js';
import { endGuest } from '../machine-steps.js';
import type { InstanceMethod, Operation } from '../operation.js';
import { saveState } from '../save-state.js';
import { moveArguments, moveAttributes, sameHostOnly, stashedFlavor, type MoveArguments } from './arguments.js';
import { isDue, settleRevertFailure } from './failure.js';

/**
 * The destination's part of a revert: end the new guest, free the new flavor's place, hand back. No step has an undo: from here on the server
 * goes back to what it was.
 */
export const revertResize: InstanceMethod<MoveArguments> = {
  kind: 'instance',
  rpc: 'revert_resize',
  availability: sameHostOnly,
  args: moveArguments,
  wrappers: { revertsTask: true, event: 'compute_revert_resize', recordsFault: true },
  gate: 'resize',
  isJournalled: true,
  resumeTasks: [taskStates.resizeReverting],
  run: revert,
};

async function revert(operation: Operation<MoveArguments>): Promise<null> {
  const { args: { instance, migration }, context, deps, isResumed } = operation;
  if (!(await isDue(deps, context, { instance, migration }, isResumed ? ['finished', 'reverting', 'reverted'] : ['finished', 'reverting']))) return null;
  await deps.conductor.instances.load(context, instance, moveAttributes);
  try {
    await handBack(operation);
  } catch (error) {
    await settleRevertFailure(deps, context, { instance, migration }, error);
    throw error;
  }
  return null;
}

async function handBack({ id, args: { instance, migration }, context, deps, signal, wireArgs }: Operation<MoveArguments>): Promise<void> {
  await deps.ports.refresh(context, instance);
  await runSteps(deps.journal, id, [endGuest(deps, parseInstanceUuid(instance.get('uuid')), { graceMs: 0, retryMs: 0 })], signal);
  await deps.tracker.endMove(elevated(context), instance, { migration, status: 'reverted', flavor: stashedFlavor(instance, 'old_flavor') }, async () => {
    instance.set('task_state', taskStates.resizeReverting);
    await saveState(deps, context, instance, {}, [taskStates.resizeReverting]);
  });
  await deps.conductor.continueOn(context, deps.options.host, 'finish_revert_resize', { instance, migration, request_spec: wireArgs['request_spec'] ?? null });
}
