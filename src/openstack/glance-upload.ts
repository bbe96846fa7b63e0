/**
 * The octets of an image into Glance. The image's own status says what became of an attempt whose answer was lost: `active` means that all is there, `queued`
 * that it may begin anew, `saving` that Glance has not yet noticed the end of the last one.
 *
 *   queued ──PUT──▶ saving ──all octets──▶ active
 *      ▲               │ broken off             (deleted: 404, or 410 after the last octet)
 *      └───────────────┘
 */
import { AgentError, codeOf } from '../lib/errors.js';
import { abortable } from '../lib/abort.js';
import type { ImageId } from '../lib/ids.js';
import type { RequestContext } from '../rpc/context.js';
import { isSuccess } from './failure.js';
import { anyServer, imageError, service, type GlanceOptions } from './glance-request.js';
import type { GlanceClient, ImageContent } from './types.js';

/** Stores that copy what they got before they answer take long. */
const ANSWER_MS = 900_000;
const SETTLE_ATTEMPTS = 30;
const SETTLE_MS = 1_000;

/** See `GlanceClient.upload`. */
export async function uploadImage(options: GlanceOptions, show: GlanceClient['show'], context: RequestContext, id: ImageId, content: ImageContent, signal: AbortSignal): Promise<void> {
  const attempts = (options.numRetries ?? 3) + 1;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await uploadOnce(options, context, id, content, signal);
    } catch (error) {
      if (signal.aborted || !brokenOff.has(codeOf(error) ?? '')) throw error;
      // A server that refuses may close the connection while we still send: what it had to say is lost, the image's status is not.
      if ((await settledStatus(options, show, context, id, signal)) === 'active') return;
      if (attempt >= attempts) throw error;
      options.log.warn({ code: codeOf(error), attempt, image: id }, 'upload of an image broke off; beginning again');
    }
  }
}

const brokenOff = new Set(['http-unreachable', 'http-timeout', 'http-server-error']);

async function uploadOnce(options: GlanceOptions, context: RequestContext, id: ImageId, content: ImageContent, signal: AbortSignal): Promise<void> {
  const path = `/v2/images/${id}/file`;
  // One server at a time: a second attempt must first see what became of this one.
  await anyServer({ ...options, numRetries: 0 }, context, path, signal, async (request) => {
    const headers = { ...request.headers, 'Content-Type': 'application/octet-stream' };
    const answer = await options.session.http.upload({ ...request, method: 'PUT', headers }, {
      octets: content.open(), bytes: content.bytes, stallMs: options.stallMs ?? 60_000, answerMs: ANSWER_MS });
    if (!isSuccess(answer)) throw imageError(id, path, answer, 'PUT');
  });
}

/** The image's status once it is not `saving` any more; AgentError with wire ImageNotFound when it is gone. */
async function settledStatus(options: GlanceOptions, show: GlanceClient['show'], context: RequestContext, id: ImageId, signal: AbortSignal): Promise<string> {
  for (let attempt = 1; attempt <= SETTLE_ATTEMPTS; attempt += 1) {
    const { status } = await abortable(show(context, id), signal);
    if (status === 'queued' || status === 'active') return status;
    await options.clock.sleep(SETTLE_MS, signal);
  }
  throw new AgentError('image-not-uploaded', 'Glance holds the image of a broken upload in a state in which it takes no other', { retry: 'later', details: { service, image: id } });
}
