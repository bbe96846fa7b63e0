/**
 * Cached images in the pool: ROOT/images/ID, a volume that holds the disk, complete once it has the snapshot @base. Whatever lies
 * there without @base is what a crash left of an import; it is destroyed and made again.
 */
import type { Clock } from '../lib/clock.js';
import { codeOf, type AgentError } from '../lib/errors.js';
import { isUuid, type ImageId } from '../lib/ids.js';
import type { Host } from '../host/index.js';
import type { Logger } from '../observe/index.js';
import { convertOnto, throwIfPoolFull, type ConverterLimits } from './converter.js';
import type { Layout } from './dataset-names.js';
import { type Inspection } from './image-inspector/inspect.js';
import { asProperties, assertOurs, markProperties, marksOf } from './marks.js';
import type { CachedImage } from './types.js';
import { roundUpToMebibyte, type Properties, type Zfs } from './zfs.js';
import { waitForNode } from './zvol-nodes.js';

const WRITE_BLOCK_BYTES = 1024 * 1024;
/** Images are kept for hours: a boot need not wait for a more exact time. */
const TOUCH_SECONDS = 300;

export interface ImageStoreDeps {
  readonly host: Host;
  readonly zfs: Zfs;
  readonly layout: Layout;
  readonly clock: Clock;
  readonly log: Logger;
  readonly limits: ConverterLimits;
}

export interface StoredImage extends CachedImage {
  readonly volumeBytes: bigint;
  readonly lastUsedSeconds: number;
}

export interface ListedImage {
  readonly id: ImageId;
  readonly bytes: bigint;
  readonly isComplete: boolean;
  readonly cloneCount: number;
  readonly lastUsedAt: Date;
}

export interface ImageStore {
  /** The complete image, or undefined. AgentError `zfs-foreign` if something else is in its place. */
  find(id: ImageId): Promise<StoredImage | undefined>;
  /** Writes the downloaded file at `path` into the pool. */
  import(id: ImageId, path: string, inspection: Inspection, virtualBytes: bigint, signal: AbortSignal): Promise<CachedImage>;
  /** Notes in the pool that a disk was wanted of it just now, to some minutes; gives the image as it is then. */
  touch(image: StoredImage): Promise<StoredImage>;
  list(): Promise<ListedImage[]>;
  /** False if disks are cloned from it. */
  drop(id: ImageId): Promise<boolean>;
  /** Makes the next `find` look at the pool, whatever was found before. */
  forget(id: ImageId): void;
}

export function createImageStore(deps: ImageStoreDeps): ImageStore {
  const { zfs, layout } = deps;
  const subtree = (id: ImageId) => zfs.get(layout.image(id), ['type', 'volsize', ...markProperties], { recursive: true });
  const nowSeconds = (): number => Math.floor(deps.clock.now().getTime() / 1000);
  return {
    async find(id) {
      const datasets = await subtree(id);
      const properties = datasets.get(layout.image(id));
      if (properties === undefined) return undefined;
      assertOurs(layout.image(id), properties, { kind: 'image', image: id });
      return datasets.has(layout.imageBase(id)) ? storedImage(id, properties) : undefined;
    },
    async import(id, path, inspection, virtualBytes, signal) {
      await removeLeftover(deps, id, (await subtree(id)).get(layout.image(id)));
      await zfs.createVolume(layout.image(id), roundUpToMebibyte(virtualBytes), {
        ...volumeProperties,
        ...asProperties({ kind: 'image', image: id, format: inspection.format, 'virtual-bytes': String(virtualBytes), 'last-used': String(nowSeconds()) }),
      });
      const device = await waitForNode(deps, layout.image(id), signal);
      if (inspection.converterFormat === undefined) await writeRaw(deps, path, device, signal);
      else await convertOnto(deps.host, path, inspection.converterFormat, device, deps.limits, signal);
      await zfs.snapshot(layout.imageBase(id));
      return { id, virtualBytes, detectedFormat: inspection.format };
    },
    async touch(image) {
      const lastUsedSeconds = nowSeconds();
      if (Math.abs(lastUsedSeconds - image.lastUsedSeconds) < TOUCH_SECONDS) return image;
      await zfs.set(layout.image(image.id), asProperties({ 'last-used': String(lastUsedSeconds) }));
      return { ...image, lastUsedSeconds };
    },
    list: () => listImages(deps),
    drop: (id) => dropImage(deps, id),
    forget: () => undefined, // it looks each time
  };
}

/** volblocksize is fixed at creation and clones have their origin's; 16 KiB is OpenZFS's own choice since 2.2. */
export const volumeProperties: Readonly<Record<string, string>> = { volblocksize: '16384' };

function storedImage(id: ImageId, properties: Properties): StoredImage {
  const marks = marksOf(properties);
  const volumeBytes = BigInt(properties.get('volsize')?.value ?? '0');
  return { id, virtualBytes: BigInt(marks['virtual-bytes'] ?? volumeBytes), detectedFormat: marks.format ?? 'raw', volumeBytes, lastUsedSeconds: Number(marks['last-used'] ?? 0) };
}

async function removeLeftover({ zfs, layout, log }: ImageStoreDeps, id: ImageId, properties: Properties | undefined): Promise<void> {
  if (properties === undefined) return;
  assertOurs(layout.image(id), properties, { kind: 'image', image: id });
  log.warn({ image: id }, 'removing an image whose import did not end');
  await zfs.destroyTree(layout.image(id));
}

/** Zeros are not written: the volume is new. The last block is filled up, as devices take whole sectors only. */
async function writeRaw({ host, limits }: ImageStoreDeps, path: string, device: string, signal: AbortSignal): Promise<void> {
  try {
    await host.run('dd', [`if=${path}`, `of=${device}`, `bs=${WRITE_BLOCK_BYTES}`, 'conv=notrunc,sparse,sync'], { timeoutMs: limits.timeoutMs, signal });
  } catch (cause) {
    if (codeOf(cause) === 'command-failed') throwIfPoolFull(cause as AgentError);
    throw cause;
  }
}

async function listImages({ zfs, layout }: ImageStoreDeps): Promise<ListedImage[]> {
  const datasets = await zfs.get(layout.root, ['type', 'used', 'origin', 'creation', ...markProperties], { recursive: true });
  const origins = [...datasets.values()].map((properties) => properties.get('origin')?.value);
  return [...datasets].flatMap(([name, properties]) => {
    const marks = marksOf(properties);
    const id = name.startsWith(`${layout.images}/`) ? name.slice(layout.images.length + 1) : '';
    if (!isUuid(id) || marks.kind !== 'image' || marks.image !== id) return [];
    const seconds = Number(marks['last-used'] ?? properties.get('creation')?.value ?? 0);
    return [{
      id: id as ImageId,
      bytes: BigInt(properties.get('used')?.value ?? '0'),
      isComplete: datasets.has(layout.imageBase(id as ImageId)),
      cloneCount: origins.filter((origin) => origin?.startsWith(`${name}@`) === true).length,
      lastUsedAt: new Date(seconds * 1000),
    }];
  });
}

async function dropImage(deps: ImageStoreDeps, id: ImageId): Promise<boolean> {
  const { zfs, layout } = deps;
  const properties = (await zfs.get(layout.image(id), markProperties)).get(layout.image(id));
  if (properties === undefined) return true;
  assertOurs(layout.image(id), properties, { kind: 'image', image: id });
  const listed = (await listImages(deps)).find((image) => image.id === id);
  if (listed !== undefined && listed.cloneCount > 0) return false;
  try {
    await zfs.destroyTree(layout.image(id));
    return true;
  } catch (error) {
    const code = codeOf(error);
    if (code === 'zfs-missing') return true;
    // A clone elsewhere in the pool, a hold, or somebody reading the volume: it stays and is complete as before.
    if (code === 'zfs-has-dependents' || code === 'zfs-busy') return false;
    throw error;
  }
}
