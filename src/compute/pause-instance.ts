import { parseInstanceUuid } from '../lib/ids.js';
import { runSteps } from '../journal/index.js';
import { taskStates, vmStates } from '../objects/index.js';
import { isTaskStateConflict } from './error-text.js';
import { freezeGuest } from './machine-steps.js';
import type { InstanceMethod, Operation } from './operation.js';
import { onlyInstance, type OnlyInstance } from './questions.js';
import { saveWithPower } from './save-state.js';

/** Pause: the guest stays in memory and does nothing. Nova has set task_state=pausing. */
export const pauseInstance: InstanceMethod<OnlyInstance> = {
  kind: 'instance',
  rpc: 'pause_instance',
  availability: { status: 'works', reason: 'by stopping the process of bhyve; no VNC meanwhile' },
  args: onlyInstance,
  wrappers: { revertsTask: true, event: 'compute_pause_instance', recordsFault: true },
  gate: 'pause',
  isJournalled: true,
  resumeTasks: [taskStates.pausing],
  run: pause,
};

async function pause({ id, args: { instance }, context, deps, signal }: Operation<OnlyInstance>): Promise<null> {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  await runSteps(deps.journal, id, [freezeGuest(deps, uuid)], signal);
  try {
    await saveWithPower(deps, context, instance, { vmState: vmStates.paused, taskState: null }, taskStates.pausing);
  } catch (error) {
    // Somebody else has the row now, and it does not say paused: nobody would ever let the guest go on.
    if (isTaskStateConflict(error)) await deps.driver.unpause(uuid);
    throw error;
  }
  return null;
}
