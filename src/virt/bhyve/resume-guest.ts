/**
 * Going on with a saved guest. Everything that bhyve does not check is checked first, while nothing is touched: a save of other files, another host or other
 * disks is refused and stays. The caller holds the guest's mutex.
 *
 *   saved ──checked──▶ started with -r ──up, and still up two seconds later──▶ running, save removed
 *                                   └──refused by bhyve, or ended at once──▶ off, save kept
 *
 * An operator may have allowed a save of another host (allow-save.ts).
 * A guest that ran for a moment may have written to its disks: then the next attempt finds them changed and refuses, and a cold start is what is left.
 */
import { AgentError, codeOf } from '../../lib/errors.js';
import type { InstanceUuid } from '../../lib/ids.js';
import { novaFaults } from '../../lib/nova-faults.js';
import type { DiskEvidence } from '../../storage/index.js';
import type { HypervisorDriver } from '../types.js';
import { readAllowance, useUpAllowance } from './allow-save.js';
import { checkSave } from './check-save.js';
import { readStoredSpec } from './define-guest.js';
import { putAway, settled, startGuest, type LifecycleDeps } from './lifecycle.js';
import { screenLinesOf, withScreenLines } from './render-config.js';
import { saveLimitMs } from './savable.js';
import { manifestName, parseManifest } from './save-manifest.js';

/** How long a restored guest must run to count as one. */
const provenMs = 2000;

type Options = Parameters<HypervisorDriver['resume']>[1];

/** See HypervisorDriver.resume. The pid of the guest. */
export async function resumeGuest(deps: LifecycleDeps, instance: InstanceUuid, options: Options): Promise<number> {
  const seen = await settled(deps, instance);
  const pid = seen.kind === 'running' ? seen.process.pid : await restore(deps, instance, options);
  await deps.files.forget(instance, ['save']);
  return pid;
}

async function restore(deps: LifecycleDeps, instance: InstanceUuid, { disks, signal, onUp }: Options): Promise<number> {
  const config = await checkedConfig(deps, instance, disks, signal);
  const { save, config: configPath, variableStore } = deps.files.paths(instance);
  const { host } = deps;
  try {
    await startGuest(deps, instance, {
      save: `${save}/ram`,
      timeoutMs: saveLimitMs(await readStoredSpec(deps.files, instance)),
      putFiles: async () => {
        await host.files.writeAtomic(configPath, withScreenOf(config, (await host.files.readText(configPath)) ?? ''), 0o600);
        if (await host.files.exists(`${save}/nvram.fd`)) await host.files.copy(`${save}/nvram.fd`, variableStore, 0o600);
      },
    });
    onUp?.();
    await deps.clock.sleep(provenMs);
    const after = await settled(deps, instance);
    if (after.kind === 'running') return after.process.pid;
    await putAway(deps, instance, false);
    throw new AgentError('guest-start-failed', `bhyve ended right after it had restored the guest: ${await deps.files.lastWords(instance)}`);
  } catch (error) {
    if (codeOf(error) !== 'guest-start-failed') throw error;
    await useUpAllowance(deps, instance);
    throw await fellBack(deps, instance, error);
  }
}

/** Off, as if somebody had switched it off; the verdict tells why. */
async function fellBack(deps: LifecycleDeps, instance: InstanceUuid, cause: unknown): Promise<AgentError> {
  const what = 'bhyve did not take the save back, or the guest ended at once; it is off, and the save is kept';
  const verdict = await deps.files.readVerdict(instance);
  if (verdict !== undefined) await deps.files.writeVerdict(instance, { ...verdict, isStopping: true, isSuspending: false, reason: what });
  return new AgentError('guest-resume-failed', what, { cause, wire: novaFaults.instanceResumeFailure(what) });
}

/** The saved configuration, with the address and the password of the screen that this run has. */
export function withScreenOf(saved: string, now: string): string {
  const lines = screenLinesOf(now);
  return lines === '' ? saved : withScreenLines(saved, lines);
}

const refusal = (code: 'save-missing' | 'save-mismatch', what: string): AgentError => new AgentError(code, what, { wire: novaFaults.instanceResumeFailure(what) });

/** Checks the save; gives its bhyve.conf. */
async function checkedConfig(deps: LifecycleDeps, instance: InstanceUuid, disks: DiskEvidence, signal: AbortSignal): Promise<string> {
  const { save } = deps.files.paths(instance);
  const text = await deps.host.files.readText(`${save}/${manifestName}`);
  if (text === undefined) throw refusal('save-missing', 'this host has no save of it; a hard reboot starts it anew');
  try {
    const manifest = parseManifest(instance, text);
    const changed = changedDisk(manifest.disks, disks);
    if (changed !== null) throw refusal('save-mismatch', `its ${changed} disk is not as it was when the guest was saved; a hard reboot starts it anew`);
    return await checkSave(deps, instance, { folder: save, manifest, allowance: await readAllowance(deps, save, text) }, signal);
  } catch (error) {
    if (!(error instanceof AgentError) || error.code !== 'save-damaged') throw error;
    throw new AgentError('save-damaged', 'its save is damaged', { cause: error, wire: novaFaults.instanceResumeFailure('its save is damaged; a hard reboot starts it anew') });
  }
}

const changedDisk = (then: DiskEvidence, now: DiskEvidence): string | null =>
  [...new Set([...Object.keys(then), ...Object.keys(now)])].find((role) => then[role] !== now[role]) ?? null;
