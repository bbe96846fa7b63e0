import { z } from 'zod';
import { taskStates } from '../../objects/index.js';
import type { InstanceMethod, Operation } from '../operation.js';
import { imageArguments, takeImage } from './take-image.js';

const args = z.looseObject({ ...imageArguments, backup_type: z.string(), rotation: z.number().int().nonnegative() });
type Args = z.infer<typeof args>;

/** Backup: a snapshot, then as many of the newest images of this kind and server are kept as `rotation` says. Nova has set task_state=image_backup. */
export const backupInstance: InstanceMethod<Args> = {
  kind: 'instance',
  rpc: 'backup_instance',
  args,
  wrappers: { revertsTask: true, event: 'compute_backup_instance', recordsFault: true },
  gate: 'snapshot',
  isJournalled: true,
  run: backup,
};

async function backup(operation: Operation<Args>): Promise<null> {
  await takeImage(operation, taskStates.imageBackup);
  await rotate(operation);
  return null;
}

/** Nova's rule: every image of that kind counts, whatever became of it. One that cannot be deleted is left for the next rotation. */
async function rotate({ args: { instance, backup_type: kind, rotation }, context, deps, log }: Operation<Args>): Promise<void> {
  const images = await deps.glance.list(context, { image_type: 'backup', backup_type: kind, instance_uuid: instance.get('uuid') });
  for (const image of images.slice(rotation)) {
    try {
      await deps.glance.remove(context, image);
      log.info({ image }, 'backup rotated out');
    } catch (err) {
      log.warn({ err, image }, 'backup not rotated out; the next rotation tries again');
    }
  }
}
