/**
 * A save while it is made: `suspended.partial` in the guest's folder, and where bhyve writes its own files. That is the same folder, unless bhyve's sandbox reaches
 * no further than the folder of the guest's first disk (FreeBSD-UPB's Capsicum): then it is one of ours beside that disk, named in `place` of the partial save
 * before it is made, so that whoever comes later finds it. When bhyve has ended its files are gathered here, and the save is as on every other host.
 *
 *   suspended.partial/place ──▶ DISKS/UUID.saving/ram, ram.kern, ram.meta ──gather──▶ suspended.partial/ram, …
 *
 * Every folder is made by us, absolute, of root, mode 0700: it holds the memory of a guest.
 */
import { dirname } from 'node:path';
import type { InstanceUuid } from '../../lib/ids.js';
import type { LifecycleDeps } from './lifecycle.js';
import type { MachineSpec } from './machine-spec.js';

type Deps = Pick<LifecycleDeps, 'host' | 'files'>;

/** What bhyve writes; FILE is `ram`. */
export const bhyveFiles = ['ram', 'ram.kern', 'ram.meta'] as const;

const placeFile = (deps: Deps, instance: InstanceUuid): string => `${deps.files.paths(instance).partialSave}/place`;

/** Where the guest's first disk lets bhyve write, or why nowhere, in a sentence for its user. */
export function besideFirstDisk({ host }: Pick<Deps, 'host'>, { definition }: MachineSpec): { readonly folder: string } | { readonly why: string } {
  const first = definition.disks.find(({ kind }) => kind === 'disk');
  const limit = "bhyve of this host reaches only the folder of a guest's first disk";
  if (first === undefined) return { why: `${limit}, and this one has no disk` };
  if (first.path.startsWith(`${host.deviceRoot}/`)) return { why: `${limit}, and its ${first.role} disk is a volume of ZFS (${first.path}), beside which no file can be` };
  return { folder: `${dirname(first.path)}/${definition.instance}.saving` };
}

/** Makes the folders of a new save; gives that in which bhyve is to write. `place` null: in the partial save itself. */
export async function makePartial(deps: Deps, instance: InstanceUuid, place: string | null): Promise<string> {
  const { host, files } = deps;
  const { partialSave } = files.paths(instance);
  await host.files.makeDirectory(partialSave, 0o700);
  if (place === null) return partialSave;
  await host.files.writeAtomic(placeFile(deps, instance), `${place}\n`);
  await host.files.makeDirectory(place, 0o700);
  return place;
}

/** The folder beside the disk; null: there is none. A text that is not ours names none either. */
async function besideOf(deps: Deps, instance: InstanceUuid): Promise<string | null> {
  const place = (await deps.host.files.readText(placeFile(deps, instance)))?.trimEnd();
  return place?.startsWith('/') === true && place.endsWith(`/${instance}.saving`) ? place : null;
}

/** Where bhyve writes, or has written, the save that is under way. */
export const placeOf = async (deps: Deps, instance: InstanceUuid): Promise<string> => (await besideOf(deps, instance)) ?? deps.files.paths(instance).partialSave;

/** Brings bhyve's files into the partial save, once bhyve has ended; done already = fine. The place goes last: until then a cut is repeated. */
export async function gather(deps: Deps, instance: InstanceUuid): Promise<void> {
  const { host, files } = deps;
  const { partialSave } = files.paths(instance);
  const place = await besideOf(deps, instance);
  if (place === null) return;
  for (const name of bhyveFiles) {
    if (!(await host.files.exists(`${place}/${name}`))) continue;
    await host.files.copy(`${place}/${name}`, `${partialSave}/${name}.copy`, 0o600); // another file system, as a rule
    await host.files.rename(`${partialSave}/${name}.copy`, `${partialSave}/${name}`);
  }
  await host.files.remove(place, dirname(place));
  await host.files.remove(placeFile(deps, instance), partialSave);
}

/** Takes away all of a save that was not completed; none is fine. */
export async function dropPartial(deps: Deps, instance: InstanceUuid): Promise<void> {
  const place = await besideOf(deps, instance);
  if (place !== null) await deps.host.files.remove(place, dirname(place));
  await deps.files.forget(instance, ['partialSave']);
}
