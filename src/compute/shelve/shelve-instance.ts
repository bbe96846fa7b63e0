import { z } from 'zod';
import { parseInstanceUuid } from '../../lib/ids.js';
import { runSteps } from '../../journal/index.js';
import { taskStates, vmStates } from '../../objects/index.js';
import { powerStates } from '../../virt/index.js';
import { isDeletedMeanwhile } from '../error-text.js';
import { stopOptions } from '../grace.js';
import { endGuest, unplugVifs } from '../machine-steps.js';
import type { InstanceMethod, Operation } from '../operation.js';
import { syncPowerState } from '../power-state.js';
import { powerAttributes } from '../power-steps.js';
import { saveState } from '../save-state.js';
import { refuseWithCheckpoints } from '../stored-checkpoint.js';
import { dropDiskCopy, dropUnfilledImage, makeImage } from '../snapshot/make-image.js';
import { imageArguments } from '../snapshot/take-image.js';
import { offload } from './offload.js';
import { withShelvedKeys } from './shelved-keys.js';

const args = z.looseObject({ ...imageArguments, clean_shutdown: z.boolean().default(true) });
type Args = z.infer<typeof args>;

const beforeImage: readonly string[] = [taskStates.shelving, taskStates.shelvingImagePendingUpload, taskStates.shelvingImageUploading];

/**
 * Shelve: end the guest, keep its root disk as an image, and take it off this host, at once or later (shelved_offload_time). Nova has set task_state=shelving.
 * After a restart it goes on where the row says that it was.
 */
export const shelveInstance: InstanceMethod<Args> = {
  kind: 'instance',
  rpc: 'shelve_instance',
  args,
  wrappers: { revertsTask: true, event: 'compute_shelve_instance', recordsFault: true },
  gate: 'shelve',
  isJournalled: true,
  run: shelve,
};

async function shelve(operation: Operation<Args>): Promise<null> {
  const { args: { instance }, context, deps, log } = operation;
  await refuseToLose(operation);
  try {
    await deps.conductor.instances.load(context, instance, powerAttributes);
    if (isBeforeImage(operation)) await keepAsImage(operation);
    if (isToBeOffloaded(operation)) await offload(operation, { graceMs: 0, retryMs: 0 });
  } catch (error) {
    if (!isDeletedMeanwhile(error)) throw error;
    log.info({ err: error }, 'server is being deleted; shelved no further');
  }
  return null;
}

/** Before anything is touched: a server that will be taken off this host leaves its checkpoints behind, but for those that Glance has. */
async function refuseToLose({ args: { instance, image_id: image }, context, deps, log, signal, isResumed }: Operation<Args>): Promise<void> {
  if (isResumed || deps.options.shelvedOffloadSeconds < 0) return;
  try {
    await refuseWithCheckpoints(deps, { instance: instance.get('uuid'), context, signal }, 'Shelving the server');
  } catch (error) {
    await dropUnfilledImage(deps, context, image, log);
    throw error;
  }
}

/** A message that came just now is always before the image; of an interrupted one the row tells. */
function isBeforeImage({ args: { instance }, isResumed }: Operation<Args>): boolean {
  const task = instance.get('task_state');
  return !isResumed || (task !== null && beforeImage.includes(task));
}

/** Also one that was offloaded but for the last save, which takes the host out of the row. */
function isToBeOffloaded({ args: { instance }, deps }: Operation<Args>): boolean {
  const isOurs = instance.get('host') === deps.options.host;
  return isOurs && (instance.get('task_state') === taskStates.shelvingOffloading || instance.get('vm_state') === vmStates.shelvedOffloaded);
}

async function keepAsImage(operation: Operation<Args>): Promise<void> {
  const { id, args: { instance, image_id: image, clean_shutdown: isClean }, context, deps, log, signal } = operation;
  const uuid = parseInstanceUuid(instance.get('uuid'));
  // A paused guest does not hear its power button.
  const stop = stopOptions(deps.options, instance, isClean && instance.get('power_state') !== powerStates.paused);
  await runSteps(deps.journal, id, [endGuest(deps, uuid, stop), unplugVifs(deps, uuid)], signal);
  try {
    const isThere = operation.isResumed && (await deps.glance.show(context, image)).status === 'active';
    if (isThere) await dropDiskCopy({ id, deps, instance, log });
    else await makeImage({ id, deps, context, instance, image, log, signal, onStage: (stage) => saveStage(operation, stage) });
    instance.set('system_metadata', withShelvedKeys(instance.get('system_metadata'), { at: deps.clock.now(), image, host: deps.options.host }));
    const next = deps.options.shelvedOffloadSeconds === 0 ? taskStates.shelvingOffloading : null;
    await saveState(deps, context, instance, { vmState: vmStates.shelved, taskState: next, powerState: powerStates.shutdown },
      operation.isResumed ? beforeImage : [taskStates.shelving, taskStates.shelvingImageUploading]);
  } catch (error) {
    await dropUnfilledImage(deps, context, image, log);
    // The guest is down and its instance is not shelved: once the task is cleared, the row must say "stopped".
    syncPowerState(deps, uuid, { isUrgent: true }).catch((err: unknown) => log.warn({ err }, 'power state not synchronised; the periodic duty will'));
    throw error;
  }
}

function saveStage({ args: { instance }, context, deps, isResumed }: Operation<Args>, stage: 'pending-upload' | 'uploading'): Promise<void> {
  return stage === 'pending-upload'
    ? saveState(deps, context, instance, { taskState: taskStates.shelvingImagePendingUpload }, isResumed ? beforeImage : taskStates.shelving)
    : saveState(deps, context, instance, { taskState: taskStates.shelvingImageUploading }, taskStates.shelvingImagePendingUpload);
}
