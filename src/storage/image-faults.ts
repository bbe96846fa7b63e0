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
