import { isInstanceGone, saveState, type ComputeDeps } from '../compute/index.js';
import { vmStates } from '../objects/index.js';
import type { Duty } from './duty.js';

/**
 * Calls builds an error that take longer than instance_build_timeout, so that their users see it. As in Nova the build itself is not ended: a delete
 * does that, and one that comes through after all makes the server active.
 */
export const buildTimeout = (deps: ComputeDeps, timeoutSeconds: number): Duty => ({
  name: 'build-timeout',
  everySeconds: timeoutSeconds > 0 ? 60 : 0,
  atStart: false,
  async run(signal) {
    const context = deps.ownContext();
    for (const row of await deps.conductor.instances.byFilters(context, { vm_state: vmStates.building, host: deps.options.host })) {
      if (signal.aborted) return;
      const createdAt = row.get('created_at');
      if (createdAt === null || deps.clock.now().getTime() - Date.parse(createdAt) <= timeoutSeconds * 1000) continue;
      deps.log.warn({ instance: row.get('uuid') }, 'build takes too long; the instance is set to error');
      try {
        await saveState(deps, context, row, { vmState: vmStates.error }, row.get('task_state'));
      } catch (err) {
        // Gone, or a step further than it was a moment ago: the next round looks again.
        if (!isInstanceGone(err)) deps.log.info({ err, instance: row.get('uuid') }, 'instance not set to error');
      }
    }
  },
});
