import { parseInstanceUuid } from '../lib/ids.js';
import { offloadShelved, shelvedAtMs, type ComputeDeps } from '../compute/index.js';
import { vmStates } from '../objects/index.js';
import type { Duty } from './duty.js';

/** Takes servers off this host that have been shelved for longer than shelved_offload_time. One that fails does not hold up the others. */
export const shelvedOffload = (deps: ComputeDeps, everySeconds: number): Duty => ({
  name: 'shelved-offload',
  everySeconds,
  atStart: false,
  async run(signal) {
    const filters = { vm_state: vmStates.shelved, task_state: null, host: deps.options.host };
    const before = deps.clock.now().getTime() - deps.options.shelvedOffloadSeconds * 1000;
    for (const row of await deps.conductor.instances.byFilters(deps.ownContext(), filters, ['system_metadata'])) {
      if (signal.aborted) return;
      const uuid = parseInstanceUuid(row.get('uuid'));
      const shelvedAt = shelvedAtMs(row.get('system_metadata'));
      if (shelvedAt === null || shelvedAt > before) continue;
      try {
        await offloadShelved(deps, uuid);
      } catch (err) {
        deps.log.warn({ err, instance: uuid }, 'shelved server not offloaded; the next look tries again');
      }
    }
  },
});
