/**
 * Saving a guest with bhyvectl --suspend. The caller holds the guest's mutex.
 *
 *   running ──mark, request──▶ saving ──ended with 0 or 5, files complete──▶ disks held still ──manifest, rename──▶ saved
 *                                │  └──ended otherwise, or files that are not complete──▶ off (crashed), nothing of the save left
 *                                └──goes on──▶ running, nothing of the save left
 *
 * The mark `suspending` is on disk before bhyve is asked: up to 14 bhyve ends a save with 0 as it ends a reboot, and only the mark keeps the supervisor from
 * starting the guest cold over its own save. The save becomes one by the last rename; until then a repetition of the call goes on from what it finds.
 */
import { withTimeout } from '../../lib/clock.js';
import { AgentError, codeOf } from '../../lib/errors.js';
import type { InstanceUuid } from '../../lib/ids.js';
import { novaFaults } from '../../lib/nova-faults.js';
import type { HypervisorDriver } from '../types.js';
import { faultsOfSave, maxMetaBytes, parseSaveMeta, type SaveMeta } from '../saves/index.js';
import { isFromBoot } from './boot-id.js';
import { readStoredSpec } from './define-guest.js';
import { digestFile } from './digest-file.js';
import { putAway, settled, type LifecycleDeps } from './lifecycle.js';
import { dropPartial, gather, makePartial } from './partial-save.js';
import { configOf, expectationOf, placeBesideDisk, whyNotSavable } from './savable.js';
import { withoutScreenPassword } from './render-config.js';
import { readSaveIdentity } from './save-identity.js';
import { manifestName, manifestVersion, renderManifest, saveFiles, type SaveManifest } from './save-manifest.js';
import type { StoredVerdict } from './verdict.js';
import { watchSave } from './watch-save.js';

type Options = Parameters<HypervisorDriver['suspend']>[1];

/** A complete save is there. */
export const hasSave = ({ host, files }: Pick<LifecycleDeps, 'host' | 'files'>, instance: InstanceUuid): Promise<boolean> =>
  host.files.exists(`${files.paths(instance).save}/${manifestName}`);

/** See HypervisorDriver.isSaving. */
export async function isSaving({ host, files }: Pick<LifecycleDeps, 'host' | 'files'>, instance: InstanceUuid): Promise<boolean> {
  const { suspendMarker, partialSave } = files.paths(instance);
  return (await host.files.exists(suspendMarker)) || (await host.files.exists(partialSave));
}

/** See HypervisorDriver.suspend. */
export async function suspendGuest(deps: LifecycleDeps, instance: InstanceUuid, options: Options): Promise<void> {
  const { host, files } = deps;
  const paths = files.paths(instance);
  const seen = await settled(deps, instance);
  if (seen.kind === 'running') {
    // A save that was asked for before the agent was restarted may be under way.
    let isOver = (await host.files.exists(paths.suspendMarker)) && (await watchSave(deps, instance, options.signal)) === 'ended';
    if (!isOver) {
      await requestSave(deps, instance);
      isOver = (await watchSave(deps, instance, options.signal)) === 'ended' || !(await withdraw(deps, instance));
    }
    if (!isOver) throw suspendFailure('bhyve could not save it, and lets it go on', await files.lastWords(instance));
  } else if (!(await host.files.exists(paths.partialSave))) {
    if (await hasSave(deps, instance)) return;
    throw new AgentError('guest-not-running', `guest ${instance} does not run`, { wire: novaFaults.instanceNotRunning(instance) });
  }
  await completeSave(deps, instance, options);
}

const suspendFailure = (what: string, words = ''): AgentError =>
  new AgentError('guest-suspend-failed', words === '' ? what : `${what}: ${words}`, { wire: novaFaults.instanceSuspendFailure(what) });

async function requestSave(deps: LifecycleDeps, instance: InstanceUuid): Promise<void> {
  const { host, files } = deps;
  const paths = files.paths(instance);
  // Of an attempt that came to nothing, and of a time before the guest went on.
  await dropPartial(deps, instance);
  await files.forget(instance, ['suspendMarker', 'save']);
  const why = await whyNotSavable(deps, instance);
  if (why !== null) throw new AgentError('guest-not-savable', why, { wire: novaFaults.instanceSuspendFailure(why) });
  const place = await makePartial(deps, instance, await placeBesideDisk(deps, instance));
  await host.files.writeAtomic(`${paths.partialSave}/bhyve.conf`, withoutScreenPassword(await configOf(deps, instance)), 0o600);
  await host.files.writeAtomic(paths.suspendMarker, await deps.boot());
  // An absolute path: 13 takes another one relative to bhyve's folder, 15 to bhyvectl's.
  try {
    await host.run('bhyvectl', [`--vm=${instance}`, `--suspend=${place}/ram`], { okExits: 'any', timeoutMs: 60_000 });
  } catch (err) {
    if (!(err instanceof AgentError)) throw err;
    deps.log.warn({ err, instance }, 'bhyvectl failed; what the guest does now decides'); // the request may have been sent
  }
}

/** Takes the mark back. False if the guest has ended before that was seen: then there is a save to be judged. */
async function withdraw(deps: LifecycleDeps, instance: InstanceUuid): Promise<boolean> {
  await deps.files.forget(instance, ['suspendMarker']);
  if ((await settled(deps, instance)).kind !== 'running') return false;
  await dropPartial(deps, instance);
  return true;
}

/** At a start of the agent: a mark that no save is behind would make the guest's next reboot its end. One that bhyve is at stays. */
export async function withdrawIfIdle(deps: LifecycleDeps, instance: InstanceUuid): Promise<void> {
  if (!(await deps.host.files.exists(deps.files.paths(instance).suspendMarker))) return;
  try {
    if ((await withTimeout(deps.clock, 15_000, 'watching a save', (signal) => watchSave(deps, instance, signal))) === 'goes-on') await withdraw(deps, instance);
  } catch (err) {
    if (codeOf(err) !== 'timeout') throw err;
    deps.log.info({ instance }, 'a save of the guest goes on');
  }
}

/** The guest has ended: judges what it left, and makes a save of it. */
async function completeSave(deps: LifecycleDeps, instance: InstanceUuid, options: Options): Promise<void> {
  const paths = deps.files.paths(instance);
  const verdict = await putAway(deps, instance, false);
  const faults = (await whyNoSave(deps, instance, verdict)) ?? (await faultsIn(deps, instance));
  if (Array.isArray(faults)) {
    await dropPartial(deps, instance);
    await deps.files.forget(instance, ['suspendMarker']);
    const what = 'it ended while it was being saved, and the save is not complete';
    if (verdict !== null) await deps.files.writeVerdict(instance, unsaved(verdict, what));
    throw suspendFailure(what, faults.join('; '));
  }
  await finish(deps, instance, faults, options);
  await deps.files.forget(instance, ['save']);
  await deps.host.files.rename(paths.partialSave, paths.save);
  await deps.files.forget(instance, ['suspendMarker']);
}

/** Why the end of the guest was none of a save. bhyve does not bring its files to the disk: a host that was reset before we did may have kept their sizes only. */
async function whyNoSave(deps: LifecycleDeps, instance: InstanceUuid, verdict: StoredVerdict | null): Promise<string[] | null> {
  const { suspendMarker, partialSave } = deps.files.paths(instance);
  if (verdict?.isSuspending !== true || (verdict.exit !== 0 && verdict.exit !== 5)) return [`bhyve ended with ${verdict?.exit ?? 'an unknown status'}`];
  const boot = await deps.host.files.readText(suspendMarker);
  const isOfThisBoot = boot !== undefined && isFromBoot({ boot, sinceSeconds: verdict.atSeconds }, await deps.boot());
  return isOfThisBoot || (await deps.host.files.exists(`${partialSave}/${manifestName}`)) ? null : ['the host was reset before it was on the disk'];
}

/** An end with 0 or 5 that is no suspension: without an exit code nothing else is read into it. */
const unsaved = (verdict: StoredVerdict, reason: string): StoredVerdict =>
  (verdict.exit === 0 || verdict.exit === 5 ? { ...verdict, exit: null, isSuspending: false, reason } : verdict);

/** The save's description, or what is wrong with its files. */
async function faultsIn(deps: LifecycleDeps, instance: InstanceUuid): Promise<SaveMeta | string[]> {
  const { host, files } = deps;
  await gather(deps, instance);
  const { partialSave } = files.paths(instance);
  const text = await host.files.readText(`${partialSave}/ram.meta`, maxMetaBytes);
  const config = await host.files.readText(`${partialSave}/bhyve.conf`);
  if (text === undefined || config === undefined) return ['bhyve wrote no description of it'];
  try {
    const meta = parseSaveMeta(text);
    const size = async (name: string): Promise<bigint | null> => (await host.files.sizeBytes(`${partialSave}/${name}`)) ?? null;
    const faults = faultsOfSave(meta, expectationOf(await readStoredSpec(files, instance), config), { ramBytes: await size('ram'), kernelBytes: await size('ram.kern') });
    return faults.length === 0 ? meta : [...faults];
  } catch (error) {
    if (error instanceof AgentError && error.code === 'save-damaged') return [error.message];
    throw error;
  }
}

async function finish(deps: LifecycleDeps, instance: InstanceUuid, { family }: SaveMeta, { holdDisks, signal }: Options): Promise<void> {
  const { host, files, clock } = deps;
  const { partialSave, variableStore } = files.paths(instance);
  const disks = await holdDisks();
  if (await host.files.exists(variableStore)) await host.files.copy(variableStore, `${partialSave}/nvram.fd`, 0o600);
  const sums: SaveManifest['files'] = {};
  for (const name of saveFiles) {
    const path = `${partialSave}/${name}`;
    if (!(await host.files.exists(path))) continue;
    await host.files.sync(path);
    const { sha256, bytes } = await digestFile(host.files, path, signal);
    sums[name] = { sha256, bytes: Number(bytes) };
  }
  const { memoryMiB } = (await readStoredSpec(files, instance)).definition;
  await host.files.writeAtomic(`${partialSave}/${manifestName}`, renderManifest({
    version: manifestVersion, instance, at: clock.now().toISOString(), family, memoryMiB, files: sums, host: await readSaveIdentity(host, deps.capabilities()), disks,
  }));
}
