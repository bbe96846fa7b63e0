/**
 * Whether an image is gone, for the agent itself: asked with a log-in of its own, because no user's request is at hand. What follows from "gone" cannot be undone, so
 * Glance's 404 counts only from a log-in that sees every image, and only if the same Glance can list images (a proxy's 404, or another service's, is no answer).
 */
import { z } from 'zod';
import { AgentError } from '../lib/errors.js';
import type { ImageId } from '../lib/ids.js';
import { failFrom, isSuccess } from './failure.js';
import { basesOf, service, type GlanceOptions } from './glance-request.js';
import type { HttpAnswer } from './http.js';

const Image = z.looseObject({ id: z.string(), status: z.string() });
const Page = z.looseObject({ images: z.array(z.unknown()) });

/** See `GlanceClient.isGone`. */
export async function isImageGone(options: GlanceOptions, id: ImageId, signal: AbortSignal): Promise<boolean | null> {
  const login = options.serviceUser ?? options.session;
  if (!(await login.isAdmin(signal))) return null;
  const [base = ''] = await basesOf(options, signal);
  const ask = async (path: string, query: Record<string, string> = {}): Promise<HttpAnswer> => {
    const token = await login.token(signal);
    const answer = await options.session.http.exchange({ service, method: 'GET', base, path, query, headers: { 'X-Auth-Token': token }, signal });
    if (answer.status === 401) login.forget(token);
    if (!isSuccess(answer) && answer.status !== 404) throw failFrom({ service, method: 'GET', path }, answer);
    return answer;
  };
  const answer = await ask(`/v2/images/${id}`);
  if (answer.status !== 404) {
    const image = Image.safeParse(answer.body);
    if (!image.success || image.data.id !== id) throw strange();
    return image.data.status === 'deleted' || image.data.status === 'pending_delete';
  }
  const list = await ask('/v2/images', { limit: '1' });
  if (!isSuccess(list) || !Page.safeParse(list.body).success) throw strange();
  return true;
}

const strange = (): AgentError => new AgentError('glance-strange', 'Glance answered with something that is no image and no list of images', { retry: 'later' });
