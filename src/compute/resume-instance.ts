import type { NovaFault } from '../lib/errors.js';
import { parseInstanceUuid, type InstanceUuid } from '../lib/ids.js';
import { novaFaults, refuse } from '../lib/nova-faults.js';
import { runSteps } from '../journal/index.js';
import type { NetworkInfo } from '../network/index.js';
import { taskStates, vmStates } from '../objects/index.js';
import type { ComputeDeps } from './deps.js';
import { letDisksGo, plugVifs, restoreGuest } from './machine-steps.js';
import type { InstanceMethod, Operation } from './operation.js';
import { powerAttributes } from './power-steps.js';
import { onlyInstance, type OnlyInstance } from './questions.js';
import { saveWithPower } from './save-state.js';
import { oldVmStateKey, saveAvailability } from './suspend-instance.js';

/**
 * Resume: the guest goes on where it was saved. Nova has set task_state=resuming. If it cannot be restored the server stays suspended, with the reason and with
 * its save: the user may try again, or reboot it hard, which starts it anew and gives the save up.
 */
export const resumeInstance: InstanceMethod<OnlyInstance> = {
  kind: 'instance',
  rpc: 'resume_instance',
  availability: saveAvailability,
  args: onlyInstance,
  wrappers: { revertsTask: true, event: 'compute_resume_instance', recordsFault: true },
  gate: 'resume',
  isJournalled: true,
  resumeTasks: [taskStates.resuming],
  run: resume,
};

async function resume({ id, args: { instance }, context, deps, signal }: Operation<OnlyInstance>): Promise<null> {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  await deps.conductor.instances.load(context, instance, powerAttributes);
  const why = await whyNoResume(deps, uuid);
  if (why !== null) throw refuse(why);
  const vifs = await deps.ports.refresh(context, instance);
  await refuseWithoutPort(deps, uuid, vifs);
  try {
    await runSteps(deps.journal, id, [plugVifs(deps, uuid, () => vifs, () => undefined), restoreGuest(deps, uuid), letDisksGo(deps, uuid)], signal);
  } catch (error) {
    // What the guest is now goes with the task that is put back.
    instance.set('power_state', await deps.driver.powerState(uuid));
    throw error;
  }
  const { [oldVmStateKey]: before = vmStates.active, ...systemMetadata } = instance.get('system_metadata');
  instance.set('system_metadata', systemMetadata);
  await saveWithPower(deps, context, instance, { vmState: before, taskState: null }, taskStates.resuming);
  return null;
}

/** A guest that runs is past all that: the operation was cut short. */
const isRunning = async ({ driver }: ComputeDeps, uuid: InstanceUuid): Promise<boolean> => (await driver.state(uuid)).kind === 'running';

async function whyNoResume(deps: ComputeDeps, uuid: InstanceUuid): Promise<NovaFault | null> {
  if ((await isRunning(deps, uuid)) || (await deps.driver.hasSave(uuid))) return null;
  const { status, reason } = deps.driver.capabilities.saveRestore;
  return status === 'ready'
    ? novaFaults.instanceResumeFailure('this host has no save of it; a hard reboot starts it anew')
    : novaFaults.notImplemented(`Resuming is not supported by this host: ${reason}`);
}

/** bhyve would make an interface of its own for a port that is gone, or end. */
async function refuseWithoutPort(deps: ComputeDeps, uuid: InstanceUuid, vifs: NetworkInfo): Promise<void> {
  if (await isRunning(deps, uuid)) return;
  const gone = (await deps.driver.definition(uuid))?.nics.find(({ port }) => !vifs.some((vif) => vif.id === port));
  if (gone !== undefined) throw refuse(novaFaults.instanceResumeFailure(`its port ${gone.port} is gone, and the saved guest has it; a hard reboot starts it anew`));
}
