/**
 * Disks of instances: ROOT/instances/UUID is a dataset of ours that holds the instance's volumes, one a role; `root` and `rescue` are
 * clones of images, the others begin empty. Making is idempotent at every point; nothing is ever shrunk, and nothing is destroyed here:
 * burying is a rename, and the graveyard's reaper frees what lies there.
 */
import { Mutex } from 'async-mutex';
import { randomBytes } from 'node:crypto';
import type { Clock } from '../lib/clock.js';
import { AgentError, codeOf } from '../lib/errors.js';
import { isUuid, parseInstanceUuid, type ImageId, type InstanceUuid } from '../lib/ids.js';
import type { KeyedMutex } from '../lib/keyed-mutex.js';
import type { Host } from '../host/index.js';
import type { Logger } from '../observe/index.js';
import type { Layout } from './dataset-names.js';
import { isDiskBus, isDiskRole, rolePlace } from './disk-roles.js';
import { fillable, fillDisk } from './fill-disk.js';
import { reap } from './graveyard.js';
import { assertFits, imageNotCached } from './image-faults.js';
import type { ImageStore } from './image-store.js';
import { asProperties, assertOurs, markProperties, marksOf, type Marks } from './marks.js';
import type { DiskBus, DiskInfo, DiskRole, NodeStorage } from './types.js';
import { whileBusy } from './while-busy.js';
import { roundUpToMebibyte, type Properties, type Zfs } from './zfs.js';
import { nodeOf, waitForNode } from './zvol-nodes.js';

export interface InstanceDisksDeps {
  readonly host: Host;
  readonly zfs: Zfs;
  readonly layout: Layout;
  readonly store: ImageStore;
  readonly locks: KeyedMutex<ImageId>;
  /** Whether a clone was seen to have the size that it was made with. */
  readonly cloneSizes: { areRight: boolean };
  readonly clock: Clock;
  readonly log: Logger;
}

export type InstanceDisks = Pick<NodeStorage,
  'createDiskFromImage' | 'createBlankDisk' | 'growDisk' | 'fillDisk' | 'formats' | 'disks' | 'buryDisk' | 'buryDisks' | 'reap' | 'instancesWithDisks'>;

export function createInstanceDisks(deps: InstanceDisksDeps): InstanceDisks {
  const reaper = new Mutex(); // two reapers at once would trip over each other's graves
  return {
    createDiskFromImage: (instance, role, image, bytes, bus = null) => deps.locks.run(image, () => createDiskFromImage(deps, { instance, role }, image, bytes, bus)),
    createBlankDisk: (instance, role, bytes, bus = null) => createBlankDisk(deps, { instance, role }, bytes, bus),
    growDisk: (instance, role, bytes) => growDisk(deps, { instance, role }, bytes),
    fillDisk: async (instance, role, format) => fillDisk(deps.host, role, await growDisk(deps, { instance, role }, 0n), format),
    formats: fillable(deps.host),
    disks: (instance) => disks(deps, instance),
    buryDisk: (instance, role) => buryDisk(deps, { instance, role }),
    buryDisks: (instance) => buryDisks(deps, instance),
    reap: () => reaper.runExclusive(() => reap(deps)),
    instancesWithDisks: () => instancesWithDisks(deps),
  };
}

/** Begins the last part of the name of a disk that is kept for its checkpoints only. */
export const BRANCH = 'branch-';

/** A disk that is a zvol. */
export type VolumeInfo = DiskInfo & { readonly dataset: string };

export interface Place { readonly instance: InstanceUuid; readonly role: DiskRole }

async function createDiskFromImage(deps: InstanceDisksDeps, place: Place, image: ImageId, bytes: bigint | null, bus: DiskBus | null): Promise<DiskInfo> {
  // A new instance has no folder yet, and then no disk either: one command makes it and says so.
  const found = place.role === 'root' && (await makeFolder(deps, place.instance)) ? undefined : await findDisk(deps, place, { image });
  if (found !== undefined) return settleSize(deps, place, stateOf(found), bytes);
  const marks = diskMarks(place, bus, { image });
  const current = await cloneImage(deps, deps.layout.disk(place.instance, place.role), marks, image, bytes);
  return settleSize(deps, place, { bus, madeFor: null, current }, bytes);
}

async function createBlankDisk(deps: InstanceDisksDeps, place: Place, bytes: bigint, bus: DiskBus | null): Promise<DiskInfo> {
  const found = await findDisk(deps, place, {});
  if (found !== undefined) return settleSize(deps, place, stateOf(found), bytes);
  const current = roundUpToMebibyte(bytes);
  await deps.zfs.createVolume(deps.layout.disk(place.instance, place.role), current, asProperties(diskMarks(place, bus)));
  return settleSize(deps, place, { bus, madeFor: null, current }, bytes);
}

const diskMarks = (place: Place, bus: DiskBus | null, marks: Marks = {}): Marks => ({ kind: 'disk', ...place, ...marks, ...(bus === null ? {} : { bus }) });

async function growDisk(deps: InstanceDisksDeps, place: Place, bytes: bigint): Promise<DiskInfo> {
  const dataset = deps.layout.disk(place.instance, place.role);
  const properties = (await deps.zfs.get(dataset, ['volsize', ...markProperties])).get(dataset);
  if (properties === undefined) throw new AgentError('disk-missing', `the instance has no ${place.role} disk on this host`, { details: { ...place } });
  assertOurs(dataset, properties, { kind: 'disk', ...place });
  return settleSize(deps, place, stateOf(properties), bytes);
}

interface DiskState { readonly bus: DiskBus | null; readonly madeFor: string | null; readonly current: bigint }

export function stateOf(properties: Properties): DiskState {
  const { bus, 'made-for': madeFor = null } = marksOf(properties);
  return { bus: isDiskBus(bus) ? bus : null, madeFor, current: volsizeOf(properties) };
}

const volsizeOf = (properties: Properties): bigint => BigInt(properties.get('volsize')!.value);

/** The disk if it is there and ours, after making sure of the folder that it lies in. */
export async function findDisk({ zfs, layout }: InstanceDisksDeps, place: Place, marks: Marks): Promise<Properties | undefined> {
  const { instance } = place;
  const [folder, dataset] = [layout.instance(instance), layout.disk(instance, place.role)];
  const datasets = await zfs.get(folder, ['volsize', ...markProperties], { recursive: true });
  const properties = datasets.get(folder);
  if (properties !== undefined) assertOurs(folder, properties, { kind: 'instance', instance });
  else await zfs.createFilesystem(folder, folderProperties(instance));
  const disk = datasets.get(dataset);
  if (disk !== undefined) assertOurs(dataset, disk, { kind: 'disk', ...place, ...marks });
  return disk;
}

const folderProperties = (instance: InstanceUuid): Record<string, string> => ({ ...containerProperties, ...asProperties({ kind: 'instance', instance }) });

/** False if there is something of that name already; whose it is was not looked at. */
async function makeFolder({ zfs, layout }: InstanceDisksDeps, instance: InstanceUuid): Promise<boolean> {
  try {
    await zfs.createFilesystem(layout.instance(instance), folderProperties(instance));
    return true;
  } catch (error) {
    if (codeOf(error) === 'zfs-exists') return false;
    throw error;
  }
}

/** Grows a disk that is smaller than wanted (null: it is right as it is), and waits for its node. */
export async function settleSize(deps: InstanceDisksDeps, { instance, role }: Place, { bus, madeFor, current }: DiskState, wanted: bigint | null): Promise<VolumeInfo> {
  const dataset = deps.layout.disk(instance, role);
  const size = wanted === null ? current : roundUpToMebibyte(wanted);
  if (size > current) await deps.zfs.set(dataset, { volsize: String(size) });
  return { role, bus, form: 'raw', dataset, devicePath: await waitForNode(deps, dataset), bytes: size > current ? size : current, madeFor };
}

/** Never mounted: they only hold volumes and marks. */
export const containerProperties: Readonly<Record<string, string>> = { mountpoint: 'none' };

/** Size of the new clone. The caller holds the image's lock. */
export async function cloneImage({ zfs, layout, store, cloneSizes }: InstanceDisksDeps, dataset: string, marks: Marks, image: ImageId, bytes: bigint | null): Promise<bigint> {
  const stored = await store.find(image);
  if (stored === undefined) throw imageNotCached(image);
  assertFits(bytes, stored.virtualBytes);
  const wanted = bytes === null ? stored.volumeBytes : roundUpToMebibyte(bytes);
  try {
    // The size is set together with the marks: 13.2 takes `zfs clone -o volsize=`. What the first one has made is looked at.
    await zfs.clone(layout.imageBase(image), dataset, { ...(wanted === stored.volumeBytes ? {} : { volsize: String(wanted) }), ...asProperties(marks) });
  } catch (error) {
    store.forget(image);
    if (codeOf(error) === 'zfs-missing' && (await store.find(image)) === undefined) throw imageNotCached(image);
    throw error;
  }
  await store.touch(stored);
  if (wanted === stored.volumeBytes || cloneSizes.areRight) return wanted;
  const made = (await zfs.get(dataset, ['volsize'])).get(dataset);
  const current = made === undefined ? stored.volumeBytes : volsizeOf(made);
  cloneSizes.areRight = current === wanted;
  return current;
}

export async function disks({ host, zfs, layout }: InstanceDisksDeps, instance: InstanceUuid): Promise<readonly VolumeInfo[]> {
  const datasets = await zfs.get(layout.instance(instance), ['volsize', ...markProperties], { recursive: true });
  const found = [...datasets].flatMap(([dataset, properties]): VolumeInfo[] => {
    const { kind, instance: owner, role } = marksOf(properties);
    if (kind !== 'disk' || owner !== instance || role === undefined || !isDiskRole(role) || dataset !== layout.disk(instance, role)) return [];
    const { bus, madeFor, current } = stateOf(properties);
    return [{ role, bus, form: 'raw', dataset, devicePath: nodeOf(host, dataset), bytes: current, madeFor }];
  });
  return found.sort((a, b) => rolePlace(a.role) - rolePlace(b.role));
}

export async function buryDisk(deps: InstanceDisksDeps, { instance, role }: Place): Promise<void> {
  await bury(deps, deps.layout.disk(instance, role), { kind: 'disk', instance, role });
}

async function buryDisks(deps: InstanceDisksDeps, instance: InstanceUuid): Promise<void> {
  await bury(deps, deps.layout.instance(instance), { kind: 'instance', instance });
}

/** A disk that nodes of the checkpoint tree lie on is only set aside, as a branch of the tree. */
export async function bury({ zfs, layout, clock, log }: InstanceDisksDeps, dataset: string, marks: Marks & { readonly instance: InstanceUuid }): Promise<void> {
  const found = await zfs.get(dataset, markProperties, { recursive: marks.role !== undefined });
  const properties = found.get(dataset);
  if (properties === undefined) return;
  assertOurs(dataset, properties, marks);
  if (marks.role !== undefined && [...found.values()].some((one) => marksOf(one).kind === 'checkpoint')) {
    const branch = `${layout.instance(marks.instance)}/${BRANCH}${clock.now().getTime()}.${randomBytes(3).toString('hex')}.${marks.role}`;
    await whileBusy(clock, () => zfs.rename(dataset, branch));
    log.info({ instance: marks.instance, dataset: branch }, 'disk set aside with its checkpoints');
    return;
  }
  // Something of that name may have been here before and not be reaped yet, so the grave has a name of its own.
  const what = marks.role === undefined ? marks.instance : `${marks.instance}.${marks.role}`;
  const grave = `${layout.graveyard}/${what}.${clock.now().getTime()}.${randomBytes(3).toString('hex')}`;
  await whileBusy(clock, () => zfs.rename(dataset, grave));
  log.info({ instance: marks.instance, dataset: grave }, 'disks buried');
}

async function instancesWithDisks({ zfs, layout }: InstanceDisksDeps): Promise<readonly InstanceUuid[]> {
  const datasets = await zfs.get(layout.instances, markProperties, { recursive: true });
  return [...datasets].flatMap(([name, properties]) => {
    const marks = marksOf(properties);
    const uuid = name.slice(layout.instances.length + 1);
    return isUuid(uuid) && marks.kind === 'instance' && marks.instance === uuid ? [parseInstanceUuid(uuid)] : [];
  });
}
