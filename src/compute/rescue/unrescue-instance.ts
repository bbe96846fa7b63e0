import { z } from 'zod';
import { parseInstanceUuid } from '../../lib/ids.js';
import { runSteps } from '../../journal/index.js';
import { taskStates, vmStates } from '../../objects/index.js';
import { isDeletedMeanwhile, isInterrupted, isTaskStateConflict } from '../error-text.js';
import { stopOptions } from '../grace.js';
import { endGuest, reapQuietly } from '../machine-steps.js';
import { instanceArgument, type InstanceMethod, type Operation } from '../operation.js';
import { bringUp, powerAttributes } from '../power-steps.js';
import { saveWithPower } from '../save-state.js';
import { endRescue } from './rescue-steps.js';

const args = z.looseObject({ instance: instanceArgument });
type Args = z.infer<typeof args>;

/**
 * The end of a rescue: the server boots from its own disk again. The rescue system is asked to shut down first, where Nova's drivers just end it:
 * what its user repaired must have reached the disk.
 */
export const unrescueInstance: InstanceMethod<Args> = {
  kind: 'instance',
  rpc: 'unrescue_instance',
  args,
  wrappers: { revertsTask: true, event: 'compute_unrescue_instance', recordsFault: true },
  gate: 'rescue',
  isJournalled: true,
  resumeTasks: [taskStates.unrescuing],
  run: unrescue,
};

async function unrescue({ id, args: { instance }, context, deps, signal }: Operation<Args>): Promise<null> {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  await deps.conductor.instances.load(context, instance, powerAttributes);
  const vifs = await deps.ports.refresh(context, instance);
  try {
    const isEnded = !(await deps.storage.disks(uuid)).some(({ role }) => role === 'rescue'); // killed in the middle: this guest is the server's own
    await runSteps(deps.journal, id, [
      ...(isEnded ? [] : [endGuest(deps, uuid, stopOptions(deps.options, instance, true))]),
      endRescue(deps, uuid),
      ...bringUp(deps, instance, vifs),
    ], signal);
  } catch (error) {
    const isOurs = !isInterrupted(error) && !isTaskStateConflict(error) && !isDeletedMeanwhile(error);
    if (isOurs) instance.set('vm_state', vmStates.error); // saved with the task revert
    throw error;
  }
  await saveWithPower(deps, context, instance, { vmState: vmStates.active, taskState: null }, taskStates.unrescuing);
  await reapQuietly(deps);
  return null;
}
