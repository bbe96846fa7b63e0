import { unrescueAsApi, type ComputeDeps } from '../compute/index.js';
import { vmStates, type NovaObjectOf } from '../objects/index.js';
import type { Duty } from './duty.js';
import { isOlderThan, perServer } from './per-server.js';

const attributes = ['flavor', 'info_cache', 'metadata', 'system_metadata'] as const;

/** Ends rescues that have lasted longer than rescue_timeout; 0 means never. A rescue begins with launched_at. */
export function rescueTimeout(deps: ComputeDeps, timeoutSeconds: number): Duty {
  const { host } = deps.options;
  const isDue = (row: NovaObjectOf<'Instance'>): boolean =>
    row.get('vm_state') === vmStates.rescued && row.get('task_state') === null && row.get('host') === host && isOlderThan(deps, row.get('launched_at'), timeoutSeconds);
  return perServer(deps, {
    name: 'rescue-timeout',
    everySeconds: timeoutSeconds > 0 ? 60 : 0,
    kind: 'rescue',
    failure: 'rescue not ended; the next round tries again',
    find: () => deps.conductor.instances.byFilters(deps.ownContext(), { vm_state: vmStates.rescued, host }),
    uuidOf: (row) => row.get('uuid'),
    isDue,
    async act(uuid, _row, signal) {
      const context = deps.ownContext();
      const row = await deps.conductor.instances.byUuid(context, uuid, attributes);
      if (!isDue(row)) return;
      deps.log.info({ instance: uuid }, 'rescue ended by rescue_timeout');
      await unrescueAsApi(deps, context, row, signal);
    },
  });
}
