/** Nodes of the checkpoint tree as a whole: their disks are the pool's, what goes with them is in the guest's folder. */
import type { CheckpointId, InstanceUuid } from '../lib/ids.js';
import type { ComputeDeps } from './deps.js';

type Deps = Pick<ComputeDeps, 'storage' | 'driver'>;

/** Deletes a node; idempotent. The disks first: files without a node are found again (dropOrphans), and a node without its memory would be a broken promise. */
export async function dropCheckpoint({ storage, driver }: Deps, instance: InstanceUuid, id: CheckpointId): Promise<void> {
  await storage.deleteCheckpoint(instance, id);
  await driver.dropKept(instance, id);
}

/**
 * Removes what is kept for nodes that the pool does not have, which a crash may have left. The caller holds the instance's gate: a node that is being made has its
 * files first. Nothing is removed of an instance whose disks are not here: then nobody knows what is wanted. Resolves with how many went.
 */
export async function dropOrphans({ storage, driver }: Deps, instance: InstanceUuid): Promise<number> {
  const kept = await driver.kept(instance);
  if (kept.length === 0 || (await storage.disks(instance)).length === 0) return 0;
  const nodes = new Set((await storage.checkpoints(instance)).map(({ id }) => id));
  const orphans = kept.filter((id) => !nodes.has(id));
  for (const id of orphans) await driver.dropKept(instance, id);
  return orphans.length;
}
