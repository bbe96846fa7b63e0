import { taskStates, vmStates } from '../objects/index.js';
import { z } from 'zod';
import { runSteps } from '../journal/index.js';
import { bringUp, powerAttributes } from './power-steps.js';
import { instanceArgument, type InstanceMethod, type Operation } from './operation.js';
import { saveWithPower } from './save-state.js';

const args = z.looseObject({ instance: instanceArgument });
type Args = z.infer<typeof args>;

/** Start a stopped guest from its disks and Nova's database. Nova has set task_state=powering-on. */
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

async function start({ id, args: { instance }, context, deps, signal }: Operation<Args>): Promise<null> {
  await deps.conductor.instances.load(context, instance, powerAttributes);
  const vifs = await deps.ports.refresh(context, instance);
  await runSteps(deps.journal, id, bringUp(deps, instance, vifs), signal);
  await saveWithPower(deps, context, instance, { vmState: vmStates.active, taskState: null }, taskStates.poweringOn);
  return null;
}
