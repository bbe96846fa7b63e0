/**
 * A node of the checkpoint tree instead of a copy of the disk: a snapshot of all disks at one moment, which takes no time and little space, and an image that stands
 * for it. Without its image a node is wanted by nobody, so it goes when the image cannot be filled.
 */
import { parseInstanceUuid } from '../../lib/ids.js';
import { runSteps } from '../../journal/index.js';
import { powerStates } from '../../virt/index.js';
import { checkpointIdOf, checkpointProperties, checkpointRefused, renderCheckpoint } from '../checkpoint-image.js';
import { attributesOf, refuseUnquiesced, type ImageWork } from './make-image.js';
import { uploadDisk } from './upload-disk.js';

/** Fills the queued image. AgentError `checkpoint-refused` when the server has as many nodes as it may have. */
export async function makeCheckpoint(work: ImageWork): Promise<void> {
  const { id, deps, instance, image, log, signal } = work;
  const { storage } = deps;
  const uuid = parseInstanceUuid(instance.get('uuid'));
  const checkpoint = checkpointIdOf(image);
  await refuseUnquiesced(work);
  await refuseTooMany(work);
  const power = await deps.driver.powerState(uuid);
  const guest = power === powerStates.running || power === powerStates.paused ? 'running' : 'off';
  try {
    await runSteps(deps.journal, id, [{
      name: 'keep-checkpoint', look: async () => 'not-done', // idempotent
      act: () => storage.createCheckpoint(uuid, checkpoint, guest), undo: () => storage.deleteCheckpoint(uuid, checkpoint),
    }], signal);
    await describeNode(work);
  } catch (error) {
    await dropNode(work);
    throw error;
  }
  log.info({ image, checkpoint, guest }, 'checkpoint made');
}

async function refuseTooMany({ deps, instance, image }: ImageWork): Promise<void> {
  const { maxCheckpoints } = deps.options;
  const { length } = await deps.storage.checkpoints(parseInstanceUuid(instance.get('uuid')));
  if (length >= maxCheckpoints) throw checkpointRefused(image, `the server has ${length} checkpoints, and this host keeps ${maxCheckpoints} of a server; delete the image of one first`);
}

async function describeNode(work: ImageWork): Promise<void> {
  const { deps, context, instance, image } = work;
  const uuid = instance.get('uuid');
  const node = (await deps.storage.checkpoints(parseInstanceUuid(uuid))).find((one) => one.id === checkpointIdOf(image));
  if (node === undefined) throw checkpointRefused(image, 'the checkpoint was taken away while its image was made');
  const text = Buffer.from(renderCheckpoint(deps.options.host, uuid, node));
  await work.onStage('pending-upload');
  await work.onStage('uploading');
  await deps.glance.update(context, image, { ...attributesOf(instance, 'raw'), ...checkpointProperties(deps.options.host, uuid, node) });
  await uploadDisk(work, { diskFormat: 'raw', bytes: BigInt(text.length), open: async function* () { yield text; } });
}

async function dropNode({ deps, instance, image, log }: ImageWork): Promise<void> {
  try {
    await deps.storage.deleteCheckpoint(parseInstanceUuid(instance.get('uuid')), checkpointIdOf(image));
  } catch (err) {
    log.warn({ err, image }, 'checkpoint without an image not removed; the periodic duty will do it');
  }
}
