/**
 * What to do with each instance when the agent starts (nova-contract section 3), as data: the first matching row wins.
 * Pure; the caller applies the actions and isolates failures, so that one bad instance never stops the service.
 */
import { powerStates, type PowerState } from '../virt/index.js';
import { taskStates as t, vmStates as v } from '../objects/index.js';
import { hardRebootTasks, hardRebootable, softRebootTasks, softRebootable } from './states.js';

export type RecoveryAction =
  | { readonly kind: 'skip'; readonly why: string }
  | { readonly kind: 'finish-delete' }
  | { readonly kind: 'delete-again' }
  | { readonly kind: 'set-error'; readonly why: string }
  | { readonly kind: 'reboot'; readonly type: 'SOFT' | 'HARD' }
  | { readonly kind: 'stop' }
  | { readonly kind: 'start' }
  /** Cut while it moved away: it stays. */
  | { readonly kind: 'undo-move' }
  | { readonly kind: 'pause' }
  | { readonly kind: 'unpause' }
  | { readonly kind: 'suspend' }
  | { readonly kind: 'resume' }
  /** A task that this agent never began: cleared so that the user can go on. */
  | { readonly kind: 'clear-task'; readonly vmState: string | null }
  /** Plug what should be plugged; start the guest if the operator wants guests back after a host reboot. */
  | { readonly kind: 'settle'; readonly clearTask: boolean; readonly resumeGuest: boolean };

export interface RecoveryFacts {
  readonly host: string | null;
  readonly vmState: string | null;
  readonly taskState: string | null;
  /** What the row says. */
  readonly recordedPower: number | null;
  /** What the machine says. */
  readonly guestPower: PowerState;
}

const among = (value: string | null, ...set: string[]): boolean => value !== null && set.includes(value);
const rebootTasks = [t.rebootStarted, t.rebootStartedHard, t.rebooting, t.rebootingHard];
const snapshotTasks = [t.imageSnapshotPending, t.imagePendingUpload, t.imageUploading, t.imageSnapshot];

export function decideRecovery(facts: RecoveryFacts, ourHost: string, resumeOnHostBoot: boolean): RecoveryAction {
  const { vmState, taskState } = facts;
  if (facts.host !== ourHost) return { kind: 'skip', why: 'the row names another host' };
  // Beyond Nova's table: a deletion of a soft-deleted server that was cut goes on, or nothing would ever take it up again.
  if (vmState === v.softDeleted && taskState === t.deleting) return { kind: 'delete-again' };
  if (vmState === v.softDeleted || (vmState === v.error && !among(taskState, t.resizeMigrating, t.deleting))) {
    return { kind: 'skip', why: `vm_state ${vmState}` };
  }
  if (vmState === v.deleted) return { kind: 'finish-delete' };
  if (vmState === v.building || among(taskState, t.scheduling, t.blockDeviceMapping, t.networking, t.spawning)) {
    return { kind: 'set-error', why: 'the build was interrupted' };
  }
  if (among(vmState, v.active, v.stopped) && among(taskState, t.rebuilding, t.rebuildBlockDeviceMapping, t.rebuildSpawning)) {
    return { kind: 'set-error', why: 'the rebuild was interrupted' };
  }
  if (taskState === t.deleting) return { kind: 'delete-again' };
  return recoverPower(facts, resumeOnHostBoot);
}

function recoverPower(facts: RecoveryFacts, resumeOnHostBoot: boolean): RecoveryAction {
  const { vmState, taskState, guestPower } = facts;
  const isRunning = guestPower === powerStates.running;
  const isPendingReboot =
    (taskState === t.rebootPending && vmState !== null && softRebootable.includes(vmState)) ||
    (taskState === t.rebootPendingHard && vmState !== null && hardRebootable.includes(vmState));
  if (isPendingReboot || (among(taskState, ...rebootTasks) && !isRunning)) {
    const isSoft = taskState !== null && softRebootTasks.includes(taskState);
    return { kind: 'reboot', type: isSoft && isRunning ? 'SOFT' : 'HARD' };
  }
  if (isRunning && among(taskState, ...softRebootTasks, ...hardRebootTasks, t.pausing, t.unpausing)) {
    return { kind: 'clear-task', vmState: v.active };
  }
  if (guestPower === powerStates.paused) {
    if (taskState === t.unpausing) return { kind: 'unpause' };
    // Nova's table forgets the server that was paused just before the end: its user could not even unpause it.
    if (taskState === t.pausing) return { kind: 'pause' };
  }
  // Beyond Nova's table, which leaves the task for ever. A save may be under way or done, and a message that comes late finds nothing left to do.
  if (taskState === t.suspending) return isRunning || guestPower === powerStates.suspended ? { kind: 'suspend' } : { kind: 'clear-task', vmState: null };
  if (taskState === t.resuming) return { kind: 'resume' };
  if (taskState === t.poweringOff) return { kind: 'stop' };
  if (taskState === t.poweringOn) return { kind: 'start' };
  if (taskState === t.resizeMigrating) return { kind: 'undo-move' };
  if (taskState === t.migrating) return { kind: 'clear-task', vmState: null };
  const wasRunning = facts.recordedPower === powerStates.running;
  const isDown = guestPower === powerStates.shutdown || guestPower === powerStates.crashed || guestPower === powerStates.noState;
  return {
    kind: 'settle',
    clearTask: among(taskState, ...snapshotTasks, t.resizePrep),
    resumeGuest: wasRunning && isDown && resumeOnHostBoot,
  };
}
