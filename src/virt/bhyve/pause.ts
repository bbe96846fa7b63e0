/**
 * Pausing: bhyve has no command for it, so its process is stopped (SIGSTOP) and continued (SIGCONT); the vCPUs are its threads. What that means:
 *
 *   supervisor       waits on: a stopped child has not ended. A paused guest outlives the agent as any other, and is found paused again by ps (T).
 *   memory, disks    stay as they are; what the guest had in flight is finished when it goes on.
 *   network          the taps stay; packets for the guest are dropped when their queues are full.
 *   serial console   the null modem holds what is typed until the guest goes on; the log gets nothing.
 *   VNC              bhyve draws and answers no more: no console is given, an open one freezes and goes on later.
 *   time             the TSC runs on: the guest's clock is right when it goes on, and its timers are due at once. A guest may complain about a lockup.
 *   power button     is not heard: a stop of a paused guest is a forced one. bhyvectl cannot end it either, SIGKILL does.
 *   NMI              is held by the kernel until the guest goes on.
 */
import { AgentError } from '../../lib/errors.js';
import type { InstanceUuid } from '../../lib/ids.js';
import { runningGuest, type LifecycleDeps } from './lifecycle.js';
import { isStopped, proofOfGuest } from './proof.js';

const limitMs = 5000;
const pollMs = 50;

/** Stops the guest's process. AgentError `guest-not-running`, or `guest-pause-failed` when it does not stop; then it is let run. */
export async function pauseGuest(deps: LifecycleDeps, instance: InstanceUuid): Promise<void> {
  try {
    await bring(deps, instance, 'SIGSTOP');
  } catch (error) {
    await signal(deps, instance, 'SIGCONT');
    throw error;
  }
}

/** Lets the guest's process go on. AgentError as with pausing. */
export async function unpauseGuest(deps: LifecycleDeps, instance: InstanceUuid): Promise<void> {
  await bring(deps, instance, 'SIGCONT');
}

/** True if the guest is as it should be now; false if it was told to become so. */
async function signal(deps: LifecycleDeps, instance: InstanceUuid, name: 'SIGSTOP' | 'SIGCONT'): Promise<boolean> {
  const { process } = await runningGuest(deps, instance);
  if (isStopped(process) === (name === 'SIGSTOP')) return true;
  await deps.host.processes.signal(proofOfGuest(instance, process), name);
  return false;
}

/** Threads in the kernel stop at their way out of it, so it may take a moment; a guest that rebooted meanwhile is told again. */
async function bring(deps: LifecycleDeps, instance: InstanceUuid, name: 'SIGSTOP' | 'SIGCONT'): Promise<void> {
  const deadline = deps.clock.monotonicMs() + limitMs;
  while (!(await signal(deps, instance, name))) {
    if (deps.clock.monotonicMs() >= deadline) {
      throw new AgentError('guest-pause-failed', `bhyve of ${instance} did not obey ${name} within ${limitMs} ms`, { retry: 'later' });
    }
    await deps.clock.sleep(pollMs);
  }
}
