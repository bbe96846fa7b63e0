import { checkpointImagesOf, partOf, type ComputeDeps } from '../compute/index.js';
import type { Duty } from './duty.js';

/**
 * Deletes hidden images that hold parts of checkpoints of this host whose own image is gone: its user deleted it, or a crash came in between. Only images that say so
 * themselves, and only where an administrator's log-in finds the checkpoint's image gone; without such a log-in nothing is deleted.
 */
export const leftCheckpointParts = (deps: ComputeDeps): Duty => ({
  name: 'left-checkpoint-parts',
  everySeconds: 300,
  atStart: true,
  async run(duty) {
    const { glance, log, options } = deps;
    const parts = (await glance.hidden(checkpointImagesOf(options.host), duty)) ?? [];
    for (const part of parts) {
      if (duty.aborted) return;
      const image = partOf(part);
      if (image === null || (await glance.isGone(image, duty)) !== true) continue;
      await glance.discard(part.id, duty);
      log.info({ image: part.id, checkpoint: image }, 'image of a checkpoint is gone; part of it deleted');
    }
  },
});
