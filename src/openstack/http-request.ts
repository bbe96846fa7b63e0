/** What goes into an HTTP exchange and what comes out, and the translation between our words and axios'. */
import { isAxiosError, type AxiosResponse } from 'axios';
import { reasonOf } from '../lib/abort.js';
import { AgentError, codeOf } from '../lib/errors.js';

export type HttpMethod = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
export type Query = Readonly<Record<string, string | readonly string[]>>;

export interface HttpRequest {
  /** Service type, for errors and logs. */
  readonly service: string;
  readonly method: HttpMethod;
  /** Scheme, host, port and path prefix, without a slash at the end. */
  readonly base: string;
  readonly path: string;
  readonly query?: Query | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly body?: unknown;
  readonly signal?: AbortSignal | undefined;
}

export interface UploadBody {
  readonly octets: AsyncIterable<Uint8Array>;
  /** Their number: the other side notices when the end is missing. */
  readonly bytes: bigint;
  /** So long without an octet that is given or taken, and the upload is broken. */
  readonly stallMs: number;
  /** After the last octet, until the answer. */
  readonly answerMs: number;
}

export interface HttpAnswer<Body = unknown> {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Body;
}

const userAgent = 'nova-bhyve-agent';

/** In axios' words, but for the body. */
export const plainRequest = (request: HttpRequest, accept: string) => ({
  method: request.method, url: `${request.base}${request.path}${queryText(request.query)}`, headers: { 'User-Agent': userAgent, Accept: accept, ...request.headers },
});

/** axios errors hold the whole request, token included: nothing of them may leave this file. */
export function transportError(request: HttpRequest, error: unknown): Error {
  const where = { service: request.service, method: request.method, path: request.path };
  if (request.signal?.aborted === true) return reasonOf(request.signal);
  if (codeOf(error) === 'timeout') return new AgentError('http-timeout', `${request.service} did not answer in time`, { retry: 'later', details: where });
  const errno = isAxiosError(error) ? (error.code ?? 'unknown') : 'unknown';
  // axios has one code for both: only its text (1.x, `maxContentLength size of … exceeded`) tells too much from broken off.
  if (isAxiosError(error) && error.message.startsWith('maxContentLength')) {
    return new AgentError('http-answer-too-large', `${request.service} answered with more than the limit`, { details: where });
  }
  return new AgentError('http-unreachable', `${request.service} cannot be reached`, { retry: 'later', details: { ...where, errno } });
}

function queryText(query: Query | undefined): string {
  if (query === undefined) return '';
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    for (const one of typeof value === 'string' ? [value] : value) parameters.append(key, one);
  }
  const text = parameters.toString();
  return text === '' ? '' : `?${text}`;
}

export function plainHeaders(response: AxiosResponse): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(response.headers)) {
    if (value !== undefined && value !== null) headers[name.toLowerCase()] = String(value);
  }
  return headers;
}

/** The service's own request id, if it is one. */
export function serviceRequestId(answer: HttpAnswer): string | undefined {
  const id = answer.headers['x-openstack-request-id'] ?? answer.headers['x-compute-request-id'];
  return id !== undefined && /^req-[0-9a-fA-F-]{36}$/.test(id) ? id : undefined;
}
