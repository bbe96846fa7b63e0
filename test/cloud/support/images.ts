/** Images that come out of servers. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { layoutOf, until } from '../control-plane/index.js';
import type { Lab } from './use-lab.js';
import type { Image } from './cloud.js';

/** Asks for a snapshot as the user, with these properties; the image is removed after the test. */
export async function askForSnapshot({ cloud, adoptImage }: Lab, server: string, name: string, metadata: Readonly<Record<string, string>> = {}): Promise<string> {
  const answer = (await cloud.servers.action(server, { createImage: { name, metadata } })) as { image_id: string };
  adoptImage(answer.image_id);
  return answer.image_id;
}

export function waitImage({ cloud }: Lab, id: string, isThere: (image: Image | null) => boolean, what: string, limitMs = 120_000): Promise<Image | null> {
  let last: Image | null = null;
  return until(limitMs, () => `image ${id} is ${last?.status ?? 'absent'}; expected ${what}`, async () => {
    last = await cloud.images.show(id);
    return isThere(last) ? { image: last } : null;
  }, 250).then(({ image }) => image);
}

export const waitActive = (lab: Lab, id: string): Promise<Image | null> => waitImage(lab, id, (image) => image?.status === 'active', 'active');
export const waitImageGone = (lab: Lab, id: string): Promise<Image | null> => waitImage(lab, id, (image) => image === null, 'that it is gone');

/** How often Glance was asked for the octets of an image. */
export const downloadsOf = (id: string): number =>
  readFileSync(join(layoutOf().logs, 'glance.log'), 'utf8').split('\n').filter((line) => line.includes(`GET /v2/images/${id}/file`)).length;

/** How the newest action of this kind ended, once it has. */
export async function resultOf({ cloud }: Lab, server: string, action: string): Promise<string | undefined> {
  const { events: [newest = ''] } = await cloud.servers.lastAction(server, action);
  return newest.split(': ')[1];
}
