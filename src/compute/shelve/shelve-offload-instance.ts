import { z } from 'zod';
import type { InstanceUuid } from '../../lib/ids.js';
import { novaFaults, refuse } from '../../lib/nova-faults.js';
import { taskStates, vmStates } from '../../objects/index.js';
import type { ComputeDeps } from '../deps.js';
import { isDeletedMeanwhile } from '../error-text.js';
import { stopOptions } from '../grace.js';
import { instanceArgument, performOwn, type InstanceMethod, type Operation } from '../operation.js';
import { powerAttributes } from '../power-steps.js';
import { saveState } from '../save-state.js';
import { refuseWithCheckpoints } from '../stored-checkpoint.js';
import { offload } from './offload.js';

const args = z.looseObject({ instance: instanceArgument, clean_shutdown: z.boolean().default(true) });
type Args = z.infer<typeof args>;

/** Takes a shelved server off this host, for an admin or when shelved_offload_time has passed. task_state=shelving_offloading is set before. */
export const shelveOffloadInstance: InstanceMethod<Args> = {
  kind: 'instance',
  rpc: 'shelve_offload_instance',
  args,
  wrappers: { revertsTask: true, event: 'compute_shelve_offload_instance', recordsFault: true },
  gate: 'shelve',
  isJournalled: true,
  run: shelveOffload,
};

async function shelveOffload(operation: Operation<Args>): Promise<null> {
  const { args: { instance, clean_shutdown: isClean }, context, deps, isResumed, log, signal } = operation;
  const isUnfinished = instance.get('host') === deps.options.host
    && (instance.get('task_state') === taskStates.shelvingOffloading || instance.get('vm_state') === vmStates.shelvedOffloaded);
  if (isResumed && !isUnfinished) return null; // somebody else went on with it
  if (!hasImage(instance)) throw refuse(novaFaults.notImplemented('Offloading a server that has no image is not supported by this host: its disk would be lost'));
  if (!isResumed) await refuseWithCheckpoints(deps, { instance: instance.get('uuid'), context, signal }, 'Offloading the server');
  try {
    await deps.conductor.instances.load(context, instance, powerAttributes);
    await offload(operation, stopOptions(deps.options, instance, isClean));
  } catch (error) {
    if (!isDeletedMeanwhile(error)) throw error;
    log.info({ err: error }, 'server is being deleted; offloaded no further');
  }
  return null;
}

/** Nova sends volume-backed servers here without shelving them first. Whatever the reason: a disk that no image holds is not given up. */
const hasImage = (instance: Args['instance']): boolean => instance.get('vm_state') === vmStates.shelved || instance.get('vm_state') === vmStates.shelvedOffloaded;

/** What nova's compute API does when shelved_offload_time has passed: the task, then the method. Nothing if the server is busy or no longer shelved here. */
export async function offloadShelved(deps: ComputeDeps, uuid: InstanceUuid): Promise<void> {
  await deps.gate.runIfIdle(uuid, 'shelve', async (signal) => {
    const context = deps.ownContext();
    const instance = await deps.conductor.instances.byUuid(context, uuid, powerAttributes);
    const isReady = instance.get('vm_state') === vmStates.shelved && instance.get('task_state') === null && instance.get('host') === deps.options.host;
    if (!isReady) return;
    await saveState(deps, context, instance, { taskState: taskStates.shelvingOffloading }, [null]);
    await performOwn(deps, shelveOffloadInstance, context, { instance, clean_shutdown: false }, signal);
  });
}
