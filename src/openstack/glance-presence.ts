/**
 * Which images there are, for the agent itself (and the deletion of those that it made): asked with a log-in of its own, because no user's request is at hand. What follows from "gone" cannot be undone, so
 * Glance's 404 counts only from a log-in that sees every image, and only if the same Glance can list images (a proxy's 404, or another service's, is no answer).
 */
import { z } from 'zod';
import { AgentError } from '../lib/errors.js';
import { parseImageId, type ImageId } from '../lib/ids.js';
import { failFrom, isSuccess } from './failure.js';
import { imageOf } from './glance-image.js';
import { basesOf, service, type GlanceOptions } from './glance-request.js';
import type { HttpAnswer, HttpRequest } from './http.js';
import type { GlanceImage } from './types.js';

const Image = z.looseObject({ id: z.string(), status: z.string() });
const Page = z.looseObject({ images: z.array(z.looseObject({ id: z.string() })), next: z.string().nullish() });
const PAGE_IMAGES = 200;
/** No host has so many pages of checkpoints. */
const MAX_PAGES = 100;

type Ask = (path: string, query?: Readonly<Record<string, string>>, method?: HttpRequest['method']) => Promise<HttpAnswer>;

/** Null unless our log-in is an administrator's. Answers are successes, or 404. */
async function askingAsAdmin(options: GlanceOptions, signal: AbortSignal): Promise<Ask | null> {
  const login = options.serviceUser ?? options.session;
  if (!(await login.isAdmin(signal))) return null;
  const [base = ''] = await basesOf(options, signal);
  return async (path, query = {}, method = 'GET') => {
    const token = await login.token(signal);
    const answer = await options.session.http.exchange({ service, method, base, path, query, headers: { 'X-Auth-Token': token }, signal });
    if (answer.status === 401) login.forget(token);
    if (!isSuccess(answer) && answer.status !== 404) throw failFrom({ service, method, path }, answer);
    return answer;
  };
}

/** See `GlanceClient.isGone`. */
export async function isImageGone(options: GlanceOptions, id: ImageId, signal: AbortSignal): Promise<boolean | null> {
  const ask = await askingAsAdmin(options, signal);
  if (ask === null) return null;
  const answer = await ask(`/v2/images/${id}`);
  if (answer.status !== 404) {
    const image = Image.safeParse(answer.body);
    if (!image.success || image.data.id !== id) throw strange();
    return image.data.status === 'deleted' || image.data.status === 'pending_delete';
  }
  pageOf(await ask('/v2/images', { limit: '1' }));
  return true;
}

/** See `GlanceClient.seen`. */
export async function seenImages(options: GlanceOptions, properties: Readonly<Record<string, string>>, signal: AbortSignal): Promise<ReadonlySet<ImageId> | null> {
  const ask = await askingAsAdmin(options, signal);
  return ask === null ? null : new Set((await imagesIn(ask, properties)).map(({ id }) => parseImageId(id)));
}

/** See `GlanceClient.hidden`. */
export async function hiddenImages(options: GlanceOptions, properties: Readonly<Record<string, string>>, signal: AbortSignal): Promise<readonly GlanceImage[] | null> {
  const ask = await askingAsAdmin(options, signal);
  return ask === null ? null : (await imagesIn(ask, { ...properties, os_hidden: 'true' })).map((image) => imageOf(parseImageId(image.id), image));
}

/** See `GlanceClient.look`. */
export async function lookAtImage(options: GlanceOptions, id: ImageId, signal: AbortSignal): Promise<GlanceImage | null> {
  const answer = await (await askingAsAdmin(options, signal))?.(`/v2/images/${id}`);
  return answer === undefined || answer.status === 404 ? null : imageOf(id, answer.body);
}

/** See `GlanceClient.discard`. */
export async function discardImage(options: GlanceOptions, id: ImageId, signal: AbortSignal): Promise<void> {
  await (await askingAsAdmin(options, signal))?.(`/v2/images/${id}`, {}, 'DELETE');
}

async function imagesIn(ask: Ask, properties: Readonly<Record<string, string>>): Promise<z.infer<typeof Page>['images']> {
  const found: z.infer<typeof Page>['images'] = [];
  let marker: Record<string, string> = {};
  for (let page = 0; page < MAX_PAGES; page += 1) {
    const { images, next } = pageOf(await ask('/v2/images', { ...properties, limit: String(PAGE_IMAGES), sort_key: 'created_at', sort_dir: 'desc', ...marker }));
    found.push(...images);
    const last = images.at(-1);
    if (last === undefined || (next ?? null) === null) break;
    marker = { marker: last.id };
  }
  return found;
}

function pageOf(answer: HttpAnswer): z.infer<typeof Page> {
  const page = Page.safeParse(answer.body);
  if (!isSuccess(answer) || !page.success) throw strange();
  return page.data;
}

const strange = (): AgentError => new AgentError('glance-strange', 'Glance answered with something that is no image and no list of images', { retry: 'later' });
