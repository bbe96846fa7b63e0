/** What a user sees of an image that we refuse. */
import { AgentError, codeOf } from '../lib/errors.js';
import type { ImageId } from '../lib/ids.js';
import { novaFaults } from '../lib/nova-faults.js';

/** The error with Nova's ImageUnacceptable on it, if the image is at fault; otherwise the error as it is. */
export function withImageFault(image: ImageId, error: unknown): unknown {
  if (codeOf(error) !== 'image-unacceptable') return error;
  const reason = (error as AgentError).message;
  return new AgentError('image-unacceptable', 'the image was refused', {
    cause: error,
    details: { image, reason },
    wire: novaFaults.imageUnacceptable(image, reason),
  });
}

/** AgentError `image-too-large` for an image that the flavor's disk (null: any size) does not hold. */
export function assertFits(maxBytes: bigint | null, virtualBytes: bigint): void {
  if (maxBytes !== null && virtualBytes > maxBytes) throw imageTooLarge(maxBytes, virtualBytes);
}

export const imageTooLarge = (maxBytes: bigint, virtualBytes: bigint): AgentError =>
  new AgentError('image-too-large', "the image is larger than the flavor's disk", { wire: novaFaults.flavorDiskSmallerThanImage(maxBytes, virtualBytes) });

export const imageNotCached = (image: ImageId): AgentError =>
  new AgentError('image-not-cached', 'the image is not in the cache any more; fetch it again', { retry: 'later', details: { image } });
