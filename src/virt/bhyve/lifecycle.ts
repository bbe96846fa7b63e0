/** Starting, stopping, rebooting and removing a guest. The caller holds the guest's mutex. */
import { AgentError } from '../../lib/errors.js';
import type { InstanceUuid } from '../../lib/ids.js';
import { novaFaults } from '../../lib/nova-faults.js';
import type { StopOptions } from '../types.js';
import { cleanLeftovers, refuseStrangers } from './clean-up.js';
import { refreshScreen, writeGuestFiles, type DefineDeps } from './define-guest.js';
import { guestProcesses, observeGuest, vmmEntry, type Observation } from './observe-guest.js';
import { dropPartial } from './partial-save.js';
import { forceOff, pressPowerButton, waitForSupervisor, type PowerDeps } from './power.js';
import { guestTitle } from './proof.js';
import type { StoredVerdict } from './verdict.js';

export type LifecycleDeps = PowerDeps & DefineDeps & {
  readonly startTimeoutMs: number;
  readonly consoleLogMaxBytes: number;
  /** The self-test's: guests are saved to see whether they come back, whatever is known of that. */
  readonly isTrial: boolean;
};

export type Running = Extract<Observation, { kind: 'running' }>;

/** A start that goes on from a save instead of from the firmware. */
export interface RestoredStart {
  /** bhyve's FILE. */
  readonly save: string;
  /** Puts the files of the saved run in their places, after those of an ordinary start were written. */
  readonly putFiles: () => Promise<void>;
  /** bhyve reads the whole memory before it is up. */
  readonly timeoutMs: number;
}

const supervisorEndMs = 15_000;
const comingUpMs = 10_000;

/** Waits while the supervisor is between two runs of bhyve. */
export async function settled(deps: LifecycleDeps, instance: InstanceUuid): Promise<Exclude<Observation, { kind: 'coming-up' }>> {
  const deadline = deps.clock.monotonicMs() + comingUpMs;
  for (;;) {
    const seen = await observeGuest(deps, instance);
    if (seen.kind !== 'coming-up') return seen;
    if (deps.clock.monotonicMs() >= deadline) {
      throw new AgentError('guest-unsettled', `the supervisor of ${instance} runs, but no bhyve under it: see bhyve.log`, { retry: 'later' });
    }
    await deps.clock.sleep(200);
  }
}

/** The guest's process. AgentError `guest-not-running` for a guest that is off. */
export async function runningGuest(deps: LifecycleDeps, instance: InstanceUuid): Promise<Running> {
  const seen = await settled(deps, instance);
  if (seen.kind === 'running') return seen;
  throw new AgentError('guest-not-running', `guest ${instance} does not run`, { wire: novaFaults.instanceNotRunning(instance) });
}

/** A verdict for a guest whose end nobody saw. */
export const unseenEnd = (deps: Pick<LifecycleDeps, 'clock'>, reason: string, isStopping = false): StoredVerdict => ({
  exit: null, atSeconds: Math.floor(deps.clock.now().getTime() / 1000), isStopping, isSuspending: false, reason,
});

/**
 * Starts the guest unless it runs. Resolves when bhyve has set up all devices (it then takes its title). AgentError
 * `guest-start-failed` with bhyve's last words.
 */
export async function startGuest(deps: LifecycleDeps, instance: InstanceUuid, restored: RestoredStart | null = null): Promise<Running> {
  const all = await deps.host.processes.list();
  const first = await observeGuest(deps, instance, all);
  const seen = first.kind === 'coming-up' ? await settled(deps, instance) : first;
  if (seen.kind === 'running') return seen;
  const hasWaited = seen !== first || (seen.kind === 'ended' && seen.isSupervised);
  if (seen.kind === 'ended' && seen.isSupervised) await waitForSupervisor(deps, instance, supervisorEndMs);
  await cleanLeftovers(deps, instance, null, deps.log, hasWaited ? undefined : all);
  await refreshScreen(deps, instance);
  await writeGuestFiles(deps, instance);
  await restored?.putFiles();
  const paths = deps.files.paths(instance);
  if (await deps.host.files.exists(paths.bhyveLog)) await deps.host.files.rename(paths.bhyveLog, `${paths.bhyveLog}.1`);
  await deps.host.files.makeDirectory(deps.files.events, 0o700);
  await dropPartial(deps, instance);
  await deps.files.forget(instance, ['verdict', 'suspendMarker', 'restore']);
  if (restored !== null) await deps.host.files.writeAtomic(paths.restore, `${restored.save}\n`);
  await launchSupervisor(deps, instance);
  const timeoutMs = Math.max(deps.startTimeoutMs, restored?.timeoutMs ?? 0);
  const running = await waitForTitle(deps, instance, timeoutMs);
  if (running !== undefined) return running;
  throw await startFailure(deps, instance, timeoutMs);
}

async function launchSupervisor(deps: LifecycleDeps, instance: InstanceUuid): Promise<void> {
  const { host, files } = deps;
  const paths = files.paths(instance);
  const [bhyve, bhyvectl, sh] = (['bhyve', 'bhyvectl', 'sh'] as const).map((tool) => {
    const path = host.toolPath(tool);
    if (path === undefined) throw new AgentError('command-missing', `this host has no ${tool}`, { details: { tool } });
    return path;
  }) as [string, string, string];
  const spec = await files.readSpec(instance);
  const console = `${host.deviceRoot}/nmdm${spec?.consoleUnit}B`;
  // -c: work from /, -f: no standard streams. daemon(8) execs the shell in a session of its own and is gone.
  await host.run('daemon', ['-c', '-f', sh, paths.supervisor, paths.folder, instance, bhyve, bhyvectl, console, vmmEntry(host, instance), files.events, await deps.boot(),
    String(deps.consoleLogMaxBytes)]);
}

/** The running guest, or undefined if it ended or did not come up in time. */
async function waitForTitle(deps: LifecycleDeps, instance: InstanceUuid, timeoutMs: number): Promise<Running | undefined> {
  const deadline = deps.clock.monotonicMs() + timeoutMs;
  for (let waitMs = 25; deps.clock.monotonicMs() < deadline; waitMs = Math.min(waitMs * 2, 400)) {
    if ((await deps.files.readVerdict(instance)) !== undefined) return undefined;
    const status = await deps.files.readStatus(instance);
    if (status?.phase === 'running') {
      const process = await deps.host.processes.find(status.pid);
      if (process?.command === guestTitle(instance)) return { kind: 'running', process, status, isSupervised: true };
    }
    await deps.clock.sleep(waitMs);
  }
  return undefined;
}

/** Makes sure that nothing of a failed start is left, and says why it failed. */
async function startFailure(deps: LifecycleDeps, instance: InstanceUuid, timeoutMs: number): Promise<AgentError> {
  const verdict = await deps.files.readVerdict(instance);
  const words = await deps.files.lastWords(instance);
  if (verdict === undefined) await stopGuest(deps, instance, { graceMs: 0, retryMs: 1000 });
  else await waitForSupervisor(deps, instance, supervisorEndMs);
  const how = verdict === undefined ? `did not come up within ${timeoutMs} ms` : `ended with ${verdict.exit ?? 'an unknown status'} while starting`;
  return new AgentError('guest-start-failed', `bhyve ${how}${words === '' ? '' : `: ${words}`}`, { details: { instance, exit: verdict?.exit ?? null } });
}

/** Ends guest and supervisor, and cleans /dev/vmm. Resolves with what is stored about the end; null for one that never ran. */
export async function stopGuest(deps: LifecycleDeps, instance: InstanceUuid, options: StopOptions): Promise<StoredVerdict | null> {
  const { host, files } = deps;
  if ((await files.readSpec(instance)) === undefined) return null;
  const seen = await observeGuest(deps, instance);
  if (seen.kind === 'running' || seen.kind === 'coming-up') {
    await host.files.writeAtomic(files.paths(instance).stopMarker, '');
    try {
      const now = await settled(deps, instance);
      if (now.kind === 'running') await endRunning(deps, instance, now, options);
    } catch (error) {
      // It runs on: a reboot of its own must not end it.
      await files.forget(instance, ['stopMarker']);
      throw error;
    }
  }
  return putAway(deps, instance, true);
}

async function endRunning(deps: LifecycleDeps, instance: InstanceUuid, running: Running, options: StopOptions): Promise<void> {
  if (options.graceMs > 0 && (await pressPowerButton(deps, instance, running.process, options))) return;
  options.signal?.throwIfAborted();
  const again = await settled(deps, instance);
  if (again.kind === 'running') await forceOff(deps, instance, again.process);
}

/** After an end: lets the supervisor finish, or does its work if it is gone. */
export async function putAway(deps: LifecycleDeps, instance: InstanceUuid, isStopping: boolean, reason = ''): Promise<StoredVerdict | null> {
  if ((await deps.files.readVerdict(instance)) !== undefined) await waitForSupervisor(deps, instance, supervisorEndMs);
  const seen = await observeGuest(deps, instance);
  const unseen = seen.kind === 'left-over' ? unseenEnd(deps, reason === '' ? 'the supervisor was gone when the guest ended' : reason, isStopping) : null;
  await cleanLeftovers(deps, instance, unseen, deps.log);
  const verdict = (await deps.files.readVerdict(instance)) ?? null;
  if (verdict === null || !isStopping || verdict.isStopping) return verdict;
  // Off because somebody wants it off, whatever happened before: the log has the crash, Nova's power state is "shutdown".
  const settledVerdict = { ...verdict, isStopping };
  await deps.files.writeVerdict(instance, settledVerdict);
  return settledVerdict;
}

/** Power button, then a start; false (and the guest as it was) if it does not end in time. */
export async function softRebootGuest(deps: LifecycleDeps, instance: InstanceUuid, options: StopOptions): Promise<boolean> {
  const seen = await settled(deps, instance);
  if (seen.kind !== 'running') return false;
  await deps.host.files.writeAtomic(deps.files.paths(instance).stopMarker, '');
  let hasEnded = false;
  try {
    hasEnded = await pressPowerButton(deps, instance, seen.process, options);
  } finally {
    if (!hasEnded) await deps.files.forget(instance, ['stopMarker']);
  }
  // It may have ended between the last look and the removal of the marker; the supervisor's word counts.
  if (!hasEnded && (await deps.files.readVerdict(instance)) === undefined) return false;
  await putAway(deps, instance, true);
  await startGuest(deps, instance);
  return true;
}

/** Stops by force if needed and removes the folder. AgentError `guest-unproven` if somebody else runs a guest of this name. */
export async function destroyGuest(deps: LifecycleDeps, instance: InstanceUuid): Promise<void> {
  const { host, files } = deps;
  const spec = await files.readSpec(instance);
  if (spec !== undefined) await stopGuest(deps, instance, { graceMs: 0, retryMs: 1000 });
  else refuseStrangers(instance, (await guestProcesses(deps, instance)).strangers);
  await dropPartial(deps, instance);
  await host.files.remove(files.paths(instance).folder, files.root);
  await host.files.remove(`${files.events}/${instance}`, files.events);
}
