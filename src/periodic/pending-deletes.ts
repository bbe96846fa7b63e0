import { parseInstanceUuid, type InstanceUuid } from '../lib/ids.js';
import { isInstanceGone, removeFromMachine, type ComputeDeps } from '../compute/index.js';
import type { NovaObjectOf } from '../objects/index.js';
import type { Duty } from './duty.js';

const attemptsKey = 'clean_attempts';

/**
 * Removes what is left of servers whose row was deleted while this host could not do its part (instance_delete_interval), and notes in the row that
 * nothing is. A guest that still runs is not touched here: what to do with it is said by running_deleted_instance_action.
 */
export function pendingDeletes(deps: ComputeDeps, options: { readonly everySeconds: number; readonly maxAttempts: number }): Duty {
  return {
    name: 'pending-deletes',
    everySeconds: options.everySeconds,
    atStart: false,
    async run(signal) {
      const filters = { deleted: true, soft_deleted: false, host: deps.options.host, cleaned: false };
      for (const row of await deps.conductor.instances.byFilters(deps.ownContext('yes'), filters, ['system_metadata'])) {
        if (signal.aborted) return;
        if (row.get('deleted') !== true) continue;
        const attempts = Number(row.get('system_metadata')[attemptsKey] ?? '0');
        if (attempts >= options.maxAttempts) continue;
        const uuid = parseInstanceUuid(row.get('uuid'));
        await deps.gate.runIfIdle(uuid, 'delete', () => clean(deps, row, uuid, attempts));
      }
    },
  };
}

async function clean(deps: ComputeDeps, row: NovaObjectOf<'Instance'>, uuid: InstanceUuid, attempts: number): Promise<void> {
  try {
    if ((await deps.driver.state(uuid)).kind === 'running') return;
    const isClean = await removed(deps, uuid);
    row.set('system_metadata', { ...row.get('system_metadata'), [attemptsKey]: String(attempts + 1) });
    if (isClean) row.set('cleaned', true);
    await deps.conductor.instances.save(deps.ownContext('yes'), row);
  } catch (err) {
    if (!isInstanceGone(err)) deps.log.warn({ err, instance: uuid }, 'deleted instance not looked after; the next round tries again');
  }
}

async function removed(deps: ComputeDeps, uuid: InstanceUuid): Promise<boolean> {
  try {
    await removeFromMachine(deps, uuid);
    return true;
  } catch (err) {
    deps.log.warn({ err, instance: uuid }, 'files of a deleted instance not removed');
    return false;
  }
}
