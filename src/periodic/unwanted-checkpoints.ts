import { parseImageId } from '../lib/ids.js';
import { checkpointImagesOf, type ComputeDeps } from '../compute/index.js';
import type { Duty } from './duty.js';

/**
 * Lets go of checkpoints whose image is gone, and of what deleted ones have left in the pool. Only an administrator's "not found" counts: to others Glance says the
 * same of images that they may not see. Without such a log-in nothing is released. One list shows most images; only those that are not in it are asked for.
 */
export const unwantedCheckpoints = (deps: ComputeDeps): Duty => ({
  name: 'unwanted-checkpoints',
  everySeconds: 60,
  atStart: true,
  async run(duty) {
    const { storage, glance, gate, log } = deps;
    const instances = await storage.instancesWithCheckpoints();
    const seen = instances.length === 0 ? null : await glance.seen(checkpointImagesOf(deps.options.host), duty);
    for (const instance of instances) {
      if (duty.aborted) return;
      await gate.runIfIdle(instance, 'snapshot', async (signal) => {
        for (const { id } of await storage.checkpoints(instance)) {
          if (signal.aborted) return;
          if (seen === null || seen.has(parseImageId(id)) || (await glance.isGone(parseImageId(id), signal)) !== true) continue;
          await storage.deleteCheckpoint(instance, id);
          log.info({ instance, checkpoint: id }, 'image of a checkpoint is gone; checkpoint deleted');
        }
        await storage.tidyCheckpoints(instance);
      });
    }
  },
});
