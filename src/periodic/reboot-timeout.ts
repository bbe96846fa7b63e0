import { powerAttributes, rebootAgain, type ComputeDeps } from '../compute/index.js';
import { softRebootTasks } from '../instances/index.js';
import type { NovaObjectOf } from '../objects/index.js';
import type { Duty } from './duty.js';
import { isOlderThan, perServer } from './per-server.js';

/** Reboots hard what has been rebooting softly for longer than reboot_timeout and is not at work here: a message that was lost. */
export function rebootTimeout(deps: ComputeDeps, timeoutSeconds: number): Duty {
  const { host } = deps.options;
  const isDue = (row: NovaObjectOf<'Instance'>): boolean =>
    softRebootTasks.includes(row.get('task_state') ?? '') && row.get('host') === host && isOlderThan(deps, row.get('updated_at'), timeoutSeconds);
  return perServer(deps, {
    name: 'reboot-timeout',
    everySeconds: timeoutSeconds > 0 ? 60 : 0,
    kind: 'reboot',
    failure: 'hard reboot failed',
    find: () => deps.conductor.instances.byFilters(deps.ownContext(), { task_state: softRebootTasks, host }),
    uuidOf: (row) => row.get('uuid'),
    isDue,
    async act(uuid, _row, signal) {
      const context = deps.ownContext();
      const row = await deps.conductor.instances.byUuid(context, uuid, powerAttributes);
      if (!isDue(row)) return;
      deps.log.warn({ instance: uuid, task: row.get('task_state') }, 'reboot takes too long; rebooted hard');
      await rebootAgain(deps, context, row, 'HARD', signal);
    },
  });
}
