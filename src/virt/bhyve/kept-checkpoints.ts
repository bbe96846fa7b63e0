/**
 * What a node of the checkpoint tree has besides its disks, in `checkpoints/ID` of the guest's folder: the firmware's variables as they were then, and for a node
 * with memory the whole save, as further names of its files. No memory is copied, and what goes on with the save or gives it up takes nothing from the node.
 *
 *   save ──link──▶ ID.partial ──rename──▶ ID        ID ──link──▶ suspended.partial ──manifest with the evidence of the new disks, rename──▶ save
 *
 * The last rename makes each whole. Disks and memory are tied in the pool: the node's snapshots carry the SHA-256 of its manifest, so a folder that was lost,
 * damaged or put there by somebody else never goes with them.
 */
import { createHash } from 'node:crypto';
import { AgentError } from '../../lib/errors.js';
import { isUuid, parseCheckpointId, type CheckpointId, type InstanceUuid } from '../../lib/ids.js';
import type { CheckpointMemory, DiskEvidence } from '../../storage/index.js';
import type { GuestFiles } from './guest-files.js';
import type { LifecycleDeps } from './lifecycle.js';
import { dropPartial } from './partial-save.js';
import { manifestName, parseManifest, renderManifest, saveFiles } from './save-manifest.js';

type Deps = Pick<LifecycleDeps, 'host' | 'files'>;

const PARTIAL = '.partial';
/** Where the firmware's variables are in a node's folder. */
export const variablesName = 'nvram.fd';

/** Where a node's files are, if it has any. */
export const keptFolder = (files: GuestFiles, instance: InstanceUuid, checkpoint: CheckpointId): string => `${files.paths(instance).checkpoints}/${checkpoint}`;

/** What ties a manifest to the node's disks. */
export const sumOf = (manifest: string): string => createHash('sha256').update(manifest).digest('hex');

/** Makes a folder that is whole whenever it has its name; what was begun before goes. */
export async function makeFolder({ host, files }: Deps, folder: string, fill: (partial: string) => Promise<void>): Promise<void> {
  const partial = `${folder}${PARTIAL}`;
  await host.files.remove(partial, files.root);
  await host.files.makeDirectory(partial, 0o700);
  await fill(partial);
  await host.files.rename(partial, folder);
}

async function linkFiles({ host }: Deps, names: readonly string[], from: string, to: string): Promise<void> {
  for (const name of names) if (await host.files.exists(`${from}/${name}`)) await host.files.link(`${from}/${name}`, `${to}/${name}`);
}

async function manifestIn({ host }: Deps, folder: string): Promise<string> {
  const text = await host.files.readText(`${folder}/${manifestName}`);
  if (text === undefined) throw new AgentError('save-missing', 'the save of the guest is not there', { details: { folder } });
  return text;
}

/** See KeptCheckpoints.keepSave. */
export async function keepSave(deps: Deps, instance: InstanceUuid, checkpoint: CheckpointId): Promise<CheckpointMemory> {
  const folder = keptFolder(deps.files, instance, checkpoint);
  if (!(await deps.host.files.exists(folder))) {
    const { save } = deps.files.paths(instance);
    await manifestIn(deps, save);
    await makeFolder(deps, folder, (partial) => linkFiles(deps, [...saveFiles, manifestName], save, partial));
  }
  const text = await manifestIn(deps, folder);
  const sizes = Object.values(parseManifest(instance, text).files).map(({ bytes }) => BigInt(bytes));
  return { sum: sumOf(text), bytes: sizes.reduce((total, bytes) => total + bytes, 0n) };
}

/** See KeptCheckpoints.keepVariables. */
export async function keepVariables(deps: Deps, instance: InstanceUuid, checkpoint: CheckpointId): Promise<void> {
  const folder = keptFolder(deps.files, instance, checkpoint);
  const { variableStore } = deps.files.paths(instance);
  if ((await deps.host.files.exists(folder)) || !(await deps.host.files.exists(variableStore))) return;
  await makeFolder(deps, folder, (partial) => deps.host.files.copy(variableStore, `${partial}/${variablesName}`, 0o600));
}

/** See KeptCheckpoints.putBackSave. */
export async function putBackSave(deps: Deps, instance: InstanceUuid, checkpoint: CheckpointId, disks: DiskEvidence): Promise<void> {
  const { host, files } = deps;
  const folder = keptFolder(files, instance, checkpoint);
  const manifest = parseManifest(instance, await manifestIn(deps, folder));
  const { save, partialSave } = files.paths(instance);
  await dropPartial(deps, instance);
  await files.forget(instance, ['suspendMarker', 'save']);
  await host.files.makeDirectory(partialSave, 0o700);
  await linkFiles(deps, saveFiles, folder, partialSave);
  await host.files.writeAtomic(`${partialSave}/${manifestName}`, renderManifest({ ...manifest, disks }));
  await host.files.rename(partialSave, save);
}

/** See KeptCheckpoints.putBackVariables. */
export async function putBackVariables(deps: Deps, instance: InstanceUuid, checkpoint: CheckpointId): Promise<void> {
  const kept = `${keptFolder(deps.files, instance, checkpoint)}/${variablesName}`;
  if (await deps.host.files.exists(kept)) await deps.host.files.copy(kept, deps.files.paths(instance).variableStore, 0o600);
}

/** See KeptCheckpoints.kept; also what was begun and never became whole. */
export async function keptCheckpoints({ host, files }: Deps, instance: InstanceUuid): Promise<readonly CheckpointId[]> {
  const names = (await host.files.list(files.paths(instance).checkpoints)).map((name) => (name.endsWith(PARTIAL) ? name.slice(0, -PARTIAL.length) : name));
  return [...new Set(names)].filter(isUuid).map(parseCheckpointId);
}

/** See KeptCheckpoints.dropKept. */
export async function dropKept({ host, files }: Deps, instance: InstanceUuid, checkpoint: CheckpointId): Promise<void> {
  const folder = keptFolder(files, instance, checkpoint);
  for (const path of [`${folder}${PARTIAL}`, folder]) await host.files.remove(path, files.root);
}
