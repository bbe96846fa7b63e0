/** Ending a running guest: the ACPI power button for a while, then force. */
import type { Clock } from '../../lib/clock.js';
import { AgentError } from '../../lib/errors.js';
import type { InstanceUuid } from '../../lib/ids.js';
import type { ProcessInfo } from '../../host/index.js';
import type { Logger } from '../../observe/index.js';
import type { HostCapabilities, StopOptions } from '../types.js';
import { observeGuest, type ObserveDeps, type Observation } from './observe-guest.js';
import { isStopped, proofOfGuest } from './proof.js';

const pollMs = 200;
/** A caller that names no interval must not make us press the button without pause. */
const minRetryMs = 1000;
/** How long a forced power-off may take before SIGKILL, and SIGKILL before we give up. */
const forceMs = 5000;
const killMs = 20_000;

export interface PowerDeps extends ObserveDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly capabilities: () => HostCapabilities;
}

/**
 * Presses the power button each `retryMs` until the guest ended or `graceMs` are over; says whether it ended. Before the guest has switched
 * ACPI on, the signal ends bhyve at once: nothing runs yet that could lose data. arm64 has no power button: not pressed there.
 */
export async function pressPowerButton(deps: PowerDeps, instance: InstanceUuid, process: ProcessInfo, options: StopOptions): Promise<boolean> {
  if (deps.capabilities().architecture === 'arm64') return false;
  // A guest whose process is stopped (paused) cannot hear it.
  if (isStopped(process)) return false;
  const deadline = deps.clock.monotonicMs() + options.graceMs;
  while (deps.clock.monotonicMs() < deadline) {
    if (!(await deps.host.processes.signal(proofOfGuest(instance, process), 'SIGTERM'))) break;
    const left = deadline - deps.clock.monotonicMs();
    if (await waitForVerdict(deps, instance, Math.min(Math.max(options.retryMs, minRetryMs), left), options.signal)) return true;
  }
  return hasEnded(await observeGuest(deps, instance));
}

/** Ends the guest without asking it. AgentError `guest-stop-failed` if even SIGKILL does not. */
export async function forceOff(deps: PowerDeps, instance: InstanceUuid, process: ProcessInfo): Promise<void> {
  // Neither would a paused one act on the power-off; SIGKILL ends it all the same.
  if (!isStopped(process)) {
    // 255 with errno 37 when it is ending already: the wait tells.
    await deps.host.run('bhyvectl', [`--vm=${instance}`, '--force-poweroff'], { okExits: 'any' });
    if (await waitForEnd(deps, instance, forceMs)) return;
  }
  deps.log.warn({ instance }, 'a guest did not obey; killing bhyve');
  await deps.host.processes.signal(proofOfGuest(instance, process), 'SIGKILL');
  if (await waitForEnd(deps, instance, killMs)) return;
  throw new AgentError('guest-stop-failed', `bhyve of ${instance} (pid ${process.pid}) does not end: see procstat -kk ${process.pid}`, { retry: 'later' });
}

const hasEnded = (seen: Observation): boolean => seen.kind === 'ended' || seen.kind === 'left-over';

/** Polls the verdict, which is cheap; a guest without a supervisor needs the process list, once a second. */
async function waitForVerdict(deps: PowerDeps, instance: InstanceUuid, ms: number, signal?: AbortSignal): Promise<boolean> {
  const deadline = deps.clock.monotonicMs() + ms;
  let nextLook = deps.clock.monotonicMs() + 1000;
  for (;;) {
    if ((await deps.files.readVerdict(instance)) !== undefined) return true;
    const now = deps.clock.monotonicMs();
    if (now >= nextLook) {
      if (hasEnded(await observeGuest(deps, instance))) return true;
      nextLook = now + 1000;
    }
    if (now >= deadline) return false;
    await deps.clock.sleep(Math.min(pollMs, Math.max(1, deadline - now)), signal);
  }
}

const waitForEnd = async (deps: PowerDeps, instance: InstanceUuid, ms: number): Promise<boolean> =>
  (await waitForVerdict(deps, instance, ms)) || hasEnded(await observeGuest(deps, instance));

/** Waits until the supervisor has put everything away; false after `ms`. */
export async function waitForSupervisor(deps: PowerDeps, instance: InstanceUuid, ms: number): Promise<boolean> {
  const deadline = deps.clock.monotonicMs() + ms;
  while ((await deps.files.readStatus(instance)) !== undefined) {
    if (deps.clock.monotonicMs() >= deadline) return false;
    await deps.clock.sleep(50);
  }
  return true;
}
