/**
 * A node of the checkpoint tree into Glance, while its guest goes on: first its parts, each into a hidden image of its own, then the root disk into the image that was
 * asked for. Every disk is read from the node, so all are of its moment, however long Glance takes.
 *
 *   eph0 ─▶ swap ─▶ variables, save ─▶ describe the image ─▶ root disk: active, and whole
 *
 * What fails or is killed leaves no part: they are found by the image that they belong to. What cannot be deleted then is left to the duty (left-checkpoint-parts.ts).
 */
import { createHash } from 'node:crypto';
import { AgentError, codeOf } from '../../lib/errors.js';
import { parseInstanceUuid, type ImageId } from '../../lib/ids.js';
import { novaFaults } from '../../lib/nova-faults.js';
import type { Logger } from '../../observe/index.js';
import type { RequestContext } from '../../rpc/context.js';
import type { CheckpointNode, DiskContent, DiskRole } from '../../storage/index.js';
import type { KeptFile } from '../../virt/index.js';
import { checkpointProperties, checkpointRefused } from '../checkpoint-image.js';
import type { ComputeDeps } from '../deps.js';
import { isImageGone } from '../error-text.js';
import { partAttributes, partsOf, storedProperties, type StoredPart } from '../stored-checkpoint.js';
import { attributesOf, dropDiskCopy, type ImageWork } from './make-image.js';
import { uploadDisk } from './upload-disk.js';

/** Fills the queued image. AgentError `image-too-much` when a quota is in the way; no part is left then. */
export async function storeCheckpoint(work: ImageWork, node: CheckpointNode, stopMs: number | null): Promise<void> {
  const { deps, context, instance, image, log } = work;
  const uuid = parseInstanceUuid(instance.get('uuid'));
  await work.onStage('pending-upload');
  await work.onStage('uploading');
  const files = await deps.driver.keptFiles(uuid, node.id);
  try {
    await refuseWithoutRoom(work, node, files);
    const parts = await storeParts(work, node, files);
    const seal = node.memory === null ? null : await deps.driver.seal(uuid, node.id, node.memory);
    await withDisk(work, node, 'root', async (content) => {
      await deps.glance.update(context, image, {
        ...attributesOf(instance, content.diskFormat), ...checkpointProperties(deps.options.host, uuid, node, stopMs), ...storedProperties({ node, parts, seal }, instance.get('image_ref')),
      });
      await uploadDisk(work, content);
    });
  } catch (error) {
    await dropParts(deps, context, image, log);
    throw await ofTheImage(work, error);
  }
}

/** Where Glance tells what there is room for; else an upload is refused. How large a disk becomes as qcow2 is not known before. */
async function refuseWithoutRoom({ deps, context }: ImageWork, node: CheckpointNode, files: readonly KeptFile[]): Promise<void> {
  const room = await deps.glance.room(context);
  const bytes = (deps.options.snapshots.format === 'raw' ? node.bytes : 0n) + files.reduce((sum, file) => sum + file.bytes, 0n);
  const isTooMuch = (room.bytes !== null && bytes > room.bytes) || (room.images !== null && node.roles.length - 1 + files.length > room.images);
  if (isTooMuch) throw new AgentError('image-too-much', 'the quota of the project in Glance does not take it');
}

async function storeParts(work: ImageWork, node: CheckpointNode, files: readonly KeptFile[]): Promise<readonly StoredPart[]> {
  const parts: StoredPart[] = [];
  for (const role of node.roles.filter((one) => one !== 'root')) await withDisk(work, node, role, async (content) => void parts.push(await storePart(work, role, content)));
  for (const file of files) parts.push(await storePart(work, file.name, { diskFormat: 'raw', bytes: file.bytes, open: () => file.open() }));
  return parts;
}

/** One disk as the node has it. */
async function withDisk(work: ImageWork, node: CheckpointNode, role: DiskRole, use: (content: DiskContent) => Promise<void>): Promise<void> {
  const { id, deps, instance, signal } = work;
  const uuid = parseInstanceUuid(instance.get('uuid'));
  const { format, isCompressed } = deps.options.snapshots;
  try {
    await deps.storage.takeCheckpointCopy(uuid, node.id, role, id);
    await use(await deps.storage.openSnapshot(uuid, id, { format, isCompressed, signal }));
  } finally {
    await dropDiskCopy(work);
  }
}

async function storePart(work: ImageWork, name: string, content: DiskContent): Promise<StoredPart> {
  const { deps, context, instance, image } = work;
  const part = await deps.glance.createHidden(context, partAttributes(deps.options.host, instance.get('uuid'), image, { name, diskFormat: content.diskFormat }));
  let sha256 = '';
  await uploadDisk(work, { ...content, open: () => summed(content, (sum) => { sha256 = sum; }) }, part);
  return { name, image: part, sha256, bytes: content.bytes };
}

/** The same octets; `onEnd` gets their SHA-256 with the last of them. */
async function* summed(content: DiskContent, onEnd: (sha256: string) => void): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256');
  let bytes = 0n;
  for await (const chunk of content.open()) {
    hash.update(chunk);
    bytes += BigInt(chunk.length);
    // Whoever has got all that was announced may not ask for more.
    if (bytes === content.bytes) onEnd(hash.copy().digest('hex'));
    yield chunk;
  }
  onEnd(hash.digest('hex'));
}

/** A part that somebody took away is no deleted image, and a quota is told with the image that the user knows. */
async function ofTheImage({ deps, context, image }: ImageWork, error: unknown): Promise<unknown> {
  if (codeOf(error) === 'image-too-much') return new AgentError('image-too-much', 'the checkpoint does not fit into Glance', { cause: error, wire: novaFaults.imageQuotaExceeded(image) });
  if (!isImageGone(error)) return error;
  try {
    await deps.glance.show(context, image);
  } catch {
    return error;
  }
  return checkpointRefused(image, 'an image that holds a part of it was deleted while it was made');
}

/** Deletes the images that hold parts of the checkpoint. Failures are logged: the cause matters more, and the duty comes by. */
export async function dropParts(deps: Pick<ComputeDeps, 'glance'>, context: RequestContext, image: ImageId, log: Logger): Promise<void> {
  try {
    for (const part of await deps.glance.list(context, { os_hidden: 'true', ...partsOf(image) })) await deps.glance.remove(context, part);
  } catch (err) {
    log.warn({ err, image }, 'parts of a checkpoint not deleted; the periodic duty will do it');
  }
}
