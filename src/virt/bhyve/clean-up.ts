/**
 * Puts away what a guest left when its supervisor could not: the vmm entry (which holds the guest's memory until it is destroyed), a console
 * reader, markers. Only for guests of ours that no process runs any more.
 */
import { AgentError } from '../../lib/errors.js';
import type { InstanceUuid } from '../../lib/ids.js';
import type { ProcessInfo } from '../../host/index.js';
import type { Logger } from '../../observe/index.js';
import { guestProcesses, vmmEntry, type ObserveDeps } from './observe-guest.js';
import type { SortedProcesses } from './proof.js';
import type { StoredVerdict } from './verdict.js';

/** Removes the vmm entry; none is fine. AgentError `vmm-busy` (retry later) if it stays. */
export async function destroyVmm({ host }: Pick<ObserveDeps, 'host'>, instance: InstanceUuid): Promise<void> {
  if (!(await host.files.exists(vmmEntry(host, instance)))) return;
  // Gone meanwhile: exit 1. What counts is whether the entry is there afterwards.
  await host.run('bhyvectl', [`--vm=${instance}`, '--destroy'], { okExits: 'any' });
  if (await host.files.exists(vmmEntry(host, instance))) {
    throw new AgentError('vmm-busy', `the vmm entry of ${instance} could not be removed: see who uses it with fstat(1)`, { retry: 'later' });
  }
}

/** Ends console readers whose supervisor is gone. */
export async function endReaders({ host }: Pick<ObserveDeps, 'host'>, readers: readonly ProcessInfo[]): Promise<void> {
  for (const { pid, startedAtSeconds, command } of readers) await host.processes.signal({ pid, startedAtSeconds, command }, 'SIGTERM');
}

/**
 * Cleans after a guest of which nothing runs any more and writes `verdict` if the supervisor wrote none. Throws AgentError
 * `guest-unproven` rather than touch a vmm entry that a process which is not ours uses. `all`: a process list of this moment.
 */
export async function cleanLeftovers(deps: ObserveDeps, instance: InstanceUuid, verdict: StoredVerdict | null, log: Logger, all?: SortedProcesses): Promise<void> {
  const found = await guestProcesses(deps, instance, all);
  refuseStrangers(instance, found.strangers);
  await endReaders(deps, found.consoleReaders);
  await destroyVmm(deps, instance);
  if (verdict !== null && (await deps.files.readVerdict(instance)) === undefined) await deps.files.writeVerdict(instance, verdict);
  await deps.files.forget(instance, ['status', 'lock', 'stopMarker']);
  log.debug({ instance }, 'cleaned up after a guest');
}

/** AgentError `guest-unproven` if some process runs under the guest's name that we did not start. */
export function refuseStrangers(instance: InstanceUuid, strangers: readonly ProcessInfo[]): void {
  const [stranger] = strangers;
  if (stranger === undefined) return;
  throw new AgentError('guest-unproven',
    `process ${stranger.pid} runs a guest named ${instance} that this agent did not start: end it by hand, then try again`, { retry: 'later' });
}
