import { parseImageId, type InstanceUuid } from '../lib/ids.js';
import { checkpointImagesOf, dropCheckpoint, dropOrphans, type ComputeDeps } from '../compute/index.js';
import type { Duty } from './duty.js';

/**
 * Lets go of checkpoints whose image is gone, and of what deleted ones have left in the pool and in the folders of guests. Only an administrator's "not found" counts:
 * to others Glance says the same of images that they may not see. Without such a log-in nothing is released. One list shows most images; only those that are not in it
 * are asked for.
 */
export const unwantedCheckpoints = (deps: ComputeDeps): Duty => ({
  name: 'unwanted-checkpoints',
  everySeconds: 60,
  atStart: true,
  async run(duty) {
    const { storage, glance, gate, log } = deps;
    const instances = await instancesOf(deps);
    const seen = instances.size === 0 ? null : await glance.seen(checkpointImagesOf(deps.options.host), duty);
    for (const instance of instances) {
      if (duty.aborted) return;
      await gate.runIfIdle(instance, 'snapshot', async (signal) => {
        for (const { id, keeper } of await storage.checkpoints(instance)) {
          if (signal.aborted) return;
          if (keeper === 'operator') continue; // no image stands for it
          if (seen === null || seen.has(parseImageId(id)) || (await glance.isGone(parseImageId(id), signal)) !== true) continue;
          await dropCheckpoint(deps, instance, id);
          log.info({ instance, checkpoint: id }, 'image of a checkpoint is gone; checkpoint deleted');
        }
        await storage.tidyCheckpoints(instance);
        const orphans = await dropOrphans(deps, instance);
        if (orphans > 0) log.info({ instance, orphans }, 'files of checkpoints that are gone removed');
      });
    }
  },
});

/** Those with nodes, and those with files of any. */
async function instancesOf({ storage, driver }: ComputeDeps): Promise<ReadonlySet<InstanceUuid>> {
  const found = new Set(await storage.instancesWithCheckpoints());
  for (const instance of await driver.list()) if (!found.has(instance) && (await driver.kept(instance)).length > 0) found.add(instance);
  return found;
}
