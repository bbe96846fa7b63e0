/** Cached images as qcow2 files, the same store as image-store.ts with another shelf; what lies where, chain-places.ts says. */
import { z } from 'zod';
import { AgentError } from '../../lib/errors.js';
import { isUuid, parseImageId, type ImageId } from '../../lib/ids.js';
import { convertToQcow2 } from '../converter.js';
import { readFile } from '../disk-chain/index.js';
import type { ImageStore, ListedImage, StoredImage } from '../image-store.js';
import { eachChain } from './each-chain.js';
import type { Chains, ChainsDeps } from './chain-places.js';

/** Images are kept for hours: a boot need not wait for a more exact time. */
const TOUCH_SECONDS = 300;
const NEW = '.new-';

const Facts = z.object({ format: z.string(), virtualBytes: z.string().regex(/^\d+$/).transform(BigInt), lastUsedSeconds: z.number() });
type Facts = z.output<typeof Facts>;

/** Files that an import left which did not end, with names that no image has. */
export const isLeftImage = (name: string): boolean => name.startsWith(NEW) || name.startsWith('.tmp-');

export function createImageFiles(deps: ChainsDeps, chains: Chains): ImageStore {
  const { host, limits, log } = deps;
  const { files } = host;
  const { places } = chains;
  const factsPath = (id: ImageId): string => `${places.image(id)}.json`;
  const nowSeconds = (): number => Math.floor(deps.clock.now().getTime() / 1000);
  const writeFacts = (id: ImageId, { format, virtualBytes, lastUsedSeconds }: Facts): Promise<void> =>
    files.writeAtomic(factsPath(id), `${JSON.stringify({ format, virtualBytes: String(virtualBytes), lastUsedSeconds })}\n`);
  const find = async (id: ImageId): Promise<StoredImage | undefined> => {
    if (!(await files.exists(places.image(id)))) return undefined;
    const facts = parseFacts(await files.readText(factsPath(id)));
    if (facts !== undefined) return { id, virtualBytes: facts.virtualBytes, volumeBytes: facts.virtualBytes, detectedFormat: facts.format, lastUsedSeconds: facts.lastUsedSeconds };
    log.warn({ image: id }, 'what is known of a cached image cannot be read; it will be fetched again');
    return undefined;
  };
  return {
    find,
    async import(id, path, inspection, virtualBytes, signal) {
      const target = `${places.images}/${NEW}${id}`;
      await files.remove(target, places.images);
      await convertToQcow2(host, path, inspection.converterFormat ?? 'raw', target, limits, signal);
      await readFile({ files, folder: places.images, images: places.images }, `${NEW}${id}`).catch((cause: unknown) => {
        throw new AgentError('image-unacceptable', 'the converter wrote a file that bhyve would not open', { cause });
      });
      await files.sync(target);
      await writeFacts(id, { format: inspection.format, virtualBytes, lastUsedSeconds: nowSeconds() });
      await files.rename(target, places.image(id));
      return { id, virtualBytes, detectedFormat: inspection.format };
    },
    async touch(image) {
      const lastUsedSeconds = nowSeconds();
      if (Math.abs(lastUsedSeconds - image.lastUsedSeconds) < TOUCH_SECONDS) return image;
      await writeFacts(image.id, { format: image.detectedFormat, virtualBytes: image.virtualBytes, lastUsedSeconds });
      return { ...image, lastUsedSeconds };
    },
    async list() {
      const names = (await files.list(places.images)).filter(isUuid).map(parseImageId);
      const uses = names.length === 0 ? new Map<string, number>() : await usesOf(deps, chains);
      return Promise.all(names.map(async (id): Promise<ListedImage> => ({
        id, bytes: (await files.sizeBytes(places.image(id))) ?? 0n, isComplete: true, cloneCount: uses.get(places.image(id)) ?? 0,
        lastUsedAt: new Date(((await find(id))?.lastUsedSeconds ?? 0) * 1000),
      })));
    },
    async drop(id) {
      if (!(await files.exists(places.image(id)))) return true;
      if (((await usesOf(deps, chains)).get(places.image(id)) ?? 0) > 0) return false;
      await files.remove(places.image(id), places.images);
      await files.remove(factsPath(id), places.images);
      return true;
    },
    forget: () => undefined, // it looks each time
  };
}

function parseFacts(text: string | undefined): Facts | undefined {
  try {
    return text === undefined ? undefined : Facts.parse(JSON.parse(text));
  } catch {
    return undefined; // said by the caller
  }
}

/** How many files rest on each image: one that cannot be read stops everything, because nobody knows what it rests on. */
async function usesOf(deps: ChainsDeps, chains: Chains): Promise<ReadonlyMap<string, number>> {
  const uses = new Map<string, number>();
  for await (const { view } of eachChain(deps, chains)) {
    for (const { backingPath } of [...view.files, ...view.others]) if (backingPath !== null) uses.set(backingPath, (uses.get(backingPath) ?? 0) + 1);
  }
  return uses;
}
