/**
 * What a refusal must put back, because Nova's other services had already begun the work before they asked us.
 */
import { isUuid, parseImageId } from '../../lib/ids.js';
import { parseOptionalArgument, type NovaObjectOf } from '../../objects/index.js';
import { elevated } from '../../rpc/context.js';
import type { Operation } from '../operation.js';
import type { CleanUp } from './table.js';

type Refused = Operation<{ instance: NovaObjectOf<'Instance'> }>;

const cleanUps: Readonly<Record<CleanUp, (operation: Refused) => Promise<void>>> = {
  'delete-image': deleteImage,
  'restore-rebuild': restoreRebuild,
  'return-allocation': returnAllocation,
  'drop-allocation': ({ args, deps }) => deps.placement.deleteAllocations(args.instance.get('uuid')),
  'fail-migration': failMigration,
};

/** Failures are logged: the refusal itself must reach the user in any case. */
export async function cleanUpAfter(kind: CleanUp, operation: Refused): Promise<void> {
  try {
    await cleanUps[kind](operation);
  } catch (err) {
    operation.log.warn({ err, cleanUp: kind }, 'refused request not wholly put back');
  }
}

/** The API made a queued image for the snapshot; nothing will ever fill it. */
async function deleteImage({ context, deps, wireArgs }: Refused): Promise<void> {
  const id = wireArgs['image_id'];
  if (isUuid(id)) await deps.glance.remove(context, parseImageId(id));
}

/** The API has written the new image into the row before it asked; the old one is what the disk holds. */
async function restoreRebuild(operation: Refused): Promise<void> {
  const { args: { instance }, deps, wireArgs } = operation;
  if (wireArgs['recreate'] === true) {
    await failMigration(operation);
    await deps.placement.removeProviderFromAllocations(instance.get('uuid'), deps.tracker.providerUuid);
    return;
  }
  const image = wireArgs['orig_image_ref'];
  const metadata = wireArgs['orig_sys_metadata'];
  if (typeof image === 'string') instance.set('image_ref', image);
  if (typeof metadata === 'object' && metadata !== null) instance.set('system_metadata', metadata as Record<string, string>);
}

/** The conductor moved the source's allocation to the migration and the scheduler made ours under the instance: swap back. */
async function returnAllocation(operation: Refused): Promise<void> {
  const migration = migrationOf(operation);
  if (migration !== null) await operation.deps.placement.moveAllocations(migration.get('uuid'), operation.args.instance.get('uuid'));
  await failMigration(operation);
}

async function failMigration(operation: Refused): Promise<void> {
  const migration = migrationOf(operation);
  if (migration === null) return;
  migration.set('status', 'error');
  await operation.deps.conductor.migrations.save(elevated(operation.context), migration);
}

function migrationOf({ wireArgs }: Refused): NovaObjectOf<'Migration'> | null {
  return parseOptionalArgument('Migration', wireArgs['migration']);
}
