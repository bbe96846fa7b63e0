/**
 * One HTTP exchange. What is promised:
 *  - every exchange has a time limit and a size limit, follows no redirect and uses no proxy of the environment;
 *  - what may be repeated is repeated, a bounded number of times: anything when the connection never came to be; GET, HEAD, PUT and
 *    DELETE also when it was reset. OpenStack's servers close kept-alive connections without saying so (wire.md 13), so a reset of
 *    a kept connection is ordinary. POST always takes a fresh connection: a reset there is news, and is not repeated;
 *  - an answer of any status is returned, `failFrom` makes the error of it; errors carry neither body nor headers.
 *
 * axios: named by the user of this project; one client for JSON and streams.
 */
import { readFileSync } from 'node:fs';
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { Readable } from 'node:stream';
import axios, { type AxiosInstance, type AxiosResponse } from 'axios';
import { AgentError, codeOf } from '../lib/errors.js';
import { fullJitter } from '../lib/backoff.js';
import { withTimeout, type Clock } from '../lib/clock.js';
import type { Logger } from '../observe/index.js';
import { plainHeaders, plainRequest, serviceRequestId, transportError, type HttpAnswer, type HttpMethod, type HttpRequest, type UploadBody } from './http-request.js';
import { upload } from './http-upload.js';

export { serviceRequestId, type HttpAnswer, type HttpMethod, type HttpRequest, type Query } from './http-request.js';

/** keystoneauth's option names: cafile, insecure, certfile, keyfile. */
export interface TlsOptions {
  readonly cafile?: string | undefined;
  readonly insecure?: boolean | undefined;
  readonly certfile?: string | undefined;
  readonly keyfile?: string | undefined;
}

export interface HttpOptions {
  readonly tls?: TlsOptions | undefined;
  /** For one exchange without retries; default 60 000. */
  readonly timeoutMs?: number | undefined;
  /** Repetitions after the first attempt; default 3. */
  readonly retries?: number | undefined;
  /** Octets of an answer that is not a stream; default 32 MiB. */
  readonly maxBytes?: number | undefined;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface Http {
  /** JSON in and out. AgentError `http-unreachable`, `http-timeout` or `http-answer-too-large`; any status is an answer. */
  exchange(request: HttpRequest): Promise<HttpAnswer>;
  /** One attempt; the body as it comes. The time limit covers the headers only. */
  stream(request: HttpRequest): Promise<HttpAnswer<Readable>>;
  /** One attempt on a fresh connection; octets go at the pace of the other side. Errors of `body` come as they are. */
  upload(request: HttpRequest, body: UploadBody): Promise<HttpAnswer>;
  /** Closes idle connections. */
  close(): void;
}

/** Nothing was sent: repeating is always safe. */
const neverConnected = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'ENETDOWN']);
/** Something may have been done. */
const broken = new Set(['ECONNRESET', 'EPIPE', 'ECONNABORTED', 'ETIMEDOUT', 'ERR_STREAM_PREMATURE_CLOSE', 'ERR_BAD_RESPONSE']);
const repeatable = new Set<HttpMethod>(['GET', 'HEAD', 'PUT', 'DELETE']);

/** Reads the TLS files at once, so that a wrong path is seen at start (AgentError `tls-file-unreadable`). */
export function createHttp(options: HttpOptions): Http {
  const timeoutMs = options.timeoutMs ?? 60_000;
  const agents = makeAgents(options.tls ?? {});
  const client = axios.create({
    adapter: 'http', proxy: false, maxRedirects: 0, validateStatus: () => true, transitional: { silentJSONParsing: true },
    maxContentLength: options.maxBytes ?? 32 * 1024 * 1024, maxBodyLength: Infinity,
  });
  const context: Attempting = { client, agents, options, timeoutMs };
  return {
    exchange: (request) => repeated(context, request),
    stream: async (request) => {
      const response = await attempt(context, request, 'stream');
      return { status: response.status, headers: plainHeaders(response), body: response.data as Readable };
    },
    upload: (request, body) => upload({ client, agents: { httpAgent: agents.freshHttp, httpsAgent: agents.freshHttps }, clock: options.clock }, request, body),
    close: () => {
      for (const agent of [agents.keptHttp, agents.keptHttps, agents.freshHttp, agents.freshHttps]) agent.destroy();
    },
  };
}

interface Agents { readonly keptHttp: HttpAgent; readonly keptHttps: HttpsAgent; readonly freshHttp: HttpAgent; readonly freshHttps: HttpsAgent }
interface Attempting { readonly client: AxiosInstance; readonly agents: Agents; readonly options: HttpOptions; readonly timeoutMs: number }

function makeAgents(tls: TlsOptions): Agents {
  const secure = {
    rejectUnauthorized: tls.insecure !== true,
    ...(tls.cafile === undefined ? {} : { ca: tlsFile('cafile', tls.cafile) }),
    ...(tls.certfile === undefined ? {} : { cert: tlsFile('certfile', tls.certfile) }),
    // A certfile may hold the key too, as with keystoneauth.
    ...(tls.certfile === undefined ? {} : { key: tlsFile('keyfile', tls.keyfile ?? tls.certfile) }),
  };
  const kept = { keepAlive: true, maxSockets: 16, maxFreeSockets: 4 };
  return {
    keptHttp: new HttpAgent(kept), keptHttps: new HttpsAgent({ ...kept, ...secure }),
    freshHttp: new HttpAgent({ keepAlive: false }), freshHttps: new HttpsAgent({ keepAlive: false, ...secure }),
  };
}

function tlsFile(option: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new AgentError('tls-file-unreadable', `cannot read ${option} ${path}`, { cause, details: { option, path } });
  }
}

async function repeated(context: Attempting, request: HttpRequest): Promise<HttpAnswer> {
  const { clock, log, retries = 3 } = context.options;
  const backoff = fullJitter({ baseMs: 200, maxMs: 3_000 });
  for (let left = retries; ; left -= 1) {
    const startedMs = clock.monotonicMs();
    try {
      const response = await attempt(context, request, 'json');
      const answer = { status: response.status, headers: plainHeaders(response), body: response.data as unknown };
      log.debug({ service: request.service, method: request.method, path: request.path, status: answer.status,
        ms: Math.round(clock.monotonicMs() - startedMs), serviceRequest: serviceRequestId(answer) }, 'http answered');
      return answer;
    } catch (error) {
      if (left <= 0 || !mayRepeat(request.method, error)) throw error;
      log.debug({ service: request.service, method: request.method, path: request.path, code: codeOf(error) }, 'http repeated');
      await clock.sleep(backoff.next(), request.signal);
    }
  }
}

function mayRepeat(method: HttpMethod, error: unknown): boolean {
  if (!(error instanceof AgentError) || error.code !== 'http-unreachable') return false;
  const errno = String(error.details['errno']);
  return neverConnected.has(errno) || (broken.has(errno) && repeatable.has(method));
}

async function attempt(context: Attempting, request: HttpRequest, kind: 'json' | 'stream'): Promise<AxiosResponse> {
  const { client, agents, options, timeoutMs } = context;
  const isFresh = !repeatable.has(request.method);
  try {
    return await withTimeout(options.clock, timeoutMs, `${request.method} of ${request.service}`, (signal) => client.request({
      ...plainRequest(request, kind === 'json' ? 'application/json' : '*/*'),
      ...(request.body === undefined ? {} : { data: request.body }),
      httpAgent: isFresh ? agents.freshHttp : agents.keptHttp,
      httpsAgent: isFresh ? agents.freshHttps : agents.keptHttps,
      ...(kind === 'json' ? {} : { responseType: 'stream' as const, decompress: false, maxContentLength: -1 }),
      signal,
    }), request.signal);
  } catch (error) {
    throw transportError(request, error);
  }
}
