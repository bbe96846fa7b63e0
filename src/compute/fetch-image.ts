/** An image that a server is to get (build, unshelve, rebuild, rescue) or that is fetched in advance: looked at, refused or in the cache, before anything of a server is touched. */
import { AgentError } from '../lib/errors.js';
import { parseImageId } from '../lib/ids.js';
import { novaFaults } from '../lib/nova-faults.js';
import type { NovaObjectOf } from '../objects/index.js';
import type { GlanceImage } from '../openstack/index.js';
import type { NodeStorage } from '../storage/index.js';
import type { RequestContext } from '../rpc/context.js';
import { checkpointRefused, isCheckpointImage } from './checkpoint-image.js';
import type { ComputeDeps } from './deps.js';
import { isStored, partOf } from './stored-checkpoint.js';

const GiB = 1024n ** 3n;

/** Bytes of the flavor's root disk; null: as large as the image. */
export const rootBytesOf = (flavor: NovaObjectOf<'Flavor'>): bigint | null => (flavor.get('root_gb') > 0 ? BigInt(flavor.get('root_gb')) * GiB : null);

/** What Glance knows of the image. AgentError `image-missing` (wire ImageNotFound). */
export async function showImage(deps: Pick<ComputeDeps, 'glance'>, context: RequestContext, reference: string): Promise<GlanceImage> {
  const id = parseImageId(reference);
  try {
    return await deps.glance.show(context, id);
  } catch (error) {
    if (error instanceof AgentError && error.code === 'http-not-found') throw new AgentError('image-missing', 'the image is gone', { wire: novaFaults.imageNotFound(id), cause: error });
    throw error;
  }
}

/** Refuses an image that is not a plain disk or that the flavor cannot hold, before a byte of it is fetched. */
export function refuseUnfit(flavor: NovaObjectOf<'Flavor'>, image: GlanceImage): void {
  if (image.status !== 'active') throw new AgentError('image-not-active', 'the image is not active', { wire: novaFaults.imageNotActive(image.id) });
  const whole = partOf(image);
  if (whole !== null) throw checkpointRefused(image.id, `it holds a part of the checkpoint ${whole}, and no system`);
  if (isCheckpointImage(image) && !isStored(image)) throw checkpointRefused(image.id, 'it stands for a checkpoint and holds no disk; rebuild the server that it was made of with it');
  if (flavor.get('memory_mb') < image.minRamMiB) throw new AgentError('flavor-too-small', "the flavor's memory is too small", { wire: novaFaults.flavorMemoryTooSmall() });
  if (image.containerFormat !== null && image.containerFormat !== 'bare') {
    const reason = `its container format is ${image.containerFormat}; this host takes bare disks only`;
    throw new AgentError('image-unacceptable', `the image was refused: ${reason}`, { wire: novaFaults.imageUnacceptable(image.id, reason) });
  }
  const rootBytes = rootBytesOf(flavor);
  const minBytes = BigInt(image.minDiskGiB) * GiB;
  if (rootBytes === null || rootBytes >= minBytes) return;
  throw new AgentError('flavor-too-small', "the flavor's disk is below the image's min_disk", { wire: novaFaults.flavorDiskSmallerThanMinDisk(rootBytes, minBytes) });
}

/** Downloads and inspects it unless it is in the cache, in the form that the disks of the server have that it is `for`. */
export async function cacheImage(deps: Pick<ComputeDeps, 'glance' | 'storage'>, context: RequestContext, image: GlanceImage, options: Parameters<NodeStorage['ensureImage']>[2]): Promise<void> {
  await deps.storage.ensureImage(image, (signal) => deps.glance.download(context, parseImageId(image.id), signal), options);
}
