import { z } from 'zod';
import { AgentError } from '../lib/errors.js';
import { isUuid, parseImageId, type ImageId } from '../lib/ids.js';
import { cacheImage } from './fetch-image.js';
import type { HostMethod, Operation } from './operation.js';

const args = z.looseObject({ image_ids: z.array(z.string()).max(10_000) });
type Args = z.infer<typeof args>;

type Result = 'cached' | 'existing' | 'error';

/** So much of the pool stays free for the guests that are here. */
const SPARE_FRACTION = 10n;

/**
 * Pre-cache: the images that an aggregate will need are fetched before anybody boots from them. One after the other; how many hosts do so at a time is the
 * conductor's affair ([image_cache]precache_concurrency). A failure is that image's answer, not the call's.
 */
export const cacheImages: HostMethod<Args> = { kind: 'host', rpc: 'cache_images', args, run: cacheAll };

async function cacheAll(operation: Operation<Args>): Promise<Record<string, Result>> {
  const answers: Record<string, Result> = {};
  for (const id of operation.args.image_ids) {
    try {
      answers[id] = await cacheOne(operation, isUuid(id) ? parseImageId(id) : unknownImage(id));
    } catch (err) {
      operation.log.warn({ err, image: id }, 'image not cached in advance');
      answers[id] = 'error';
    }
  }
  return answers;
}

function unknownImage(id: string): never {
  throw new AgentError('bad-id', 'image id is not a canonical UUID', { details: { id } });
}

async function cacheOne({ context, deps, log, signal }: Operation<Args>, id: ImageId): Promise<Result> {
  if ((await deps.storage.images()).some((image) => image.id === id && image.isComplete)) return 'existing';
  const image = await deps.glance.show(context, id);
  const { totalBytes, availableBytes } = await deps.storage.usage();
  const neededBytes = image.sizeBytes ?? 0n;
  if (availableBytes - neededBytes < totalBytes / SPARE_FRACTION) {
    throw new AgentError('zfs-out-of-space', 'the pool has too little space for an image that nobody boots from yet', {
      retry: 'later', details: { availableBytes: availableBytes.toString(), neededBytes: neededBytes.toString() } });
  }
  await cacheImage(deps, context, image, { maxBytes: null, signal });
  log.info({ image: id }, 'image cached in advance');
  return 'cached';
}
