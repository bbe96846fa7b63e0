import { z } from 'zod';
import { taskStates } from '../../objects/index.js';
import { isDeletedMeanwhile } from '../error-text.js';
import type { InstanceMethod } from '../operation.js';
import { saveState } from '../save-state.js';
import { dropUnfilledImage } from './make-image.js';
import { imageArguments, takeImage, type TakeImage } from './take-image.js';

const args = z.looseObject({ ...imageArguments });
type Args = z.infer<typeof args>;

/** Snapshot: the queued image that nova-api made is filled with the root disk of a guest that goes on. Nova has set task_state=image_snapshot_pending. */
export const snapshotInstance: InstanceMethod<Args> = {
  kind: 'instance',
  rpc: 'snapshot_instance',
  args,
  wrappers: { revertsTask: true, event: 'compute_snapshot_instance', recordsFault: true },
  gate: 'snapshot',
  isJournalled: true,
  run: snapshot,
};

async function snapshot(operation: TakeImage): Promise<null> {
  const { args: { instance, image_id: image }, context, deps, log } = operation;
  try {
    await saveState(deps, context, instance, { taskState: taskStates.imageSnapshot }, taskStates.imageSnapshotPending);
  } catch (error) {
    await dropUnfilledImage(deps, context, image, log);
    if (!isDeletedMeanwhile(error)) throw error;
    log.info({ err: error }, 'server is gone or being deleted; no snapshot');
    return null;
  }
  await takeImage(operation, taskStates.imageSnapshot);
  return null;
}
