import { taskStates, vmStates } from '../objects/index.js';
import { z } from 'zod';
import { parseInstanceUuid } from '../lib/ids.js';
import { runSteps } from '../journal/index.js';
import { powerStates } from '../virt/index.js';
import { isDeletedMeanwhile } from './error-text.js';
import { stopOptions } from './grace.js';
import { endGuest, unplugVifs } from './machine-steps.js';
import { instanceArgument, type InstanceMethod, type Operation } from './operation.js';
import { saveState } from './save-state.js';

const args = z.looseObject({ instance: instanceArgument, clean_shutdown: z.boolean().default(true) });
type Args = z.infer<typeof args>;

/** Stop a guest. Nova has set task_state=powering-off before it calls us. */
export const stopInstance: InstanceMethod<Args> = {
  kind: 'instance',
  rpc: 'stop_instance',
  args,
  wrappers: { revertsTask: true, event: 'compute_stop_instance', recordsFault: true },
  gate: 'stop',
  isJournalled: true,
  resumeTasks: [taskStates.poweringOff],
  run: stop,
};

async function stop({ id, args: { instance, clean_shutdown }, context, deps, signal }: Operation<Args>): Promise<null> {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  await deps.conductor.instances.load(context, instance, ['system_metadata']); // for the image's os_shutdown_timeout
  const wasDown = (await deps.driver.state(uuid)).kind !== 'running';
  try {
    await runSteps(deps.journal, id, [endGuest(deps, uuid, stopOptions(deps.options, instance, clean_shutdown)), unplugVifs(deps, uuid)], signal);
  } catch (error) {
    if (isDeletedMeanwhile(error)) return null;
    throw error;
  }
  // A guest that was off already may have been stopped by the power sync, which clears the task.
  const expected = wasDown ? [taskStates.poweringOff, null] : [taskStates.poweringOff];
  await saveState(deps, context, instance, { powerState: powerStates.shutdown, vmState: vmStates.stopped, taskState: null }, expected);
  return null;
}
