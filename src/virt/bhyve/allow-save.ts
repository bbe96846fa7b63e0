/**
 * An operator's word that a save may be restored though bhyve, kernel, release or processor are not those that made it (a patched kernel, say): `allowed.json`
 * beside the save, for this very save and this very host as it is now. One attempt uses it up: a save that comes back goes with it, after one that does not it is
 * removed. It never stands for changed disks, damaged files, another shape of the server or another maker of processors.
 *
 *   { "version": 1, "at": ISO 8601, "manifest": SHA-256 of manifest.json, "host": { cpuModel, cpuVendor, release, bhyve, kernel } }
 */
import { z } from 'zod';
import { AgentError } from '../../lib/errors.js';
import type { InstanceUuid } from '../../lib/ids.js';
import { sumOf } from './kept-checkpoints.js';
import type { LifecycleDeps } from './lifecycle.js';
import { readSaveIdentity, saveIdentity, whyOtherHost, type SaveIdentity } from './save-identity.js';
import { manifestName, parseManifest } from './save-manifest.js';

const allowanceSchema = z.object({ version: z.literal(1), at: z.iso.datetime(), manifest: z.string(), host: saveIdentity });

export type Allowance = Readonly<z.infer<typeof allowanceSchema>>;

const allowancePath = (folder: string): string => `${folder}/allowed.json`;

/** See HypervisorDriver.allowSave. */
export async function allowSave(deps: LifecycleDeps, instance: InstanceUuid): Promise<string | null> {
  const { host, files, clock } = deps;
  const { save } = files.paths(instance);
  const text = await host.files.readText(`${save}/${manifestName}`);
  if (text === undefined) throw new AgentError('save-missing', `this host has no save of ${instance}`);
  const manifest = parseManifest(instance, text);
  const now = await readSaveIdentity(host, deps.capabilities());
  const other = whyOtherHost(manifest.host, now);
  if (other === null) return null;
  const { family } = deps.capabilities().saveRestore;
  if (manifest.host.cpuVendor !== now.cpuVendor) throw new AgentError('save-mismatch', `it was saved on another maker's processor, which nothing can override: ${other}`);
  if (family !== null && family !== manifest.family) throw new AgentError('save-mismatch', `its files are of the family ${manifest.family}, and this bhyve reads ${family}: nothing can override that`);
  const allowance: Allowance = { version: 1, at: clock.now().toISOString(), manifest: sumOf(text), host: now };
  await host.files.writeAtomic(allowancePath(save), `${JSON.stringify(allowance, null, 2)}\n`, 0o600);
  return other;
}

/** The operator's word beside the save in `folder`, whose manifest has this text; null without one, or if it is for another save or cannot be read. */
export async function readAllowance(deps: Pick<LifecycleDeps, 'host'>, folder: string, manifest: string): Promise<Allowance | null> {
  const text = await deps.host.files.readText(allowancePath(folder));
  if (text === undefined) return null;
  try {
    const { data } = allowanceSchema.safeParse(JSON.parse(text));
    return data?.manifest === sumOf(manifest) ? data : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null; // no word of ours: the save is refused as it would be without
    throw error;
  }
}

/** Whether it holds for a save of `then` on this host as it is `now`: something may have changed again since. */
export const isAllowed = (allowance: Allowance | null, then: SaveIdentity, now: SaveIdentity): boolean =>
  allowance !== null && then.cpuVendor === now.cpuVendor && whyOtherHost(allowance.host, now) === null;

/** After an attempt. */
export const useUpAllowance = ({ host, files }: Pick<LifecycleDeps, 'host' | 'files'>, instance: InstanceUuid): Promise<void> =>
  host.files.remove(allowancePath(files.paths(instance).save), files.root);
