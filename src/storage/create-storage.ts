/** Puts the node's storage together and prepares the pool for it. */
import { assert } from '../lib/assert.js';
import type { Clock } from '../lib/clock.js';
import { AgentError } from '../lib/errors.js';
import type { ImageId, InstanceUuid } from '../lib/ids.js';
import { KeyedMutex } from '../lib/keyed-mutex.js';
import type { Host } from '../host/index.js';
import type { Logger, Metrics } from '../observe/index.js';
import { layoutOf, type Layout } from './dataset-names.js';
import { createCheckpoints } from './checkpoints/create-checkpoints.js';
import { createDiskSnapshots } from './disk-snapshots.js';
import { createImageCache, type ImageCache } from './image-cache.js';
import { createImageStore, type ImageStore, type ListedImage } from './image-store.js';
import { asProperties, assertOurs, LAYOUT, markProperties, marksOf, type Kind } from './marks.js';
import { containerProperties, createInstanceDisks } from './instance-disks.js';
import { createKeptDisks } from './kept-disks.js';
import { createDiskReplacements } from './replace-disk.js';
import { rememberImages } from './remember-images.js';
import { createStillDisks } from './still-disks.js';
import { createChainStorage } from './qcow2/create-chain-storage.js';
import { disksByForm, type DiskStorage } from './by-form.js';
import type { ChainGuests, DiskForm, NodeStorage } from './types.js';
import { createZfs, type Properties, type Zfs } from './zfs.js';

export interface StorageLimits {
  /** Octets of one image as downloaded. */
  readonly maxDownloadBytes: bigint;
  /** Milliseconds for download and conversion of one image. */
  readonly importTimeoutMs: number;
  /** CPU seconds of one conversion. */
  readonly convertCpuSeconds: number;
  /** Address space of the converter. */
  readonly convertMemoryMiB: number;
  /** Conversions at a time. */
  readonly maxConversions: number;
}

export const defaultStorageLimits: StorageLimits = {
  maxDownloadBytes: 1n << 44n,
  importTimeoutMs: 3_600_000,
  convertCpuSeconds: 1800,
  convertMemoryMiB: 2048,
  maxConversions: 2,
};

export interface StorageOptions {
  readonly host: Host;
  /** [zfs]root: the dataset that everything lies below. */
  readonly root: string;
  /** Absolute path of a folder that is ours alone, for downloads. */
  readonly scratch: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly limits?: Partial<StorageLimits>;
  /** Left out: all disks are zvols, and qcow2 disks that are there are not looked at. */
  readonly chains?: {
    /** Absolute path of the folder of qcow2 disks. */
    readonly folder: string;
    /** What new instances get. */
    readonly newDisks: DiskForm;
    readonly guests: ChainGuests;
  };
}

/** AgentError `zfs-bad-root` if the root's name is not plain. Call `prepare` before anything else. */
export function createStorage(options: StorageOptions): NodeStorage {
  const { host, clock, log, metrics, scratch } = options;
  assert(scratch.startsWith('/'), 'the scratch folder is an absolute path');
  const limits = { ...defaultStorageLimits, ...options.limits };
  const layout = layoutOf(options.root);
  const zfs = createZfs(host, layout.root);
  const locks = new KeyedMutex<ImageId>();
  const converterLimits = { cpuSeconds: limits.convertCpuSeconds, memoryMiB: limits.convertMemoryMiB, timeoutMs: limits.importTimeoutMs };
  const store = rememberImages(createImageStore({ host, zfs, layout, clock, log, limits: converterLimits }), clock);
  const cacheOn = (shelf: ImageStore): ImageCache => createImageCache({ host, store: shelf, locks, scratch, clock, log, metrics, maxDownloadBytes: limits.maxDownloadBytes,
    importTimeoutMs: limits.importTimeoutMs, maxConversions: limits.maxConversions });
  const cache = cacheOn(store);
  const disks = { host, zfs, layout, store, locks, cloneSizes: { areRight: false }, clock, log };
  const volumes: DiskStorage & Pick<NodeStorage, 'takeCheckpointCopy'> = {
    ...createInstanceDisks(disks),
    ...createDiskReplacements(disks),
    ...createKeptDisks(disks),
    ...createStillDisks(disks),
    ...createCheckpoints(disks),
    ...createDiskSnapshots({ host, zfs, layout, scratch, clock, log, limits: converterLimits }),
  };
  const drop = (shelf: ImageStore, one: ImageCache, id: ImageId): Promise<boolean> | boolean => (one.isWanted(id) || locks.isBusy(id) ? false : locks.run(id, () => shelf.drop(id)));
  const prepareVolumes = (): Promise<void> => prepare({ host, zfs, layout, log, scratch });
  if (options.chains === undefined) {
    return {
      ...volumes, prepare: prepareVolumes, usage: () => usage(zfs, layout), ensureImage: cache.ensureImage, images: () => store.list(), formOf: async () => 'raw',
      dropImage: async (id) => drop(store, cache, id), flattenDisks: async () => { throw noChain(); },
    };
  }
  const { folder, newDisks, guests } = options.chains;
  const chains = createChainStorage({ host, clock, log, folder, scratch, limits: converterLimits, locks, guests });
  const chainCache = cacheOn(chains.store);
  const formOf = async (instance: InstanceUuid): Promise<DiskForm> => {
    if (await chains.has(instance)) return 'qcow2';
    return newDisks === 'raw' || (await zfs.get(layout.instance(instance), ['type'])).size > 0 ? 'raw' : 'qcow2';
  };
  return {
    ...disksByForm({ raw: volumes, qcow2: chains.disks }, formOf),
    formOf,
    takeCheckpointCopy: volumes.takeCheckpointCopy,
    async flattenDisks(instance) {
      if ((await formOf(instance)) !== 'qcow2') throw noChain();
      await chains.flatten(instance);
    },
    async prepare() {
      await prepareVolumes();
      // Also where new disks are zvols by now: older ones live on.
      if (newDisks === 'qcow2' || (await host.files.exists(folder))) await chains.prepare();
    },
    async usage() {
      const [pool, files] = [await usage(zfs, layout), await chains.usage()];
      const usedBytes = pool.usedBytes + files.usedBytes;
      // What is free where new disks go.
      const availableBytes = newDisks === 'qcow2' ? (files.availableBytes ?? pool.availableBytes) : pool.availableBytes;
      return { usedBytes, availableBytes, totalBytes: usedBytes + availableBytes };
    },
    async ensureImage(image, open, wanted) {
      const form = wanted.for === undefined ? newDisks : await formOf(wanted.for);
      return (form === 'qcow2' ? chainCache : cache).ensureImage(image, open, wanted);
    },
    images: async () => mergeImages(newDisks === 'qcow2' ? await chains.store.list() : await store.list(), newDisks === 'qcow2' ? await store.list() : await chains.store.list()),
    dropImage: async (id) => {
      const dropped = [await drop(store, cache, id), await drop(chains.store, chainCache, id)];
      return dropped.every(Boolean);
    },
  };
}

const noChain = (): AgentError => new AgentError('disk-chain-refused', 'the disks are ZFS volumes, which are in no chain of files');

/** One entry an image, complete if it is so in the form that new disks are made of. */
function mergeImages(first: readonly ListedImage[], second: readonly ListedImage[]): ListedImage[] {
  const merged = first.map((one) => {
    const other = second.find(({ id }) => id === one.id);
    if (other === undefined) return one;
    const lastUsedAt = one.lastUsedAt > other.lastUsedAt ? one.lastUsedAt : other.lastUsedAt;
    return { ...one, bytes: one.bytes + other.bytes, cloneCount: one.cloneCount + other.cloneCount, lastUsedAt };
  });
  return [...merged, ...second.filter(({ id }) => !first.some((one) => one.id === id)).map((one) => ({ ...one, isComplete: false }))];
}

interface PrepareDeps {
  readonly host: Host;
  readonly zfs: Zfs;
  readonly layout: Layout;
  readonly log: Logger;
  readonly scratch: string;
}

async function prepare(deps: PrepareDeps): Promise<void> {
  const { zfs, layout, host, scratch } = deps;
  if (!(await zfs.get(layout.root, ['type'])).has(layout.root)) {
    await zfs.createFilesystem(layout.root, { ...containerProperties, ...asProperties({ kind: 'root' }) });
  }
  const kinds: readonly Kind[] = ['images', 'instances', 'graveyard'];
  const found = await Promise.all(kinds.map((kind) => findChild(zfs, `${layout.root}/${kind}`)));
  for (const [index, kind] of kinds.entries()) await prepareChild(deps, `${layout.root}/${kind}`, kind, found[index]);
  await host.files.makeDirectory(scratch);
  // Downloads do not survive a restart: an import begins again from the start.
  for (const name of await host.files.list(scratch)) if (name.endsWith('.part')) await host.files.remove(`${scratch}/${name}`, scratch);
}

const findChild = async (zfs: Zfs, name: string): Promise<Properties | undefined> => (await zfs.get(name, ['volmode', ...markProperties])).get(name);

/** volmode is set here, once, and inherited: set on each volume, its device node may never appear (freebsd/README.md). */
async function prepareChild({ zfs }: PrepareDeps, name: string, kind: Kind, properties: Properties | undefined): Promise<void> {
  if (properties === undefined) {
    await zfs.createFilesystem(name, { ...containerProperties, volmode: 'dev', ...asProperties({ kind, layout: LAYOUT }) });
    return;
  }
  assertOurs(name, properties, { kind });
  const layout = marksOf(properties).layout ?? LAYOUT;
  if (Number(layout) > Number(LAYOUT)) {
    throw new AgentError('storage-layout-newer', 'the datasets were made by a newer agent; run that one', { details: { dataset: name, layout, known: LAYOUT } });
  }
  if (properties.get('volmode')?.value !== 'dev') await zfs.set(name, { volmode: 'dev' });
}

async function usage(zfs: Zfs, layout: Layout): Promise<{ totalBytes: bigint; availableBytes: bigint; usedBytes: bigint }> {
  const properties = (await zfs.get(layout.root, ['used', 'available'])).get(layout.root);
  if (properties === undefined) throw new AgentError('zfs-missing', 'the root dataset is gone', { details: { dataset: layout.root } });
  const usedBytes = BigInt(properties.get('used')!.value);
  const availableBytes = BigInt(properties.get('available')!.value);
  return { totalBytes: usedBytes + availableBytes, availableBytes, usedBytes };
}
