/**
 * What the image store found a moment ago, so that a server whose image is in the cache does not ask zfs for it twice, and twenty in a row not forty
 * times. A complete image never changes, and only this process removes one (an operator's `zfs destroy` apart): then making a clone of it fails,
 * and whoever sees that says `forget`.
 */
import type { Clock } from '../lib/clock.js';
import type { ImageId } from '../lib/ids.js';
import type { ImageStore, StoredImage } from './image-store.js';

const keptMs = 60_000;
const maxKept = 1000;

export function rememberImages(store: ImageStore, clock: Pick<Clock, 'monotonicMs'>): ImageStore {
  const known = new Map<ImageId, { readonly image: StoredImage; readonly atMs: number }>();
  const forget = (id: ImageId): void => void known.delete(id);
  return {
    ...store,
    forget,
    async find(id) {
      const last = known.get(id);
      if (last !== undefined && clock.monotonicMs() - last.atMs < keptMs) return last.image;
      forget(id);
      const image = await store.find(id);
      if (known.size >= maxKept) known.clear();
      if (image !== undefined) known.set(id, { image, atMs: clock.monotonicMs() });
      return image;
    },
    async touch(image) {
      const touched = await store.touch(image);
      const last = known.get(image.id);
      if (last !== undefined) known.set(image.id, { ...last, image: touched });
      return touched;
    },
    async drop(id) {
      forget(id);
      return store.drop(id);
    },
  };
}
