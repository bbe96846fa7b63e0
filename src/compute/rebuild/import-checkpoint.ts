/**
 * A checkpoint of this server that this host does not have (any more), out of Glance: the server was shelved off a host since, or its disks were lost. All of it is
 * fetched and compared with its sums while the guest still runs: disks into the image cache, whose clones take the places of the present ones; variables and memory to
 * where those of a node are. Fetching is idempotent, so a restart does it again from the images. No node of the tree is made: the tree is what grew on these disks.
 */
import { createHash } from 'node:crypto';
import { AgentError } from '../../lib/errors.js';
import { parseInstanceUuid, type ImageId } from '../../lib/ids.js';
import type { NovaObjectOf } from '../../objects/index.js';
import type { GlanceImage } from '../../openstack/index.js';
import { isDiskRole, type CheckpointNode, type DiskRole } from '../../storage/index.js';
import type { KeptFile } from '../../virt/index.js';
import { checkpointRefused, wantsMemory, withoutMemory } from '../checkpoint-image.js';
import { isImageGone } from '../error-text.js';
import { cacheImage, refuseUnfit, rootBytesOf } from '../fetch-image.js';
import { localDisks } from '../local-disks.js';
import type { Operation } from '../operation.js';
import { partOf, readStored, type StoredCheckpoint, type StoredPart } from '../stored-checkpoint.js';
import type { RebuildArguments } from './arguments.js';

/** The node, and the images in the cache that its disks are made of. */
export interface Imported { readonly node: CheckpointNode; readonly images: ReadonlyMap<DiskRole, ImageId> }

interface Wish {
  /** The server stays off: no memory is fetched. */
  readonly isOff: boolean;
  readonly blockDevices: readonly NovaObjectOf<'BlockDeviceMapping'>[];
}

/** AgentError `checkpoint-refused` for a part that is gone or not what it was, or for memory that this host did not save; nothing was touched then. */
export async function importCheckpoint(operation: Operation<RebuildArguments>, image: GlanceImage, { isOff, blockDevices }: Wish): Promise<Imported> {
  const { args: { instance }, context, deps, signal, log } = operation;
  const stored = readStored(image);
  const flavor = instance.get('flavor');
  refuseUnfit(flavor, image);
  const hasMemory = !isOff && wantsMemory(image) && stored.node.memory !== null;
  if (hasMemory) await refuseForeignMemory(operation, image, stored);
  const images = new Map<DiskRole, ImageId>([['root', image.id]]);
  await cacheImage(deps, context, image, { maxBytes: rootBytesOf(flavor), signal });
  // Disks that the server does not have by now stay in Glance, as they would in a tree.
  for (const { role } of localDisks(blockDevices, flavor, deps.options.defaultEphemeralFormat)) {
    const part = stored.parts.find(({ name }) => name === role);
    if (part === undefined) continue;
    await cacheImage(deps, context, await shownPart(operation, image, part), { maxBytes: null, signal });
    images.set(role, part.image);
  }
  await importFiles(operation, image, stored, hasMemory);
  log.info({ image: image.id, checkpoint: stored.node.id, roles: [...images.keys()], hasMemory }, 'checkpoint fetched from glance');
  return { node: stored.node, images };
}

async function refuseForeignMemory({ args: { instance }, deps }: Operation<RebuildArguments>, image: GlanceImage, { node, seal }: StoredCheckpoint): Promise<void> {
  if (node.memory !== null && seal === (await deps.driver.seal(parseInstanceUuid(instance.get('uuid')), node.id, node.memory))) return;
  throw checkpointRefused(image.id, `its memory was not saved by this host, or the properties that say so were changed; ${withoutMemory}`);
}

/** As Glance has it, to be checked against the sum that the checkpoint's image names. */
async function shownPart({ context, deps }: Operation<RebuildArguments>, image: GlanceImage, part: StoredPart): Promise<GlanceImage> {
  try {
    const shown = await deps.glance.show(context, part.image);
    if (shown.status === 'active' && partOf(shown) === image.id) return { ...shown, sizeBytes: part.bytes, hashAlgorithm: 'sha256', hashValue: part.sha256 };
  } catch (error) {
    if (!isImageGone(error)) throw error;
  }
  throw checkpointRefused(image.id, `the image ${part.image} that holds its ${part.name} is not there any more`);
}

/** The driver takes what it wants of them: without memory the variables alone. */
async function importFiles(operation: Operation<RebuildArguments>, image: GlanceImage, { node, parts }: StoredCheckpoint, hasMemory: boolean): Promise<void> {
  const { args: { instance }, deps, signal } = operation;
  const files = parts.filter(({ name }) => !isDiskRole(name)).map((part): KeptFile => ({ name: part.name, bytes: part.bytes, open: () => checked(operation, image, part) }));
  try {
    await deps.driver.importKept(parseInstanceUuid(instance.get('uuid')), node.id, files, { memory: hasMemory ? node.memory : null, signal });
  } catch (error) {
    if (error instanceof AgentError && error.code === 'save-damaged') throw checkpointRefused(image.id, error.message);
    throw error;
  }
}

async function* checked(operation: Operation<RebuildArguments>, image: GlanceImage, part: StoredPart): AsyncGenerator<Uint8Array> {
  const { context, deps, signal } = operation;
  const { id } = await shownPart(operation, image, part);
  const hash = createHash('sha256');
  for await (const chunk of await deps.glance.download(context, id, signal)) {
    hash.update(chunk);
    yield chunk;
  }
  if (hash.digest('hex') !== part.sha256) throw checkpointRefused(image.id, `${part.name} of it is not what was put into Glance`);
}
