import { parseInstanceUuid, type InstanceUuid } from '../lib/ids.js';
import { removeFromMachine, type ComputeDeps } from '../compute/index.js';
import type { Duty } from './duty.js';

export interface RunningDeletedOptions {
  readonly everySeconds: number;
  readonly action: 'noop' | 'log' | 'shutdown' | 'reap';
  /** Seconds after the deletion before anything is done. */
  readonly timeoutSeconds: number;
}

/**
 * Guests whose row is deleted: the API deleted them alone while this host was away (running_deleted_instance_*). Only what Nova says
 * was deleted here is touched; things that Nova knows nothing of are somebody else's and are only logged.
 */
export function runningDeleted(deps: ComputeDeps, options: RunningDeletedOptions): Duty {
  return {
    name: 'running-deleted',
    everySeconds: options.action === 'noop' ? 0 : options.everySeconds,
    atStart: true,
    async run(signal) {
      const local = new Set<InstanceUuid>([...(await deps.driver.list()), ...(await deps.storage.instancesWithDisks())]);
      if (local.size === 0) return;
      const rows = await deps.conductor.instances.byFilters(deps.ownContext('yes'), { uuid: [...local], deleted: true, soft_deleted: false });
      for (const row of rows) {
        if (signal.aborted) return;
        const uuid = parseInstanceUuid(row.get('uuid'));
        // Nova's filter means soft-deleted servers too unless it is told otherwise; what is at stake are disks, so the row itself is asked as well.
        if (row.get('deleted') !== true || !local.has(uuid) || !isOldEnough(row.get('deleted_at'), deps, options)) continue;
        await deps.gate.runIfIdle(uuid, 'delete', () => act(deps, uuid, options.action));
      }
    },
  };
}

const isOldEnough = (deletedAt: string | null, deps: ComputeDeps, { timeoutSeconds }: RunningDeletedOptions): boolean =>
  deletedAt === null || deps.clock.now().getTime() - Date.parse(deletedAt) >= timeoutSeconds * 1000;

async function act(deps: ComputeDeps, uuid: InstanceUuid, action: RunningDeletedOptions['action']): Promise<void> {
  deps.log.warn({ instance: uuid, action }, 'instance was deleted but is still on this host');
  if (action === 'shutdown') await deps.driver.stop(uuid, { graceMs: 0, retryMs: 0 });
  if (action === 'reap') {
    await removeFromMachine(deps, uuid);
    await deps.storage.reap();
  }
}
