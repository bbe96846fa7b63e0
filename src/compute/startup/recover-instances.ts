/**
 * Brings every instance of this host to a state that Nova's users can go on from (nova-contract section 3). Operations that the
 * journal knows as begun are run again by the caller and are left out here; of the rest the table in instances/recovery.ts decides.
 * One bad instance never stops the service.
 */
import { parseInstanceUuid, type InstanceUuid } from '../../lib/ids.js';
import { unreachable } from '../../lib/assert.js';
import { taskStates, vmStates, type NovaObjectOf } from '../../objects/index.js';
import type { RequestContext } from '../../rpc/context.js';
import { decideRecovery, type GateKind, type RecoveryAction } from '../../instances/index.js';
import { powerStates, type PowerState } from '../../virt/index.js';
import type { ComputeDeps } from '../deps.js';
import { actAll, removeFromMachine } from '../machine-steps.js';
import { performOwn } from '../operation.js';
import { pauseInstance } from '../pause-instance.js';
import { rebootAgain } from '../reboot-instance.js';
import { bringUp, powerAttributes } from '../power-steps.js';
import { giveUpPreparedMove, undoMove } from '../resize/give-up-move.js';
import { saveState, saveWithPower } from '../save-state.js';
import { resumeInstance } from '../resume-instance.js';
import { startInstance } from '../start-instance.js';
import { suspendInstance } from '../suspend-instance.js';
import { stopInstance } from '../stop-instance.js';
import { deleteWithoutJournal } from '../terminate-instance.js';
import { unpauseInstance } from '../unpause-instance.js';

/** What the rows need to carry. */
export const recoveryAttributes = ['flavor', 'info_cache', 'metadata', 'system_metadata', 'numa_topology'] as const;

/** `journalled`: instances whose begun operation will be run again. Long work (graceful stops) goes on behind the instance's gate. */
export async function recoverInstances(deps: ComputeDeps, instances: readonly NovaObjectOf<'Instance'>[], journalled: ReadonlySet<InstanceUuid>): Promise<void> {
  const ours = instances.filter((instance) => !journalled.has(parseInstanceUuid(instance.get('uuid'))));
  // One look at the processes for all of them: a host full of guests starts in seconds.
  const powers = await deps.driver.powerStates(ours.map((instance) => parseInstanceUuid(instance.get('uuid'))));
  await Promise.all(ours.map(async (instance) => {
    const uuid = parseInstanceUuid(instance.get('uuid'));
    try {
      const guestPower = powers.get(uuid) ?? (await deps.driver.powerState(uuid));
      const action = decideRecovery(
        { host: instance.get('host'), vmState: instance.get('vm_state'), taskState: instance.get('task_state'), recordedPower: instance.get('power_state'), guestPower },
        deps.options.host, deps.options.resumeGuestsOnHostBoot,
      );
      if (action.kind !== 'settle' || action.clearTask || action.resumeGuest) {
        deps.log.info({ instance: uuid, action: action.kind, vmState: instance.get('vm_state'), taskState: instance.get('task_state') }, 'instance recovered');
      }
      await apply(deps, instance, uuid, action, guestPower);
    } catch (err) {
      deps.log.error({ err, instance: uuid }, 'instance not recovered');
    }
  }));
}

async function apply(deps: ComputeDeps, instance: NovaObjectOf<'Instance'>, uuid: InstanceUuid, action: RecoveryAction, guestPower: PowerState): Promise<void> {
  const context = deps.ownContext();
  switch (action.kind) {
    case 'skip':
      return;
    case 'set-error':
      if (instance.get('vm_state') === vmStates.building) await removeFromMachine(deps, uuid); // it never was the user's
      return saveState(deps, context, instance, { vmState: vmStates.error, taskState: null });
    case 'clear-task':
      return saveState(deps, context, instance, { taskState: null, ...(action.vmState === null ? {} : { vmState: action.vmState }) });
    case 'settle':
      if (action.clearTask) await clearTask(deps, context, instance);
      if (action.resumeGuest) return later(deps, uuid, 'start', (signal) => resumeGuest(deps, context, instance, signal));
      return guestPower === powerStates.running ? later(deps, uuid, 'plug', (signal) => plugAgain(deps, instance, uuid, signal)) : undefined;
    case 'finish-delete':
    case 'delete-again':
      return later(deps, uuid, 'delete', () => deleteAgain(deps, context, instance));
    case 'undo-move':
      return later(deps, uuid, 'resize', () => undoMove(deps, context, instance));
    case 'stop':
      return later(deps, uuid, 'stop', (signal) => performOwn(deps, stopInstance, context, { instance, clean_shutdown: true }, signal));
    case 'start':
      return later(deps, uuid, 'start', (signal) => performOwn(deps, startInstance, context, { instance }, signal));
    case 'pause':
      return later(deps, uuid, 'pause', (signal) => performOwn(deps, pauseInstance, context, { instance }, signal));
    case 'unpause':
      return later(deps, uuid, 'unpause', (signal) => performOwn(deps, unpauseInstance, context, { instance }, signal));
    case 'suspend':
      return later(deps, uuid, 'suspend', (signal) => performOwn(deps, suspendInstance, context, { instance }, signal));
    case 'resume':
      return later(deps, uuid, 'resume', (signal) => performOwn(deps, resumeInstance, context, { instance }, signal));
    case 'reboot':
      return later(deps, uuid, 'reboot', (signal) => rebootAgain(deps, context, instance, action.type, signal));
    default:
      return unreachable(action);
  }
}

/** Behind the gate and not awaited: a guest that takes a minute to stop must not keep the service down. */
function later(deps: ComputeDeps, uuid: InstanceUuid, kind: GateKind, work: (signal: AbortSignal) => Promise<void>): void {
  deps.gate.run(uuid, kind, work).catch((err: unknown) => deps.log.error({ err, instance: uuid, kind }, 'recovery of an instance failed'));
}

/**
 * Puts a running guest's taps back where they belong: somebody may have restarted the host's network. Nova sets an instance whose vifs
 * cannot be plugged to error; we do not, because a guest that runs is worth more than a Neutron that happens to be away.
 */
async function plugAgain(deps: ComputeDeps, instance: NovaObjectOf<'Instance'>, uuid: InstanceUuid, signal: AbortSignal): Promise<void> {
  for (const vif of deps.ports.cached(instance)) {
    try {
      await deps.plugger.plug(uuid, vif, signal);
    } catch (err) {
      deps.log.warn({ err, instance: uuid, port: vif.id }, 'port of a running guest not plugged again');
    }
  }
}

async function clearTask(deps: ComputeDeps, context: RequestContext, instance: NovaObjectOf<'Instance'>): Promise<void> {
  const wasPreparingMove = instance.get('task_state') === taskStates.resizePrep;
  await saveState(deps, context, instance, { taskState: null });
  if (wasPreparingMove) await giveUpPreparedMove(deps, context, instance);
}

/** States in which a server runs and that a start would end: it is brought up as it was defined, and stays what it is. */
const keptStates: ReadonlySet<string | null> = new Set([vmStates.rescued, vmStates.resized]);

async function resumeGuest(deps: ComputeDeps, context: RequestContext, instance: NovaObjectOf<'Instance'>, signal: AbortSignal): Promise<void> {
  if (keptStates.has(instance.get('vm_state'))) {
    await deps.conductor.instances.load(context, instance, powerAttributes);
    await actAll(bringUp(deps, instance, await deps.ports.refresh(context, instance)), signal);
    return saveWithPower(deps, context, instance, {});
  }
  await saveState(deps, context, instance, { taskState: taskStates.poweringOn });
  try {
    await performOwn(deps, startInstance, context, { instance }, signal);
  } catch (error) {
    await saveState(deps, context, instance, { vmState: vmStates.error, taskState: null });
    throw error;
  }
}

async function deleteAgain(deps: ComputeDeps, context: RequestContext, instance: NovaObjectOf<'Instance'>): Promise<void> {
  try {
    await deleteWithoutJournal(deps, context, instance, new AbortController().signal);
  } catch (error) {
    await saveState(deps, context, instance, { vmState: vmStates.error });
    throw error;
  }
}
