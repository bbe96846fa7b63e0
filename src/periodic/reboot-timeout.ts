import { parseInstanceUuid, type InstanceUuid } from '../lib/ids.js';
import { isInstanceGone, isTaskStateConflict, powerAttributes, rebootAgain, type ComputeDeps } from '../compute/index.js';
import { softRebootTasks } from '../instances/index.js';
import type { Duty } from './duty.js';

/** Reboots hard what has been rebooting softly for longer than reboot_timeout and is not at work here: a message that was lost. */
export function rebootTimeout(deps: ComputeDeps, timeoutSeconds: number): Duty {
  return {
    name: 'reboot-timeout',
    everySeconds: timeoutSeconds > 0 ? 60 : 0,
    atStart: false,
    async run(signal) {
      const rows = await deps.conductor.instances.byFilters(deps.ownContext(), { task_state: softRebootTasks, host: deps.options.host });
      for (const row of rows) {
        if (signal.aborted) return;
        const changedAt = row.get('updated_at');
        if (changedAt === null || deps.clock.now().getTime() - Date.parse(changedAt) <= timeoutSeconds * 1000) continue;
        const uuid = parseInstanceUuid(row.get('uuid'));
        await deps.gate.runIfIdle(uuid, 'reboot', (stop) => rebootHard(deps, uuid, stop));
      }
    },
  };
}

async function rebootHard(deps: ComputeDeps, uuid: InstanceUuid, signal: AbortSignal): Promise<void> {
  const context = deps.ownContext();
  try {
    const row = await deps.conductor.instances.byUuid(context, uuid, powerAttributes);
    const task = row.get('task_state');
    if (task === null || !softRebootTasks.includes(task) || row.get('host') !== deps.options.host) return;
    deps.log.warn({ instance: uuid, task }, 'reboot takes too long; rebooted hard');
    await rebootAgain(deps, context, row, 'HARD', signal);
  } catch (err) {
    if (!isInstanceGone(err) && !isTaskStateConflict(err)) deps.log.warn({ err, instance: uuid }, 'hard reboot failed');
  }
}
