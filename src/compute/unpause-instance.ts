import { parseInstanceUuid } from '../lib/ids.js';
import { runSteps } from '../journal/index.js';
import { taskStates, vmStates } from '../objects/index.js';
import { thawGuest } from './machine-steps.js';
import type { InstanceMethod, Operation } from './operation.js';
import { onlyInstance, type OnlyInstance } from './questions.js';
import { saveWithPower } from './save-state.js';

/** Let a paused guest go on. Nova has set task_state=unpausing. */
export const unpauseInstance: InstanceMethod<OnlyInstance> = {
  kind: 'instance',
  rpc: 'unpause_instance',
  args: onlyInstance,
  wrappers: { revertsTask: true, event: 'compute_unpause_instance', recordsFault: true },
  gate: 'unpause',
  isJournalled: true,
  resumeTasks: [taskStates.unpausing],
  run: unpause,
};

async function unpause({ id, args: { instance }, context, deps, signal }: Operation<OnlyInstance>): Promise<null> {
  await runSteps(deps.journal, id, [thawGuest(deps, parseInstanceUuid(instance.get('uuid')))], signal);
  await saveWithPower(deps, context, instance, { vmState: vmStates.active, taskState: null }, taskStates.unpausing);
  return null;
}
