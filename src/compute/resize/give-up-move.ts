/** Moves that the agent's end cut off and that no message goes on with (nova-contract section 3): the server stays here as it was before. */
import { parseInstanceUuid } from '../../lib/ids.js';
import type { NovaObjectOf } from '../../objects/index.js';
import { vmStates } from '../../objects/index.js';
import type { RequestContext } from '../../rpc/context.js';
import type { ComputeDeps } from '../deps.js';
import { actAll } from '../machine-steps.js';
import { bringUp } from '../power-steps.js';
import { saveState } from '../save-state.js';
import { moveAttributes, oldVmState } from './arguments.js';
import { abandonMove } from './failure.js';
import { putBackSteps } from './put-back.js';
import { clearStash } from './row.js';

/** The migration that the instance is in, if both of its ends are this host. */
async function ownMigration({ conductor, options }: ComputeDeps, context: RequestContext, instance: NovaObjectOf<'Instance'>): Promise<NovaObjectOf<'Migration'> | null> {
  const record = instance.maybe('migration_context') ?? null;
  if (record === null) return null;
  const migration = await conductor.migrations.byId(context, record.get('migration_id'), parseInstanceUuid(instance.get('uuid')));
  return migration?.get('source_compute') === options.host && migration.get('dest_compute') === options.host ? migration : null;
}

/** Task resize_prep: nothing was touched yet. The task is cleared by the caller; what Placement holds for the move is given back here. */
export async function giveUpPreparedMove(deps: ComputeDeps, context: RequestContext, instance: NovaObjectOf<'Instance'>): Promise<void> {
  await deps.conductor.instances.load(context, instance, moveAttributes);
  const migration = await ownMigration(deps, context, instance);
  if (migration?.get('status') === 'pre-migrating') await abandonMove(deps, context, { instance, migration });
}

/** Task resize_migrating: the guest may be off. Disks as they were, guest on unless it was stopped; vm_state error if that fails. */
export async function undoMove(deps: ComputeDeps, context: RequestContext, instance: NovaObjectOf<'Instance'>): Promise<void> {
  await deps.conductor.instances.load(context, instance, moveAttributes);
  const migration = await ownMigration(deps, context, instance);
  const before = oldVmState(instance);
  const vifs = deps.ports.cached(instance);
  let vmState = before;
  try {
    await actAll(migration !== null ? putBackSteps(deps, instance, migration, vifs) : before === vmStates.stopped ? [] : bringUp(deps, instance, vifs));
  } catch (err) {
    deps.log.error({ err, instance: instance.get('uuid') }, 'cut resize not undone; a hard reboot may help');
    vmState = vmStates.error;
  }
  if (migration !== null) await abandonMove(deps, context, { instance, migration });
  clearStash(instance);
  await saveState(deps, context, instance, { vmState, taskState: null });
}
