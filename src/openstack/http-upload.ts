/**
 * Sending octets whose number is known and whose content comes as it goes. Nothing is buffered but a chunk or two. There is no time limit for the whole,
 * because nobody knows how large a disk is: a peer that takes nothing for a while, or a source that gives nothing, ends it.
 */
import { Readable } from 'node:stream';
import type { AxiosInstance, AxiosRequestConfig } from 'axios';
import { reasonOf } from '../lib/abort.js';
import { AgentError } from '../lib/errors.js';
import type { Clock } from '../lib/clock.js';
import { plainHeaders, plainRequest, transportError, type HttpAnswer, type HttpRequest, type UploadBody } from './http-request.js';

export interface Uploading {
  readonly client: AxiosInstance;
  readonly agents: Pick<AxiosRequestConfig, 'httpAgent' | 'httpsAgent'>;
  readonly clock: Clock;
}

/** See `Http.upload`. */
export async function upload({ client, agents, clock }: Uploading, request: HttpRequest, body: UploadBody): Promise<HttpAnswer> {
  const watch = watchStalls(clock, request, body.stallMs);
  const { octets, failure } = watched(body, watch.within);
  const data = Readable.from(octets, { objectMode: false });
  data.on('error', () => undefined); // the request fails with it
  const plain = plainRequest(request, 'application/json');
  try {
    const response = await client.request({ ...plain, ...agents, headers: { ...plain.headers, 'Content-Length': body.bytes.toString() }, data, signal: watch.signal });
    return { status: response.status, headers: plainHeaders(response), body: response.data as unknown };
  } catch (error) {
    const source = failure();
    if (source !== undefined) throw source;
    if (watch.signal.aborted) throw reasonOf(watch.signal);
    throw transportError(request, error);
  } finally {
    watch.end();
    data.destroy(); // an answer may come before the last octet
  }
}

interface Watch {
  readonly signal: AbortSignal;
  /** Something must happen again within so long. */
  readonly within: (ms: number) => void;
  readonly end: () => void;
}

function watchStalls(clock: Clock, request: HttpRequest, ms: number): Watch {
  const controller = new AbortController();
  const { service, method, path } = request;
  const stall = (): void => controller.abort(new AgentError('http-timeout', `${service} took no more octets`, { retry: 'later', details: { service, method, path } }));
  const giveUp = (): void => controller.abort(request.signal?.reason);
  if (request.signal?.aborted === true) giveUp();
  request.signal?.addEventListener('abort', giveUp, { once: true });
  let timer = clock.after(ms, stall);
  return {
    signal: controller.signal,
    within: (next) => {
      timer.cancel();
      timer = clock.after(next, stall);
    },
    end: () => {
      timer.cancel();
      request.signal?.removeEventListener('abort', giveUp);
    },
  };
}

function watched(body: UploadBody, within: Watch['within']): { octets: AsyncGenerator<Uint8Array>; failure: () => Error | undefined } {
  let failure: Error | undefined;
  const octets = async function* (): AsyncGenerator<Uint8Array> {
    try {
      for await (const chunk of body.octets) {
        within(body.stallMs);
        yield chunk;
        within(body.stallMs);
      }
    } catch (error) {
      failure = error instanceof Error ? error : new AgentError('command-input-failed', 'what was to be uploaded cannot be read', { cause: error });
      throw error;
    }
    within(body.answerMs);
  };
  return { octets: octets(), failure: () => failure };
}
