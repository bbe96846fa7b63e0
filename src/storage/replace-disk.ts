/**
 * One disk in the place of another. The successor is made under a name of its own and completed there; only then is the old disk renamed to the
 * graveyard and the successor to the disk's name:
 *
 *   old ──make──▶ old, old.new ──bury──▶ old.new ──rename──▶ new
 *
 * Killed anywhere, the same call goes on from what is there; `made-for` tells a successor of this call from the disk that it is to replace.
 */
import { bury, cloneImage, findDisk, settleSize, stateOf, type InstanceDisksDeps, type Place } from './instance-disks.js';
import { whileBusy } from './while-busy.js';
import { asProperties, markProperties, marksOf, type Marks } from './marks.js';
import type { DiskInfo, NodeStorage } from './types.js';
import { roundUpToMebibyte, type Properties } from './zfs.js';

type Replacements = Pick<NodeStorage, 'replaceFromImage' | 'replaceWithBlank' | 'dropReplacement'>;

export function createDiskReplacements(deps: InstanceDisksDeps): Replacements {
  const { zfs } = deps;
  return {
    replaceFromImage: (instance, role, image, bytes, madeFor) => deps.locks.run(image, () => replaceDisk(deps, {
      place: { instance, role }, own: { image, 'made-for': madeFor }, make: async (name, marks) => void (await cloneImage(deps, name, marks, image, bytes)),
    }, bytes)),
    replaceWithBlank: (instance, role, bytes, madeFor) => replaceDisk(deps, {
      place: { instance, role }, own: { 'made-for': madeFor }, make: (name, marks) => zfs.createVolume(name, roundUpToMebibyte(bytes), asProperties(marks)),
    }, bytes),
    dropReplacement: (instance, role) => dropReplacement(deps, { instance, role }),
  };
}

/** Where the successor lies until it takes its place; disks(…) does not list it. */
export const successorOf = (dataset: string): string => `${dataset}.new`;

interface Present { readonly dataset: string; readonly current: Properties | undefined; readonly successor: Properties | undefined }

async function look(deps: InstanceDisksDeps, place: Place): Promise<Present> {
  const dataset = deps.layout.disk(place.instance, place.role);
  const current = await findDisk(deps, place, {});
  return { dataset, current, successor: (await deps.zfs.get(successorOf(dataset), markProperties)).get(successorOf(dataset)) };
}

/** One disk that is to take the place of another. */
export interface Replacement {
  readonly place: Place;
  /** `made-for`, and what else tells the new disk. */
  readonly own: Marks;
  /** Makes it, complete, under the given name and with the given marks. */
  readonly make: (name: string, marks: Marks) => Promise<unknown>;
}

async function replaceDisk(deps: InstanceDisksDeps, replacement: Replacement, bytes: bigint | null): Promise<DiskInfo> {
  await prepareReplacement(deps, replacement);
  return completeReplacement(deps, replacement, bytes);
}

const isFor = (properties: Properties | undefined, own: Marks): boolean => marksOf(properties)['made-for'] === own['made-for'];

/** The bus that somebody chose for the old disk is the new one's too. */
function marksFor({ place, own }: Replacement, current: Properties | undefined): Marks {
  const { bus } = marksOf(current);
  return { kind: 'disk', ...place, ...own, ...(bus === undefined ? {} : { bus }) };
}

/** Makes the successor, unless it is there or has taken its place. */
export async function prepareReplacement(deps: InstanceDisksDeps, replacement: Replacement): Promise<void> {
  const { place, own, make } = replacement;
  const { dataset, current, successor } = await look(deps, place);
  if (isFor(current, own) || (current === undefined && isFor(successor, own))) return;
  // A successor beside the old disk holds nothing yet, and another call's never will: it is made anew.
  if (successor !== undefined) await bury(deps, successorOf(dataset), { kind: 'disk', ...place });
  await make(successorOf(dataset), marksFor(replacement, current));
}

/** Puts the successor in its place, unless it is there; grown to `bytes`. */
export async function completeReplacement(deps: InstanceDisksDeps, { place, own }: Replacement, bytes: bigint | null): Promise<DiskInfo> {
  const { dataset, current } = await look(deps, place);
  if (!isFor(current, own)) {
    if (current !== undefined) await bury(deps, dataset, { kind: 'disk', ...place });
    await whileBusy(deps.clock, () => deps.zfs.rename(successorOf(dataset), dataset));
  }
  const disk = await findDisk(deps, place, { kind: 'disk', ...place, ...own });
  return settleSize(deps, place, stateOf(disk!), bytes);
}

async function dropReplacement(deps: InstanceDisksDeps, place: Place): Promise<void> {
  const { dataset, current, successor } = await look(deps, place);
  if (successor === undefined) return;
  if (current === undefined) return deps.zfs.rename(successorOf(dataset), dataset);
  await bury(deps, successorOf(dataset), { kind: 'disk', ...place });
}
