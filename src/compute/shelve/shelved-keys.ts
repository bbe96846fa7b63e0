/** What a shelved server carries in its system_metadata, and the image that it stands for. */
import { toNovaMicroTime } from '../../objects/index.js';
import type { ImageId } from '../../lib/ids.js';
import type { Logger } from '../../observe/index.js';
import type { RequestContext } from '../../rpc/context.js';
import type { ComputeDeps } from '../deps.js';

const keys = { at: 'shelved_at', image: 'shelved_image_id', host: 'shelved_host' } as const;
type Metadata = Readonly<Record<string, string>>;

export const withShelvedKeys = (metadata: Metadata, facts: { at: Date; image: ImageId; host: string }): Record<string, string> => ({
  ...metadata, [keys.at]: toNovaMicroTime(facts.at), [keys.image]: facts.image, [keys.host]: facts.host,
});

export function withoutShelvedKeys(metadata: Metadata): Record<string, string> {
  const all: readonly string[] = Object.values(keys);
  return Object.fromEntries(Object.entries(metadata).filter(([key]) => !all.includes(key)));
}

export const shelvedImageOf = (metadata: Metadata): string | null => metadata[keys.image] ?? null;

/** When it was shelved, in epoch milliseconds; null when that is not known. Nova writes UTC without a zone. */
export function shelvedAtMs(metadata: Metadata): number | null {
  const ms = Date.parse(`${metadata[keys.at] ?? ''}Z`);
  return Number.isNaN(ms) ? null : ms;
}

/** The server is on a host again: its image has done its duty. A failure costs its owner some space, not the server. */
export async function removeShelvedImage(deps: Pick<ComputeDeps, 'glance'>, context: RequestContext, image: ImageId, log: Logger): Promise<void> {
  try {
    await deps.glance.remove(context, image);
  } catch (err) {
    log.warn({ err, image }, 'image of the unshelved server not deleted; its owner may delete it');
  }
}
