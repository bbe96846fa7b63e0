/** Files with a content of their own: the first of a disk, and one that takes the place of another. */
import { dirname, join } from 'node:path';
import { newIndex, readIndex, writeIndex } from './chain-index.js';
import { addFile, indexOfStopped, leaving, refusal, refuseInside, requireName, without, writeFile, type Work } from './chain-work.js';
import { fillFile, type NewFile } from './qemu-img.js';
import { readChain, readFile, type ChainPlaces } from './read-chain.js';
import { damaged } from './read-header.js';
import { indexFiles, TEMPORARY } from './tidy-chain.js';

interface Content { readonly image: string | null; readonly bytes: bigint | null }

/** See DiskChain.create. */
export async function create({ host, places }: Work, content: Content & { readonly madeFor?: string }): Promise<void> {
  if ((await readIndex(places)) !== undefined) return;
  await writeFile(host, places, 'base', await newFileOf(places, content));
  await writeIndex(places, { ...newIndex('base'), madeFor: content.madeFor ?? null });
}

async function newFileOf(places: ChainPlaces, { image, bytes }: Content): Promise<Omit<NewFile, 'path'>> {
  if (image !== null && dirname(image) !== places.images) throw refusal('a disk can only be made on an image of the cache');
  const [below] = image === null ? [] : await readChain({ ...places, folder: places.images }, image.slice(places.images.length + 1));
  if (below !== undefined && below.backingPath !== null) throw damaged(below.path, 'it is an image, and has a backing file');
  const size = bytes ?? below?.virtualBytes;
  if (size === undefined || (below !== undefined && size < below.virtualBytes)) throw refusal('the disk would be smaller than its image');
  return { bytes: size, clusterBytes: below?.clusterBytes ?? null, backing: image };
}

/** See DiskChain.replace. */
export async function replace(work: Work, content: Content, madeFor: string): Promise<void> {
  requireName(madeFor);
  const index = await indexOfStopped(work.places);
  if (index.madeFor === madeFor) return;
  refuseInside(index);
  const listed = await addFile(work, index, madeFor, await newFileOf(work.places, content));
  await writeIndex(work.places, leaving(index, { ...listed, active: madeFor, current: null, madeFor, left: without(listed.left, madeFor) }));
}

/** See DiskChain.fill. */
export async function fill({ host, places }: Work, raw: string): Promise<void> {
  const index = await indexOfStopped(places);
  const active = await readFile(places, index.active);
  const hasOthers = (await indexFiles(places, index)).some(({ backingPath }) => backingPath === active.path);
  if (hasOthers || active.backingPath !== null || active.snapshots.length > 0) throw refusal('only a disk that begins empty can be filled');
  const temporary = join(places.folder, `${TEMPORARY}${index.active}`);
  await host.files.remove(temporary, places.folder);
  await fillFile(host, raw, temporary, active.clusterBytes);
  await host.files.rename(temporary, active.path);
}
