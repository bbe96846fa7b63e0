/** What every request to Glance has in common: where Glance is, whose token goes along, when it is tried again, and what an error means. */
import { AgentError, codeOf } from '../lib/errors.js';
import type { ImageId } from '../lib/ids.js';
import { novaFaults } from '../lib/nova-faults.js';
import type { Clock } from '../lib/clock.js';
import type { Logger } from '../observe/index.js';
import type { RequestContext } from '../rpc/context.js';
import { failFrom } from './failure.js';
import type { HttpAnswer, HttpRequest } from './http.js';
import { requestIdHeader, serviceTokenHeader, userToken } from './service.js';
import type { EndpointOptions, Session } from './session.js';

export interface GlanceOptions {
  /** Gives HTTP with [glance]'s TLS options, and the catalogue when `apiServers` is empty. Its credentials are not used. */
  readonly session: Session;
  readonly serviceUser: Session | null;
  readonly endpoint: Omit<EndpointOptions, 'serviceType'> & { readonly serviceType?: string };
  /** [glance]api_servers: tried in turn, starting at a random one. */
  readonly apiServers?: readonly string[] | undefined;
  /** [glance]num_retries: further attempts before the first octet; default 3. */
  readonly numRetries?: number | undefined;
  /** A download that gives no octet for so long is broken; default 60 000. */
  readonly stallMs?: number | undefined;
  readonly clock: Clock;
  readonly log: Logger;
  readonly random?: () => number;
}

export const service = 'image';

/** Tries `work` on one server after another. Repeats what never reached a server or failed there, and an expired service token once. */
export async function anyServer<T>(options: GlanceOptions, context: RequestContext, path: string, signal: AbortSignal | undefined,
  work: (request: HttpRequest) => Promise<T>): Promise<T> {
  const bases = await basesOf(options, signal);
  const attempts = (options.numRetries ?? 3) + 1;
  let isServiceTokenNew = options.serviceUser === null;
  for (let attempt = 1; ; attempt += 1) {
    const serviceToken = await serviceTokenHeader(options.serviceUser, signal);
    const headers = { 'X-Auth-Token': userToken(context, service), ...serviceToken, ...requestIdHeader(context) };
    try {
      return await work({ service, method: 'GET', base: bases[(attempt - 1) % bases.length] ?? '', path, headers, signal });
    } catch (error) {
      const code = codeOf(error) ?? '';
      const isExpired = code === 'http-unauthorized' && !isServiceTokenNew;
      if (signal?.aborted === true || attempt >= attempts || !(repeatable.has(code) || isExpired)) throw error;
      options.log.warn({ code, attempt, path }, 'glance failed; trying again');
      if (isExpired) {
        options.serviceUser?.forget(serviceToken['X-Service-Token'] ?? '');
        isServiceTokenNew = true;
      }
    }
    await options.clock.sleep(1_000, signal);
  }
}

const repeatable = new Set(['http-unreachable', 'http-timeout', 'http-server-error']);

/** Servers, in the order in which they should be tried. */
export async function basesOf(options: GlanceOptions, signal: AbortSignal | undefined): Promise<readonly string[]> {
  const servers = (options.apiServers ?? []).map((server) => (server.includes('://') ? server : `http://${server}`).replace(/\/+$/, '').replace(/\/v2$/, ''));
  if (servers.length === 0) return [await options.session.endpoint({ serviceType: service, ...options.endpoint }, signal)];
  const start = Math.floor((options.random ?? Math.random)() * servers.length);
  return [...servers.slice(start), ...servers.slice(0, start)];
}

/** The error of an answer that is no success; 410 is said of an image that was deleted under an upload. */
export function imageError(id: ImageId, path: string, answer: HttpAnswer, method: HttpRequest['method'] = 'GET'): AgentError {
  const request = { service, method, path };
  if (answer.status === 404 || answer.status === 410) return failFrom(request, answer, novaFaults.imageNotFound(id));
  if (answer.status === 401 || answer.status === 403) return failFrom(request, answer, novaFaults.imageNotAuthorized(id));
  // 204: the image has no data yet.
  if (answer.status === 204) return new AgentError('image-not-active', 'the image has no data', { wire: novaFaults.imageNotActive(id) });
  if (answer.status === 413) return tooMuch(id);
  return failFrom(request, answer);
}

/** Glance says 413 for a quota of its owner, for a size that it does not take, and for a store that is full. */
export const tooMuch = (id?: ImageId): AgentError =>
  new AgentError('image-too-much', 'Glance does not take it: a quota of the project, the size limit of an image or the space of its store is in the way', id === undefined ? {} : { wire: novaFaults.imageQuotaExceeded(id) });
