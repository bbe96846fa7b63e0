/** Glance (v2), always with the user's token: what the user may see is what may be booted. */
import { z } from 'zod';
import { AgentError, codeOf } from '../lib/errors.js';
import { parseImageId, type ImageId } from '../lib/ids.js';
import { novaFaults } from '../lib/nova-faults.js';
import { withTimeout, type Clock } from '../lib/clock.js';
import type { Logger } from '../observe/index.js';
import type { RequestContext } from '../rpc/context.js';
import { failFrom, isSuccess } from './failure.js';
import type { HttpAnswer, HttpRequest } from './http.js';
import { requestIdHeader, serviceTokenHeader, userToken } from './service.js';
import type { EndpointOptions, Session } from './session.js';
import type { GlanceClient, GlanceImage } from './types.js';

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

const service = 'image';
/** Attributes of the v2 schema itself; everything else is a property of the image. */
const baseAttributes = new Set(['id', 'name', 'status', 'visibility', 'protected', 'owner', 'tags', 'checksum', 'os_hash_algo', 'os_hash_value', 'os_hidden',
  'size', 'virtual_size', 'disk_format', 'container_format', 'min_disk', 'min_ram', 'created_at', 'updated_at', 'self', 'file', 'schema', 'direct_url',
  'locations', 'stores', 'members', 'deleted', 'deleted_at', 'is_public']);

const size = z.union([z.number(), z.bigint()]).nullish();
const text = z.string().nullish();
const ImageBody = z.looseObject({
  id: z.string(), name: text, status: z.string(), disk_format: text, container_format: text, size, min_disk: z.number().nullish(), min_ram: z.number().nullish(),
  checksum: text, os_hash_algo: text, os_hash_value: text,
});

/** Errors carry ImageNotFound, ImageNotAuthorized or ImageNotActive in `wire` where Nova knows them. */
export function createGlanceClient(options: GlanceOptions): GlanceClient {
  return {
    show: async (context, id) => {
      const path = `/v2/images/${parseImageId(id)}`;
      return anyServer(options, context, path, undefined, async (request) => {
        const answer = await options.session.http.exchange(request);
        if (!isSuccess(answer)) throw imageError(id, path, answer);
        return imageOf(id, answer.body);
      });
    },
    download: (context, id, signal) => openDownload(options, context, parseImageId(id), signal),
    remove: async (context, id) => {
      const path = `/v2/images/${parseImageId(id)}`;
      await anyServer(options, context, path, undefined, async (request) => {
        const answer = await options.session.http.exchange({ ...request, method: 'DELETE' });
        if (!isSuccess(answer) && answer.status !== 404) throw failFrom({ service, method: 'DELETE', path }, answer);
      });
    },
  };
}

function imageOf(id: ImageId, body: unknown): GlanceImage {
  const parsed = ImageBody.safeParse(body);
  if (!parsed.success || parsed.data.id !== id) throw new AgentError('glance-strange', 'Glance answered with something that is no image', { retry: 'later' });
  const image = parsed.data;
  const properties: Record<string, string> = {};
  for (const [name, value] of Object.entries(image)) {
    if (baseAttributes.has(name)) continue;
    if (typeof value === 'string') properties[name] = value;
    else if (typeof value === 'number' || typeof value === 'boolean') properties[name] = String(value);
  }
  return {
    id, name: image.name ?? null, status: image.status, diskFormat: image.disk_format ?? null, containerFormat: image.container_format ?? null,
    sizeBytes: image.size === null || image.size === undefined ? null : BigInt(image.size), minDiskGiB: image.min_disk ?? 0, minRamMiB: image.min_ram ?? 0,
    checksum: image.checksum ?? null, hashAlgorithm: image.os_hash_algo ?? null, hashValue: image.os_hash_value ?? null, properties,
  };
}

async function openDownload(options: GlanceOptions, context: RequestContext, id: ImageId, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
  const path = `/v2/images/${id}/file`;
  return anyServer(options, context, path, signal, async (request) => {
    const answer = await options.session.http.stream({ ...request, headers: { ...request.headers, 'Accept-Encoding': 'identity' } });
    if (answer.status !== 200) {
      answer.body.destroy();
      throw imageError(id, path, { ...answer, body: undefined });
    }
    const declared = answer.headers['content-length'];
    const reader: AsyncIterator<unknown> = answer.body[Symbol.asyncIterator]();
    const next = (): Promise<IteratorResult<unknown>> => nextOctets(options, reader, signal);
    try {
      const first = await next();
      return octets(first, next, () => answer.body.destroy(), declared === undefined ? undefined : BigInt(declared));
    } catch (error) {
      answer.body.destroy();
      throw error;
    }
  });
}

async function nextOctets(options: GlanceOptions, reader: AsyncIterator<unknown>, signal: AbortSignal): Promise<IteratorResult<unknown>> {
  try {
    return await withTimeout(options.clock, options.stallMs ?? 60_000, 'the next part of an image', () => reader.next(), signal);
  } catch (error) {
    if (signal.aborted) throw error;
    // axios' stream errors hold the request with its token: not kept as a cause.
    const code = codeOf(error) === 'timeout' ? 'http-timeout' : 'http-unreachable';
    throw new AgentError(code, 'the download of an image broke off', { retry: 'later', details: { service } });
  }
}

async function* octets(first: IteratorResult<unknown>, next: () => Promise<IteratorResult<unknown>>, end: () => void, declared: bigint | undefined): AsyncGenerator<Uint8Array> {
  let received = 0n;
  try {
    for (let part = first; part.done !== true; part = await next()) {
      const chunk = part.value as Uint8Array;
      received += BigInt(chunk.byteLength);
      yield chunk;
    }
    if (declared !== undefined && declared !== received) {
      throw new AgentError('http-unreachable', 'the download of an image ended early', { retry: 'later', details: { service } });
    }
  } finally {
    end();
  }
}

/** Tries `work` on one server after another. Repeats what never reached a server or failed there, and an expired service token once. */
async function anyServer<T>(options: GlanceOptions, context: RequestContext, path: string, signal: AbortSignal | undefined,
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

async function basesOf(options: GlanceOptions, signal: AbortSignal | undefined): Promise<readonly string[]> {
  const servers = (options.apiServers ?? []).map((server) => (server.includes('://') ? server : `http://${server}`).replace(/\/+$/, '').replace(/\/v2$/, ''));
  if (servers.length === 0) return [await options.session.endpoint({ serviceType: service, ...options.endpoint }, signal)];
  const start = Math.floor((options.random ?? Math.random)() * servers.length);
  return [...servers.slice(start), ...servers.slice(0, start)];
}

function imageError(id: ImageId, path: string, answer: HttpAnswer): AgentError {
  const request = { service, method: 'GET' as const, path };
  if (answer.status === 404) return failFrom(request, answer, novaFaults.imageNotFound(id));
  if (answer.status === 401 || answer.status === 403) return failFrom(request, answer, novaFaults.imageNotAuthorized(id));
  // 204: the image has no data yet.
  if (answer.status === 204) return new AgentError('image-not-active', 'the image has no data', { wire: novaFaults.imageNotActive(id) });
  return failFrom(request, answer);
}
