import type { ComputeDeps } from '../compute/index.js';
import type { Duty } from './duty.js';

/** Drops cached images that no disk was cloned from and that nobody used for a while ([image_cache]). */
export const imageCache = (deps: ComputeDeps, options: { everySeconds: number; minimumAgeSeconds: number; removesUnused: boolean }): Duty => ({
  name: 'image-cache',
  everySeconds: options.removesUnused ? options.everySeconds : 0,
  atStart: false,
  async run(signal) {
    const oldest = deps.clock.now().getTime() - options.minimumAgeSeconds * 1000;
    for (const image of await deps.storage.images()) {
      if (signal.aborted) return;
      if (image.cloneCount > 0 || image.lastUsedAt.getTime() > oldest) continue;
      if (await deps.storage.dropImage(image.id)) deps.log.info({ image: image.id }, 'unused image dropped from the cache');
    }
  },
});
