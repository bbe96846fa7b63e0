/** Glance (v2), always with the user's token: what the user may see is what may be booted. */
import { z } from 'zod';
import { AgentError, codeOf } from '../lib/errors.js';
import { parseImageId, type ImageId } from '../lib/ids.js';
import { withTimeout } from '../lib/clock.js';
import type { RequestContext } from '../rpc/context.js';
import { failFrom, isSuccess } from './failure.js';
import { anyServer, imageError, service, tooMuch, type GlanceOptions } from './glance-request.js';
import { imageOf } from './glance-image.js';
import { discardImage, hiddenImages, isImageGone, lookAtImage, seenImages } from './glance-presence.js';
import { roomIn } from './glance-room.js';
import { uploadImage } from './glance-upload.js';
import type { GlanceClient } from './types.js';

export type { GlanceOptions } from './glance-request.js';

/** Errors carry ImageNotFound, ImageNotAuthorized or ImageNotActive in `wire` where Nova knows them. */
export function createGlanceClient(options: GlanceOptions): GlanceClient {
  const show: GlanceClient['show'] = async (context, id) => {
    const path = `/v2/images/${parseImageId(id)}`;
    return anyServer(options, context, path, undefined, async (request) => {
      const answer = await options.session.http.exchange(request);
      if (!isSuccess(answer)) throw imageError(id, path, answer);
      return imageOf(id, answer.body);
    });
  };
  return {
    show,
    download: (context, id, signal) => openDownload(options, context, parseImageId(id), signal),
    upload: (context, id, content, signal) => uploadImage(options, show, context, parseImageId(id), content, signal),
    update: (context, id, attributes) => updateImage(options, context, parseImageId(id), attributes),
    seen: (properties, signal) => seenImages(options, properties, signal),
    isGone: (id, signal) => isImageGone(options, parseImageId(id), signal),
    hidden: (properties, signal) => hiddenImages(options, properties, signal),
    look: (id, signal) => lookAtImage(options, parseImageId(id), signal),
    discard: (id, signal) => discardImage(options, parseImageId(id), signal),
    room: (context) => roomIn(options, context),
    createHidden: (context, attributes) => createHidden(options, context, attributes),
    list: (context, properties) => listImages(options, context, properties),
    remove: async (context, id) => {
      const path = `/v2/images/${parseImageId(id)}`;
      await anyServer(options, context, path, undefined, async (request) => {
        const answer = await options.session.http.exchange({ ...request, method: 'DELETE' });
        if (!isSuccess(answer) && answer.status !== 404) throw failFrom({ service, method: 'DELETE', path }, answer);
      });
    },
  };
}

/** A JSON patch in Glance's own form, in which `add` also replaces. */
async function updateImage(options: GlanceOptions, context: RequestContext, id: ImageId, attributes: Readonly<Record<string, string>>): Promise<void> {
  const path = `/v2/images/${id}`;
  const body = JSON.stringify(Object.entries(attributes).map(([name, value]) => ({ op: 'add', path: `/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`, value })));
  await anyServer(options, context, path, undefined, async (request) => {
    const headers = { ...request.headers, 'Content-Type': 'application/openstack-images-v2.1-json-patch' };
    const answer = await options.session.http.exchange({ ...request, method: 'PATCH', headers, body });
    if (!isSuccess(answer)) throw imageError(id, path, answer, 'PATCH');
  });
}

/** Tried once: a create whose answer was lost may have made an image. */
async function createHidden(options: GlanceOptions, context: RequestContext, attributes: Readonly<Record<string, string>>): Promise<ImageId> {
  const path = '/v2/images';
  return anyServer({ ...options, numRetries: 0 }, context, path, undefined, async (request) => {
    const headers = { ...request.headers, 'Content-Type': 'application/json' };
    const answer = await options.session.http.exchange({ ...request, method: 'POST', headers, body: JSON.stringify({ ...attributes, visibility: 'private', os_hidden: true }) });
    if (!isSuccess(answer)) throw answer.status === 413 ? tooMuch() : failFrom({ service, method: 'POST', path }, answer);
    const made = z.looseObject({ id: z.string() }).safeParse(answer.body);
    if (!made.success) throw new AgentError('glance-strange', 'Glance answered with something that is no image', { retry: 'later' });
    return parseImageId(made.data.id);
  });
}

const ImagePage = z.looseObject({ images: z.array(z.looseObject({ id: z.string() })), next: z.string().nullish() });
const PAGE_IMAGES = 200;
/** Nobody has so many pages of backups of one server. */
const MAX_PAGES = 50;

async function listImages(options: GlanceOptions, context: RequestContext, properties: Readonly<Record<string, string>>): Promise<ImageId[]> {
  const ids: ImageId[] = [];
  for (let page = 0; page < MAX_PAGES; page += 1) {
    const marker = ids.at(-1);
    const query = { ...properties, limit: String(PAGE_IMAGES), sort_key: 'created_at', sort_dir: 'desc', ...(marker === undefined ? {} : { marker }) };
    const parsed = await anyServer(options, context, '/v2/images', undefined, async (request) => {
      const answer = await options.session.http.exchange({ ...request, query });
      if (!isSuccess(answer)) throw failFrom({ service, method: 'GET', path: request.path }, answer);
      return ImagePage.safeParse(answer.body);
    });
    if (!parsed.success) throw new AgentError('glance-strange', 'Glance answered with something that is no list of images', { retry: 'later' });
    ids.push(...parsed.data.images.map((image) => parseImageId(image.id)));
    if ((parsed.data.next ?? null) === null) break;
  }
  return ids;
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

