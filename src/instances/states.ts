/** Sets of Nova's states that several decisions share (nova.compute.api and nova.compute.manager; Zed to 2026.2). */
import { taskStates, vmStates } from '../objects/index.js';

/** vm_states in which a soft reboot is allowed. */
export const softRebootable: readonly string[] = [vmStates.active];
export const hardRebootable: readonly string[] = [vmStates.active, vmStates.stopped, vmStates.paused, vmStates.suspended, vmStates.error];

export const softRebootTasks: readonly string[] = [taskStates.rebooting, taskStates.rebootPending, taskStates.rebootStarted];
export const hardRebootTasks: readonly string[] = [taskStates.rebootingHard, taskStates.rebootPendingHard, taskStates.rebootStartedHard];
