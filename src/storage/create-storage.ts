/** Puts the node's storage together and prepares the pool for it. */
import { assert } from '../lib/assert.js';
import type { Clock } from '../lib/clock.js';
import { AgentError } from '../lib/errors.js';
import type { ImageId } from '../lib/ids.js';
import { KeyedMutex } from '../lib/keyed-mutex.js';
import type { Host } from '../host/index.js';
import type { Logger, Metrics } from '../observe/index.js';
import { layoutOf, type Layout } from './dataset-names.js';
import { createCheckpoints } from './checkpoints/create-checkpoints.js';
import { createDiskSnapshots } from './disk-snapshots.js';
import { createImageCache } from './image-cache.js';
import { createImageStore } from './image-store.js';
import { asProperties, assertOurs, LAYOUT, markProperties, marksOf, type Kind } from './marks.js';
import { containerProperties, createInstanceDisks } from './instance-disks.js';
import { createKeptDisks } from './kept-disks.js';
import { createDiskReplacements } from './replace-disk.js';
import { rememberImages } from './remember-images.js';
import { createStillDisks } from './still-disks.js';
import type { NodeStorage } from './types.js';
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
  const cache = createImageCache({ host, store, locks, scratch, clock, log, metrics, maxDownloadBytes: limits.maxDownloadBytes,
    importTimeoutMs: limits.importTimeoutMs, maxConversions: limits.maxConversions });
  const disks = { host, zfs, layout, store, locks, clock, log };
  return {
    ...createInstanceDisks(disks),
    ...createDiskReplacements(disks),
    ...createKeptDisks(disks),
    ...createStillDisks(disks),
    ...createCheckpoints(disks),
    ...createDiskSnapshots({ host, zfs, layout, scratch, clock, log, limits: converterLimits }),
    prepare: () => prepare({ host, zfs, layout, log, scratch }),
    usage: () => usage(zfs, layout),
    ensureImage: cache.ensureImage,
    images: () => store.list(),
    dropImage: async (id) => (cache.isWanted(id) || locks.isBusy(id) ? false : locks.run(id, () => store.drop(id))),
  };
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
