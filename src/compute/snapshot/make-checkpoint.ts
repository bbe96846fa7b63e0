/**
 * A node of the checkpoint tree instead of a copy of the disk: a snapshot of all disks at one moment, which takes no time and little space, with the guest's memory
 * if that is wanted, and an image that stands for it, or has all of it (store-checkpoint.ts). Without its image a node is wanted by nobody, so it goes when the image cannot be filled.
 */
import { AgentError } from '../../lib/errors.js';
import { parseInstanceUuid } from '../../lib/ids.js';
import { runSteps } from '../../journal/index.js';
import type { CheckpointNode } from '../../storage/index.js';
import { checkpointIdOf, checkpointProperties, checkpointRefused, renderCheckpoint, type CheckpointWish } from '../checkpoint-image.js';
import { dropCheckpoint } from '../drop-checkpoint.js';
import { showIfLeftSaved } from './bring-back.js';
import { keepCheckpoint, type KeptNode, type NodeWork } from './keep-checkpoint.js';
import { attributesOf, refuseUnquiesced, type ImageWork } from './make-image.js';
import { storeCheckpoint } from './store-checkpoint.js';
import { uploadDisk } from './upload-disk.js';

/**
 * Fills the queued image. AgentError `checkpoint-refused` when the server has as many nodes as it may have, or for a guest whose memory cannot be saved. A guest that
 * does not go on afterwards is off with its save, and the row, which the caller saves, says suspended.
 */
export async function makeCheckpoint(work: ImageWork, { kind, store }: CheckpointWish): Promise<void> {
  const { instance, image, log } = work;
  await refuseUnquiesced(work);
  await refuseTooMany(work);
  await refuseOtherDisks(work, { kind, store });
  let kept: KeptNode;
  try {
    kept = await keepCheckpoint(nodeOf(work), kind);
    await (store === 'glance' ? storeCheckpoint(work, await nodeMade(work), kept.stopMs) : describeNode(work, await nodeMade(work), kept));
  } catch (error) {
    await dropNode(work);
    // What the guest is now goes with the task that is put back.
    if (kind === 'full') instance.set('power_state', await work.deps.driver.powerState(parseInstanceUuid(instance.get('uuid'))));
    if (await showIfLeftSaved(work.deps, instance)) log.error({ err: error, image }, 'guest did not go on after its checkpoint; its save is kept');
    throw sayWhy(image, error);
  }
  log.info({ image, checkpoint: checkpointIdOf(image), kind, store, stopMs: kept.stopMs }, 'checkpoint made');
}

const nodeOf = ({ id, deps, instance, image, signal, chainKind = null }: ImageWork): NodeWork => ({
  deps, instance, chainKind, checkpoint: checkpointIdOf(image), keeping: { keeper: 'nova', name: null },
  run: (steps) => runSteps(deps.journal, id, steps, signal),
  refused: (reason) => checkpointRefused(image, `${reason}; bhyve_checkpoint=disk makes one of the disks alone`),
});

/** What the disks of the server cannot do. Nothing was touched. */
async function refuseOtherDisks({ deps, instance, image, chainKind = null }: ImageWork, { kind, store }: CheckpointWish): Promise<void> {
  const form = await deps.storage.formOf(parseInstanceUuid(instance.get('uuid')));
  if (form === 'raw' && chainKind !== null) throw checkpointRefused(image, `bhyve_checkpoint_kind=${chainKind} is for servers on qcow2 disks, and this one has ZFS volumes; leave it out`);
  if (form === 'qcow2' && kind === 'full') throw checkpointRefused(image, 'a server on qcow2 disks has checkpoints of its disks only; bhyve_checkpoint=disk makes one');
  if (form === 'qcow2' && store === 'glance') throw checkpointRefused(image, 'a server on qcow2 disks has checkpoints on its host only; leave out bhyve_checkpoint_store=glance');
}

/** What stands in the way of a checkpoint of qcow2 disks is for its user to read. */
function sayWhy(image: ImageWork['image'], error: unknown): unknown {
  const isRefusal = error instanceof AgentError && (error.code === 'disk-chain-refused' || error.code === 'guest-checkpoint-refused');
  return isRefusal ? checkpointRefused(image, error.message) : error;
}

async function refuseTooMany({ deps, instance, image }: ImageWork): Promise<void> {
  const { maxCheckpoints } = deps.options;
  const { length } = await deps.storage.checkpoints(parseInstanceUuid(instance.get('uuid')));
  if (length >= maxCheckpoints) throw checkpointRefused(image, `the server has ${length} checkpoints, and this host keeps ${maxCheckpoints} of a server; delete the image of one first`);
}

async function nodeMade({ deps, instance, image }: ImageWork): Promise<CheckpointNode> {
  const node = (await deps.storage.checkpoints(parseInstanceUuid(instance.get('uuid')))).find((one) => one.id === checkpointIdOf(image));
  if (node === undefined) throw checkpointRefused(image, 'the checkpoint was taken away while its image was made');
  return node;
}

async function describeNode(work: ImageWork, node: CheckpointNode, { stopMs }: KeptNode): Promise<void> {
  const { deps, context, instance, image } = work;
  const uuid = instance.get('uuid');
  const text = Buffer.from(renderCheckpoint(deps.options.host, uuid, node));
  await work.onStage('pending-upload');
  await work.onStage('uploading');
  await deps.glance.update(context, image, { ...attributesOf(instance, 'raw'), ...checkpointProperties(deps.options.host, uuid, node, stopMs) });
  await uploadDisk(work, { diskFormat: 'raw', bytes: BigInt(text.length), open: async function* () { yield text; } });
}

async function dropNode({ deps, instance, image, log }: ImageWork): Promise<void> {
  try {
    await dropCheckpoint(deps, parseInstanceUuid(instance.get('uuid')), checkpointIdOf(image));
  } catch (err) {
    log.warn({ err, image }, 'checkpoint without an image not removed; the periodic duty will do it');
  }
}
