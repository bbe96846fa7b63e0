/**
 * Power-state truth (nova-contract 4.2): the guest is always right about power_state. The same rule serves the periodic duty and the
 * guest that ended by itself.
 */
import { parseInstanceUuid, type InstanceUuid } from '../lib/ids.js';
import { taskStates, type NovaObjectOf } from '../objects/index.js';
import type { RequestContext } from '../rpc/context.js';
import { decidePowerSync } from '../instances/index.js';
import type { ComputeDeps } from './deps.js';
import { isInstanceGone, isTaskStateConflict } from './error-text.js';
import { performOwn } from './operation.js';
import { powerAttributes } from './power-steps.js';
import { saveState } from './save-state.js';
import { stopInstance } from './stop-instance.js';

/**
 * Compares one instance with its guest and acts. Waits for its turn with `isUrgent` (the guest ended just now), else does nothing
 * while something else runs for the instance. Never throws for an instance that is gone or owned by somebody else.
 */
export async function syncPowerState(deps: ComputeDeps, instance: InstanceUuid, options: { isUrgent: boolean }): Promise<void> {
  const work = (signal: AbortSignal): Promise<void> => compareAndAct(deps, instance, signal);
  try {
    if (options.isUrgent) await deps.gate.run(instance, 'power-sync', work);
    else await deps.gate.runIfIdle(instance, 'power-sync', work);
  } catch (error) {
    if (!isInstanceGone(error) && !isTaskStateConflict(error)) throw error;
    deps.log.debug({ instance }, 'instance changed during the power sync');
  }
}

async function compareAndAct(deps: ComputeDeps, uuid: InstanceUuid, signal: AbortSignal): Promise<void> {
  const context = deps.ownContext();
  const instance = await deps.conductor.instances.byUuid(context, uuid, powerAttributes);
  if (instance.get('task_state') !== null || instance.get('host') !== deps.options.host) return;
  const power = await deps.driver.powerState(uuid);
  const recorded = instance.get('power_state');
  if (recorded !== power) await saveState(deps, context, instance, { powerState: power }, [null]);
  const vmState = instance.get('vm_state');
  const action = decidePowerSync(vmState, power);
  if (action.kind === 'none') return;
  deps.log.info({ instance: uuid, vmState, recorded, power, action: action.kind }, 'row and guest disagree about power');
  if (action.kind === 'note') return;
  await stopAsApi(deps, context, instance, action.kind === 'stop', signal);
}

/** What nova's compute API does for a stop: an action record, the task, then the method. */
async function stopAsApi(deps: ComputeDeps, context: RequestContext, instance: NovaObjectOf<'Instance'>, isClean: boolean, signal: AbortSignal): Promise<void> {
  await deps.conductor.actions.actionStart(context, parseInstanceUuid(instance.get('uuid')), 'stop');
  await saveState(deps, context, instance, { taskState: taskStates.poweringOff }, [null]);
  await performOwn(deps, stopInstance, context, { instance, clean_shutdown: isClean }, signal);
}

/** Runs the rule whenever a guest ends by itself (unless the operator does not want it); failures are logged, because the periodic duty comes by later. */
export function watchGuests(deps: ComputeDeps): void {
  deps.driver.onEvent((event) => {
    deps.log.info({ instance: event.instance, event: event.kind, verdict: event.verdict?.kind ?? null }, 'guest changed by itself');
    if (event.kind !== 'stopped' || !deps.options.handlesLifecycleEvents) return;
    syncPowerState(deps, event.instance, { isUrgent: true }).catch((err: unknown) => {
      deps.log.warn({ err, instance: event.instance }, 'power state not synchronised; the periodic duty will');
    });
  });
}
