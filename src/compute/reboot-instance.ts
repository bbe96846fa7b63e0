import { z } from 'zod';
import { parseInstanceUuid, type InstanceUuid } from '../lib/ids.js';
import { runSteps } from '../journal/index.js';
import type { NetworkInfo } from '../network/index.js';
import { taskStates, vmStates, type NovaObjectOf } from '../objects/index.js';
import type { RequestContext } from '../rpc/context.js';
import { powerStates } from '../virt/index.js';
import { hardRebootTasks, softRebootTasks } from '../instances/index.js';
import { isDeletedMeanwhile, isInstanceGone, isTaskStateConflict } from './error-text.js';
import { stopOptions } from './grace.js';
import { endGuest } from './machine-steps.js';
import { bringUp, powerAttributes } from './power-steps.js';
import type { ComputeDeps } from './deps.js';
import { instanceArgument, performOwn, type InstanceMethod, type Operation } from './operation.js';
import { saveState, saveWithPower } from './save-state.js';
import { recordFault } from './wrappers.js';

const args = z.looseObject({ instance: instanceArgument, reboot_type: z.enum(['SOFT', 'HARD']) });
type Args = z.infer<typeof args>;

/**
 * Reboot. SOFT asks the guest by ACPI and falls back to HARD; HARD ends the guest and makes it anew from Nova's database and its
 * disks: the universal repair, which must work on an instance in error too.
 */
export const rebootInstance: InstanceMethod<Args> = {
  kind: 'instance',
  rpc: 'reboot_instance',
  args,
  wrappers: { revertsTask: true, event: 'compute_reboot_instance', recordsFault: true },
  gate: 'reboot',
  isJournalled: true,
  resumeTasks: [...softRebootTasks, ...hardRebootTasks],
  run: reboot,
};

async function reboot(operation: Operation<Args>): Promise<null> {
  const { args: { instance, reboot_type: type }, context, deps, isResumed } = operation;
  const isSoft = type === 'SOFT';
  const pending = isSoft ? taskStates.rebootPending : taskStates.rebootPendingHard;
  const started = isSoft ? taskStates.rebootStarted : taskStates.rebootStartedHard;
  const states = isSoft ? softRebootTasks : hardRebootTasks;
  const wasRescued = instance.get('vm_state') === vmStates.rescued;

  await deps.conductor.instances.load(context, instance, powerAttributes);
  const vifs = await deps.ports.refresh(context, instance);
  await saveWithPower(deps, context, instance, { taskState: pending }, states);
  await saveState(deps, context, instance, { taskState: started }, isResumed ? [pending, started] : pending);
  try {
    await act(operation, vifs, isSoft);
  } catch (error) {
    if (isDeletedMeanwhile(error)) return null;
    if (isInstanceGone(error) || isTaskStateConflict(error)) throw error;
    await settleFailure(operation, error);
    return null;
  }
  await saveWithPower(deps, context, instance, { vmState: wasRescued ? vmStates.rescued : vmStates.active, taskState: null });
  return null;
}

async function act({ id, args: { instance }, deps, signal, log }: Operation<Args>, vifs: NetworkInfo, isSoft: boolean): Promise<void> {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  if (isSoft && (await softReboot(deps, uuid, instance, signal))) return;
  if (isSoft) log.info('guest did not reboot by itself; going hard');
  await runSteps(deps.journal, id, [endGuest(deps, uuid, { graceMs: 0, retryMs: 0 }), ...bringUp(deps, instance, vifs)], signal);
}

async function softReboot(deps: Operation<Args>['deps'], uuid: InstanceUuid, instance: NovaObjectOf<'Instance'>, signal: AbortSignal): Promise<boolean> {
  if ((await deps.driver.state(uuid)).kind !== 'running') return false;
  return deps.driver.softReboot(uuid, { ...stopOptions(deps.options, instance, true), signal });
}

/** A guest that still runs keeps its vm_state and gets a fault; one that is gone puts the instance into error. */
async function settleFailure({ args: { instance }, context, deps, log }: Operation<Args>, error: unknown): Promise<void> {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  const power = await deps.driver.powerState(uuid);
  if (power !== powerStates.running) {
    instance.set('vm_state', vmStates.error);
    instance.set('power_state', power);
    throw error;
  }
  log.warn({ err: error }, 'reboot failed; the guest still runs');
  await recordFault(deps, context, uuid, error);
  await saveWithPower(deps, context, instance, { taskState: null });
}

/** A reboot on our own behalf, of an instance whose reboot was cut short. The caller holds the gate. */
export async function rebootAgain(deps: ComputeDeps, context: RequestContext, instance: NovaObjectOf<'Instance'>, type: 'SOFT' | 'HARD', signal: AbortSignal): Promise<void> {
  // The method begins with the "pending" task whatever it was; the row must match what it expects.
  await saveState(deps, context, instance, { taskState: type === 'SOFT' ? taskStates.rebootPending : taskStates.rebootPendingHard });
  await performOwn(deps, rebootInstance, context, { instance, reboot_type: type }, signal);
}
