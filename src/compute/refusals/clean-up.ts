/**
 * What a refusal must put back, because Nova's other services had already begun the work before they asked us.
 */
import { parseOptionalArgument, type NovaObjectOf } from '../../objects/index.js';
import { elevated } from '../../rpc/context.js';
import type { Operation } from '../operation.js';
import type { CleanUp } from './table.js';

type Refused = Operation<{ instance: NovaObjectOf<'Instance'> }>;

const cleanUps: Readonly<Record<CleanUp, (operation: Refused) => Promise<void>>> = {
  'leave-evacuation': leaveEvacuation,
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

/** The scheduler added this host to the instance's allocation; the old one's part stays. */
async function leaveEvacuation(operation: Refused): Promise<void> {
  const { args: { instance }, deps } = operation;
  await failMigration(operation);
  await deps.placement.removeProviderFromAllocations(instance.get('uuid'), deps.tracker.providerUuid);
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
