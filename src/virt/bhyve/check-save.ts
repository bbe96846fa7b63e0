/** Whether a save is worth restoring: everything that bhyve does not check itself, before anything is touched. */
import { AgentError } from '../../lib/errors.js';
import type { InstanceUuid } from '../../lib/ids.js';
import { novaFaults } from '../../lib/nova-faults.js';
import { faultsOfSave, maxMetaBytes, parseSaveMeta } from '../saves/index.js';
import { isAllowed, type Allowance } from './allow-save.js';
import { readStoredSpec } from './define-guest.js';
import { digestFile } from './digest-file.js';
import type { LifecycleDeps } from './lifecycle.js';
import { expectationOf } from './savable.js';
import { readSaveIdentity, whyOtherHost } from './save-identity.js';
import type { SaveManifest } from './save-manifest.js';

const mismatch = (what: string): AgentError => new AgentError('save-mismatch', what, { wire: novaFaults.instanceResumeFailure(what) });

export interface SaveToCheck {
  readonly folder: string;
  readonly manifest: SaveManifest;
  /** The operator's word that it may be of another host. */
  readonly allowance: Allowance | null;
}

/**
 * The bhyve.conf of a save, once the save has shown that it is what its manifest says, of this host (or allowed, which is logged) and of this guest; the slow way
 * last. AgentError `save-mismatch`, `save-damaged`. Whether the disks are those of the save is another question.
 */
export async function checkSave(deps: LifecycleDeps, instance: InstanceUuid, { folder, manifest, allowance }: SaveToCheck, signal: AbortSignal): Promise<string> {
  const { host, files } = deps;
  const now = await readSaveIdentity(host, deps.capabilities());
  const other = whyOtherHost(manifest.host, now);
  if (other !== null && !isAllowed(allowance, manifest.host, now)) throw mismatch(`its save was made with something else: ${other}`);
  if (other !== null) deps.log.warn({ instance, overridden: other, allowedAt: allowance?.at }, 'a save of another host is restored, as the operator allowed');
  const config = (await host.files.readText(`${folder}/bhyve.conf`)) ?? '';
  const meta = parseSaveMeta((await host.files.readText(`${folder}/ram.meta`, maxMetaBytes)) ?? '');
  const size = (name: 'ram' | 'ram.kern'): bigint | null => (manifest.files[name] === undefined ? null : BigInt(manifest.files[name].bytes));
  const [fault] = faultsOfSave(meta, expectationOf(await readStoredSpec(files, instance), config), { ramBytes: size('ram'), kernelBytes: size('ram.kern') });
  if (fault !== undefined) throw mismatch(`its save does not fit the server: ${fault}`);
  await checkFiles(deps, folder, manifest, signal);
  return config;
}

async function checkFiles({ host }: LifecycleDeps, folder: string, manifest: SaveManifest, signal: AbortSignal): Promise<void> {
  for (const [name, was] of Object.entries(manifest.files)) {
    const path = `${folder}/${name}`;
    const bytes = await host.files.sizeBytes(path);
    if (bytes !== BigInt(was.bytes)) throw new AgentError('save-damaged', `${name} has ${bytes ?? 'no'} octets, and had ${was.bytes}`);
    if ((await digestFile(host.files, path, signal)).sha256 !== was.sha256) throw new AgentError('save-damaged', `${name} is not the file that was saved`);
  }
}
