import { runSteps } from '../journal/index.js';
import { taskStates, vmStates } from '../objects/index.js';
import type { InstanceMethod, Operation } from './operation.js';
import { bringUp, powerAttributes } from './power-steps.js';
import { onlyInstance, type OnlyInstance } from './questions.js';
import { saveWithPower } from './save-state.js';

/** Brings a soft-deleted server back: started, whatever it was before. Nova has set task_state=restoring. */
export const restoreInstance: InstanceMethod<OnlyInstance> = {
  kind: 'instance',
  rpc: 'restore_instance',
  args: onlyInstance,
  wrappers: { revertsTask: true, event: 'compute_restore_instance', recordsFault: true },
  gate: 'restore',
  isJournalled: true,
  resumeTasks: [taskStates.restoring],
  run: restore,
};

async function restore({ id, args: { instance }, context, deps, signal }: Operation<OnlyInstance>): Promise<null> {
  await deps.conductor.instances.load(context, instance, powerAttributes);
  const vifs = await deps.ports.refresh(context, instance);
  await runSteps(deps.journal, id, bringUp(deps, instance, vifs), signal);
  await saveWithPower(deps, context, instance, { vmState: vmStates.active, taskState: null }, taskStates.restoring);
  return null;
}
