import { parseInstanceUuid } from '../lib/ids.js';
import { isInstanceGone, isTaskStateConflict, unrescueAsApi, type ComputeDeps } from '../compute/index.js';
import { vmStates, type NovaObjectOf } from '../objects/index.js';
import type { Duty } from './duty.js';

const attributes = ['flavor', 'info_cache', 'metadata', 'system_metadata'] as const;

/** Ends rescues that have lasted longer than rescue_timeout; 0 means never. A rescue begins with launched_at. */
export function rescueTimeout(deps: ComputeDeps, timeoutSeconds: number): Duty {
  const isDue = (row: NovaObjectOf<'Instance'>): boolean => {
    const since = row.get('launched_at');
    return row.get('vm_state') === vmStates.rescued && row.get('task_state') === null && since !== null
      && deps.clock.now().getTime() - Date.parse(since) > timeoutSeconds * 1000;
  };
  return {
    name: 'rescue-timeout',
    everySeconds: timeoutSeconds > 0 ? 60 : 0,
    atStart: false,
    async run(stop) {
      for (const row of await deps.conductor.instances.byFilters(deps.ownContext(), { vm_state: vmStates.rescued, host: deps.options.host })) {
        if (stop.aborted) return;
        if (!isDue(row)) continue;
        const uuid = parseInstanceUuid(row.get('uuid'));
        await deps.gate.runIfIdle(uuid, 'rescue', async (signal) => {
          try {
            const context = deps.ownContext();
            const fresh = await deps.conductor.instances.byUuid(context, uuid, attributes);
            if (!isDue(fresh)) return;
            deps.log.info({ instance: uuid }, 'rescue ended by rescue_timeout');
            await unrescueAsApi(deps, context, fresh, signal);
          } catch (err) {
            if (!isInstanceGone(err) && !isTaskStateConflict(err)) deps.log.warn({ err, instance: uuid }, 'rescue not ended; the next round tries again');
          }
        });
      }
    },
  };
}
