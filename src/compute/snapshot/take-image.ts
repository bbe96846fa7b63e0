/** What snapshot and backup have in common (nova-contract 6.5): power state, image, task cleared; and what becomes of it when something vanishes. */
import { z } from 'zod';
import { isUuid, parseImageId } from '../../lib/ids.js';
import { inSlot } from '../../lib/slots.js';
import { taskStates, type NovaObjectOf } from '../../objects/index.js';
import { elevated } from '../../rpc/context.js';
import { chainKindAsked, checkpointAsked } from '../checkpoint-image.js';
import { isDeletedMeanwhile, isImageGone } from '../error-text.js';
import { instanceArgument, type Operation } from '../operation.js';
import { saveState, saveWithPower } from '../save-state.js';
import { makeCheckpoint } from './make-checkpoint.js';
import { dropUnfilledImage, makeImage, type ImageWork } from './make-image.js';

export const imageIdArgument = z.custom<string>(isUuid, 'not a canonical UUID').transform((id) => parseImageId(id));
export const imageArguments = { instance: instanceArgument, image_id: imageIdArgument };

export type TakeImage = Operation<{ instance: NovaObjectOf<'Instance'>; image_id: z.infer<typeof imageIdArgument> }>;

/**
 * Fills the image: with the root disk, or for a checkpoint with what stands for one. A server or an image that vanishes meanwhile ends it quietly, as with Nova; any other failure deletes the image and is thrown.
 * `from`: the task in which Nova has left the instance.
 */
export async function takeImage(operation: TakeImage, from: string): Promise<void> {
  const { args: { instance, image_id: image }, deps, log, signal } = operation;
  const context = elevated(operation.context);
  try {
    await deps.conductor.instances.load(context, instance, ['system_metadata', 'info_cache']);
    await inSlot(deps.snapshotSlots, signal, async () => {
      await saveWithPower(deps, context, instance, {});
      const asked = await deps.glance.show(context, image);
      const wish = checkpointAsked(asked);
      const fill = wish === null ? makeImage : (work: ImageWork) => makeCheckpoint(work, wish);
      await fill({
        chainKind: chainKindAsked(asked), id: operation.id, deps, context, instance, image, log, signal,
        onStage: (stage) => (stage === 'pending-upload'
          ? saveState(deps, context, instance, { taskState: taskStates.imagePendingUpload }, from)
          : saveState(deps, context, instance, { taskState: taskStates.imageUploading }, taskStates.imagePendingUpload)),
      });
      await saveState(deps, context, instance, { taskState: null }, taskStates.imageUploading);
    });
  } catch (error) {
    if (isImageGone(error)) {
      log.warn({ err: error }, 'image was deleted during the snapshot');
      await saveState(deps, context, instance, { taskState: null });
      return;
    }
    await dropUnfilledImage(deps, context, image, log);
    if (!isDeletedMeanwhile(error)) throw error;
    log.info({ err: error }, 'server was deleted during the snapshot');
  }
}
