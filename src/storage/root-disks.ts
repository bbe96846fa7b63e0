/**
 * Disks of instances: ROOT/instances/UUID is a dataset of ours that holds the instance's volumes; `root` is a clone of an image.
 * Making is idempotent at every point; nothing is ever shrunk, and nothing is destroyed here: burying is a rename.
 */
import { Mutex } from 'async-mutex';
import { randomBytes } from 'node:crypto';
import type { Clock } from '../lib/clock.js';
import { AgentError, codeOf } from '../lib/errors.js';
import { isUuid, parseInstanceUuid, type ImageId, type InstanceUuid } from '../lib/ids.js';
import type { KeyedMutex } from '../lib/keyed-mutex.js';
import { novaFaults } from '../lib/nova-faults.js';
import type { Host } from '../host/index.js';
import type { Logger } from '../observe/index.js';
import type { Layout } from './dataset-names.js';
import type { ImageStore } from './image-store.js';
import { asProperties, assertOurs, markProperties, marksOf } from './marks.js';
import type { DiskInfo, NodeStorage } from './types.js';
import { roundUpToMebibyte, type Zfs } from './zfs.js';
import { nodeOf, waitForNode } from './zvol-nodes.js';

export interface RootDisksDeps {
  readonly host: Host;
  readonly zfs: Zfs;
  readonly layout: Layout;
  readonly store: ImageStore;
  readonly locks: KeyedMutex<ImageId>;
  readonly clock: Clock;
  readonly log: Logger;
}

export type RootDisks = Pick<NodeStorage, 'createRootDisk' | 'disks' | 'buryDisks' | 'reap' | 'instancesWithDisks'>;

export function createRootDisks(deps: RootDisksDeps): RootDisks {
  const reaper = new Mutex(); // two reapers at once would trip over each other's graves
  return {
    createRootDisk: (instance, image, bytes) => deps.locks.run(image, () => createRootDisk(deps, instance, image, bytes)),
    disks: (instance) => disks(deps, instance),
    buryDisks: (instance) => buryDisks(deps, instance),
    reap: () => reaper.runExclusive(() => reap(deps)),
    instancesWithDisks: () => instancesWithDisks(deps),
  };
}

async function createRootDisk(deps: RootDisksDeps, instance: InstanceUuid, image: ImageId, bytes: bigint | null): Promise<DiskInfo> {
  const { zfs, layout } = deps;
  const dataset = layout.rootDisk(instance);
  const datasets = await zfs.get(layout.instance(instance), ['volsize', ...markProperties], { recursive: true });
  const folder = datasets.get(layout.instance(instance));
  if (folder !== undefined) assertOurs(layout.instance(instance), folder, { kind: 'instance', instance });
  else await zfs.createFilesystem(layout.instance(instance), { ...containerProperties, ...asProperties({ kind: 'instance', instance }) });
  const disk = datasets.get(dataset);
  if (disk !== undefined) assertOurs(dataset, disk, { kind: 'disk', instance, role: 'root', image });
  const current = disk === undefined ? await cloneImage(deps, instance, image, bytes) : BigInt(disk.get('volsize')!.value);
  const wanted = bytes === null ? current : roundUpToMebibyte(bytes);
  if (wanted > current) await zfs.set(dataset, { volsize: String(wanted) });
  const devicePath = await waitForNode(deps, dataset);
  return { role: 'root', dataset, devicePath, bytes: wanted > current ? wanted : current };
}

/** Never mounted: they only hold volumes and marks. */
export const containerProperties: Readonly<Record<string, string>> = { mountpoint: 'none' };

/** Size of the new clone. */
async function cloneImage({ zfs, layout, store }: RootDisksDeps, instance: InstanceUuid, image: ImageId, bytes: bigint | null): Promise<bigint> {
  const stored = await store.find(image);
  if (stored === undefined) throw new AgentError('image-not-cached', 'the image is not in the cache any more; fetch it again', { retry: 'later', details: { image } });
  if (bytes !== null && bytes < stored.virtualBytes) {
    throw new AgentError('image-too-large', "the image is larger than the flavor's disk", { wire: novaFaults.flavorDiskSmallerThanImage(bytes, stored.virtualBytes) });
  }
  await zfs.clone(layout.imageBase(image), layout.rootDisk(instance), asProperties({ kind: 'disk', instance, role: 'root', image }));
  await store.touch(stored);
  return stored.volumeBytes;
}

async function disks({ host, zfs, layout }: RootDisksDeps, instance: InstanceUuid): Promise<readonly DiskInfo[]> {
  const datasets = await zfs.get(layout.instance(instance), ['volsize', ...markProperties], { recursive: true });
  return [...datasets].flatMap(([dataset, properties]) => {
    const marks = marksOf(properties);
    if (marks.kind !== 'disk' || marks.instance !== instance || marks.role !== 'root' || dataset.includes('@')) return [];
    return [{ role: marks.role, dataset, devicePath: nodeOf(host, dataset), bytes: BigInt(properties.get('volsize')!.value) }];
  });
}

async function buryDisks({ zfs, layout, clock, log }: RootDisksDeps, instance: InstanceUuid): Promise<void> {
  const dataset = layout.instance(instance);
  const properties = (await zfs.get(dataset, markProperties)).get(dataset);
  if (properties === undefined) return;
  assertOurs(dataset, properties, { kind: 'instance', instance });
  // An instance of that uuid may have been here before and not be reaped yet, so the grave has a name of its own.
  const grave = `${layout.graveyard}/${instance}.${clock.now().getTime()}.${randomBytes(3).toString('hex')}`;
  await whileBusy(clock, () => zfs.rename(dataset, grave));
  log.info({ instance, dataset: grave }, 'disks buried');
}

const BUSY_WAIT_MS = 3_000;
const BUSY_POLL_MS = 100;

/** A guest that has just ended may hold its disks for a moment. Repeats what is refused as busy for a while, then gives that error. */
async function whileBusy(clock: Clock, act: () => Promise<void>): Promise<void> {
  const deadline = clock.monotonicMs() + BUSY_WAIT_MS;
  for (;;) {
    try {
      return await act();
    } catch (error) {
      if (codeOf(error) !== 'zfs-busy' || clock.monotonicMs() >= deadline) throw error;
    }
    await clock.sleep(BUSY_POLL_MS);
  }
}

async function instancesWithDisks({ zfs, layout }: RootDisksDeps): Promise<readonly InstanceUuid[]> {
  const datasets = await zfs.get(layout.instances, markProperties, { recursive: true });
  return [...datasets].flatMap(([name, properties]) => {
    const marks = marksOf(properties);
    const uuid = name.slice(layout.instances.length + 1);
    return isUuid(uuid) && marks.kind === 'instance' && marks.instance === uuid ? [parseInstanceUuid(uuid)] : [];
  });
}

/** A grave goes only if every dataset in it carries our mark; snapshots go with the disk that they are of. */
async function reap({ zfs, layout, log }: RootDisksDeps): Promise<{ destroyed: number; left: number }> {
  const datasets = await zfs.get(layout.graveyard, markProperties, { recursive: true });
  const graves = [...datasets.keys()].filter((name) => /^[^/@]+$/.test(name.slice(layout.graveyard.length + 1)));
  let destroyed = 0;
  for (const grave of graves) {
    const inside = [...datasets].filter(([name]) => name === grave || name.startsWith(`${grave}/`)).filter(([name]) => !name.includes('@'));
    const foreign = inside.filter(([, properties]) => !['instance', 'disk'].includes(marksOf(properties).kind ?? '')).map(([name]) => name);
    if (foreign.length > 0) {
      log.warn({ dataset: grave, foreign }, 'left a grave that holds datasets without our mark');
      continue;
    }
    try {
      await zfs.destroyTree(grave);
      destroyed += 1;
    } catch (err) {
      if (codeOf(err) === 'zfs-missing') destroyed += 1;
      else log.warn({ err, dataset: grave }, 'left a grave for the next time');
    }
  }
  return { destroyed, left: graves.length - destroyed };
}
