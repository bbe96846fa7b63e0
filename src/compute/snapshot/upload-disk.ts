/** The way of a disk's octets to Glance: at the rate that the operator allows, told of now and then, ended when nobody wants the image any more. */
import { AgentError } from '../../lib/errors.js';
import { parseInstanceUuid, type ImageId } from '../../lib/ids.js';
import { paced } from '../../lib/paced.js';
import type { DiskContent } from '../../storage/index.js';
import { isImageGone, isInstanceGone } from '../error-text.js';
import type { ImageWork } from './make-image.js';

/** Between two looks whether image and server are still there. */
const LOOK_MS = 15_000;
const PROGRESS_MS = 30_000;

/**
 * Rejects with the error of the look that found image or server gone, else with what went wrong. The octets become those of `target`, if that is another image than
 * the one that is wanted.
 */
export async function uploadDisk(work: ImageWork, content: DiskContent, target: ImageId = work.image): Promise<void> {
  const { deps, context, log } = work;
  const { clock, metrics } = deps;
  const startedMs = clock.monotonicMs();
  const ending = new AbortController();
  const onAbort = (): void => ending.abort(work.signal.reason);
  if (work.signal.aborted) onAbort();
  work.signal.addEventListener('abort', onAbort, { once: true });
  const looking = lookNowAndThen(work, ending);
  let outcome = 'failed';
  try {
    await deps.glance.upload(context, target, { bytes: content.bytes, open: () => told({ ...work, image: target }, content, ending.signal) }, ending.signal);
    outcome = 'succeeded';
    log.info({ image: target, bytes: Number(content.bytes), format: content.diskFormat, ms: Math.round(clock.monotonicMs() - startedMs) }, 'disk uploaded');
  } finally {
    work.signal.removeEventListener('abort', onAbort);
    ending.abort(new AgentError('aborted', 'the upload is over'));
    await looking;
    metrics.count('agent_image_uploads_total', { outcome });
  }
}

async function* told({ deps, image, log }: ImageWork, content: DiskContent, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const { clock, options } = deps;
  let bytes = 0n;
  let toldMs = clock.monotonicMs();
  for await (const chunk of paced(content.open(), options.snapshots.bytesPerSecond, clock, signal)) {
    bytes += BigInt(chunk.length);
    if (clock.monotonicMs() - toldMs >= PROGRESS_MS) {
      toldMs = clock.monotonicMs();
      log.info({ image, bytes: Number(bytes), percent: content.bytes === 0n ? 100 : Number((bytes * 100n) / content.bytes) }, 'disk is being uploaded');
    }
    yield chunk;
  }
}

/** Glance reads a deleted image to its end, and a server that the API deleted alone sends us no message: so we look. */
async function lookNowAndThen({ deps, context, image, instance, log }: ImageWork, ending: AbortController): Promise<void> {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  for (;;) {
    try {
      await deps.clock.sleep(LOOK_MS, ending.signal);
      await deps.glance.show(context, image);
      await deps.conductor.instances.byUuid(context, uuid);
    } catch (error) {
      if (ending.signal.aborted) return;
      if (isImageGone(error) || isInstanceGone(error)) return ending.abort(error);
      log.debug({ err: error }, 'could not see whether image and server are still there');
    }
  }
}
