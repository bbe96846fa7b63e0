import { taskStates, vmStates } from '../objects/index.js';
import { z } from 'zod';
import { isUuid, parseImageId } from '../lib/ids.js';
import { runSteps } from '../journal/index.js';
import { bringUp, powerAttributes } from './power-steps.js';
import { instanceArgument, type InstanceMethod, type Operation } from './operation.js';
import { saveWithPower } from './save-state.js';
import { removeShelvedImage, shelvedImageOf, withoutShelvedKeys } from './shelve/shelved-keys.js';

const args = z.looseObject({ instance: instanceArgument });
type Args = z.infer<typeof args>;

/** Start a stopped guest, or a shelved one that is still here, from its disks and Nova's database. Nova has set task_state=powering-on. */
export const startInstance: InstanceMethod<Args> = {
  kind: 'instance',
  rpc: 'start_instance',
  args,
  wrappers: { revertsTask: true, event: 'compute_start_instance', recordsFault: true },
  gate: 'start',
  isJournalled: true,
  resumeTasks: [taskStates.poweringOn],
  run: start,
};

async function start({ id, args: { instance }, context, deps, log, signal }: Operation<Args>): Promise<null> {
  await deps.conductor.instances.load(context, instance, powerAttributes);
  const vifs = await deps.ports.refresh(context, instance);
  await runSteps(deps.journal, id, bringUp(deps, instance, vifs), signal);
  const shelvedImage = shelvedImageOf(instance.get('system_metadata'));
  if (isUuid(shelvedImage)) await removeShelvedImage(deps, context, parseImageId(shelvedImage), log); // its disks are here
  if (shelvedImage !== null) instance.set('system_metadata', withoutShelvedKeys(instance.get('system_metadata')));
  await saveWithPower(deps, context, instance, { vmState: vmStates.active, taskState: null }, taskStates.poweringOn);
  return null;
}
