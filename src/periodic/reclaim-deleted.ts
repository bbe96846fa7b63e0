import type { InstanceUuid } from '../lib/ids.js';
import { deleteWithoutJournal, reapQuietly, saveState, type ComputeDeps } from '../compute/index.js';
import { taskStates, vmStates, type NovaObjectOf } from '../objects/index.js';
import type { Duty } from './duty.js';
import { isOlderThan, perServer } from './per-server.js';

/** What a deletion needs of the row. */
const attributes = ['flavor', 'info_cache', 'metadata', 'system_metadata'] as const;

/** Really deletes servers that were soft-deleted longer ago than reclaim_instance_interval; 0 means that nothing is ever soft-deleted. */
export function reclaimDeleted(deps: ComputeDeps, intervalSeconds: number): Duty {
  const filters = { vm_state: vmStates.softDeleted, task_state: null, host: deps.options.host };
  const isDue = (row: NovaObjectOf<'Instance'>): boolean =>
    row.get('vm_state') === vmStates.softDeleted && row.get('task_state') === null && row.get('host') === deps.options.host
    && (row.get('deleted_at') === null || isOlderThan(deps, row.get('deleted_at'), intervalSeconds));
  return perServer(deps, {
    name: 'reclaim-deleted',
    everySeconds: intervalSeconds > 0 ? 60 : 0,
    kind: 'delete',
    failure: 'soft-deleted instance not reclaimed; the next round tries again',
    find: () => deps.conductor.instances.byFilters(deps.ownContext(), filters),
    uuidOf: (row) => row.get('uuid'),
    isDue,
    act: (uuid, _row, signal) => reclaim(deps, uuid, isDue, signal),
  });
}

/** Reads the row again, and takes it with a task of ours, so that a restore that comes at this moment is refused and not half done. */
async function reclaim(deps: ComputeDeps, uuid: InstanceUuid, isDue: (row: NovaObjectOf<'Instance'>) => boolean, signal: AbortSignal): Promise<void> {
  const context = deps.ownContext();
  const row = await deps.conductor.instances.byUuid(context, uuid, attributes);
  if (!isDue(row)) return;
  await saveState(deps, context, row, { taskState: taskStates.deleting }, [null]);
  deps.log.info({ instance: uuid }, 'soft-deleted instance reclaimed');
  try {
    await deleteWithoutJournal(deps, context, row, signal);
  } catch (error) {
    await saveState(deps, context, row, { vmState: vmStates.softDeleted, taskState: null }); // the next round tries again
    throw error;
  }
  await reapQuietly(deps);
}
