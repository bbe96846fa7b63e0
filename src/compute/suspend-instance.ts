import { parseInstanceUuid } from '../lib/ids.js';
import { novaFaults, refuse } from '../lib/nova-faults.js';
import { runSteps } from '../journal/index.js';
import { taskStates, vmStates } from '../objects/index.js';
import { saveGuest } from './machine-steps.js';
import type { Availability, InstanceMethod, Operation } from './operation.js';
import { onlyInstance, type OnlyInstance } from './questions.js';
import { saveState, saveWithPower } from './save-state.js';

/** Of suspend and resume alike. */
export const saveAvailability: Availability = {
  status: 'needs-host-feature', reason: 'a FreeBSD built with BHYVE_SNAPSHOT on which nova-bhyve selftest save-restore has passed; refused for servers with devices that would be lost',
};

/** Key of Nova in system_metadata: what a resumed server becomes again. */
export const oldVmStateKey = 'old_vm_state';

/** Suspend: memory and state of the guest go to disk, and it ends. Nova has set task_state=suspending. Taps and allocation stay. */
export const suspendInstance: InstanceMethod<OnlyInstance> = {
  kind: 'instance',
  rpc: 'suspend_instance',
  availability: saveAvailability,
  args: onlyInstance,
  wrappers: { revertsTask: true, event: 'compute_suspend_instance', recordsFault: true },
  gate: 'suspend',
  isJournalled: true,
  resumeTasks: [taskStates.suspending],
  run: suspend,
};

async function suspend({ id, args: { instance }, context, deps, signal, log }: Operation<OnlyInstance>): Promise<null> {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  await deps.conductor.instances.load(context, instance, ['system_metadata']);
  if ((await deps.driver.state(uuid)).kind === 'running') {
    const isHeldByNobody = (await deps.storage.formOf(uuid)) === 'qcow2';
    const why = isHeldByNobody ? 'its disks are qcow2 files, which nothing holds still for its memory' : await deps.driver.whyNoSuspend(uuid);
    if (why !== null) {
      log.info({ outcome: 'refused', why }, 'request refused');
      const { status, reason } = deps.driver.capabilities.saveRestore;
      throw refuse(status === 'ready' ? novaFaults.instanceSuspendFailure(why) : novaFaults.notImplemented(`Suspending is not supported by this host: ${reason}`));
    }
  }
  // Saved first, and only while the task is still this one: a server whose task somebody has taken away must not be found off.
  instance.set('system_metadata', { ...instance.get('system_metadata'), [oldVmStateKey]: instance.get('vm_state') ?? vmStates.active });
  await saveState(deps, context, instance, {}, taskStates.suspending);
  try {
    await runSteps(deps.journal, id, [saveGuest(deps, uuid)], signal);
  } catch (error) {
    // What the guest is now goes with the task that is put back.
    instance.set('power_state', await deps.driver.powerState(uuid));
    throw error;
  }
  await saveWithPower(deps, context, instance, { vmState: vmStates.suspended, taskState: null }, taskStates.suspending);
  return null;
}
