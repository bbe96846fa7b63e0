import { parseInstanceUuid, type InstanceUuid } from '../lib/ids.js';
import { deleteWithoutJournal, isInstanceGone, isTaskStateConflict, reapQuietly, saveState, type ComputeDeps } from '../compute/index.js';
import { taskStates, vmStates, type NovaObjectOf } from '../objects/index.js';
import type { Duty } from './duty.js';

/** What a deletion needs of the row. */
const attributes = ['flavor', 'info_cache', 'metadata', 'system_metadata'] as const;

/** Really deletes servers that were soft-deleted longer ago than reclaim_instance_interval; 0 means that nothing is ever soft-deleted. */
export function reclaimDeleted(deps: ComputeDeps, intervalSeconds: number): Duty {
  const isDue = (row: NovaObjectOf<'Instance'>): boolean => {
    const deletedAt = row.get('deleted_at');
    return deletedAt === null || deps.clock.now().getTime() - Date.parse(deletedAt) > intervalSeconds * 1000;
  };
  return {
    name: 'reclaim-deleted',
    everySeconds: intervalSeconds > 0 ? 60 : 0,
    atStart: false,
    async run(signal) {
      const filters = { vm_state: vmStates.softDeleted, task_state: null, host: deps.options.host };
      for (const row of await deps.conductor.instances.byFilters(deps.ownContext(), filters)) {
        if (signal.aborted) return;
        const uuid = parseInstanceUuid(row.get('uuid'));
        if (isDue(row)) await deps.gate.runIfIdle(uuid, 'delete', (stop) => reclaim(deps, uuid, isDue, stop));
      }
    },
  };
}

/** Reads the row again, and takes it with a task of ours, so that a restore that comes at this moment is refused and not half done. */
async function reclaim(deps: ComputeDeps, uuid: InstanceUuid, isDue: (row: NovaObjectOf<'Instance'>) => boolean, signal: AbortSignal): Promise<void> {
  const context = deps.ownContext();
  try {
    const row = await deps.conductor.instances.byUuid(context, uuid, attributes);
    if (row.get('vm_state') !== vmStates.softDeleted || row.get('task_state') !== null || row.get('host') !== deps.options.host || !isDue(row)) return;
    await saveState(deps, context, row, { taskState: taskStates.deleting }, [null]);
    deps.log.info({ instance: uuid }, 'soft-deleted instance reclaimed');
    try {
      await deleteWithoutJournal(deps, context, row, signal);
    } catch (error) {
      await saveState(deps, context, row, { vmState: vmStates.softDeleted, taskState: null }); // the next round tries again
      throw error;
    }
    await reapQuietly(deps);
  } catch (err) {
    if (!isInstanceGone(err) && !isTaskStateConflict(err)) deps.log.warn({ err, instance: uuid }, 'soft-deleted instance not reclaimed; the next round tries again');
  }
}
