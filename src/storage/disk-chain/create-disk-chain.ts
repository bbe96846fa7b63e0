/** The operations on a chain; what they promise is in types.ts, and how they stay whole when they are cut off. */
import { Mutex } from 'async-mutex';
import { dirname, join } from 'node:path';
import { AgentError } from '../../lib/errors.js';
import type { Clock } from '../../lib/clock.js';
import type { CheckpointId } from '../../lib/ids.js';
import type { Host } from '../../host/index.js';
import { newIndex, readIndex, withNode, writeIndex, type ChainIndex } from './chain-index.js';
import { noteLive, settleLive } from './live-checkpoint.js';
import { changeSnapshot, createFile, growFile, rebaseFile, type NewFile } from './qemu-img.js';
import { isPlainName, readChain, readFile, type ChainPlaces } from './read-chain.js';
import { damaged } from './read-header.js';
import { indexFiles, TEMPORARY, tidyChain } from './tidy-chain.js';
import type { ChainFile, ChainView, CheckpointKind, DiskChain } from './types.js';

export interface DiskChainOptions {
  readonly host: Host;
  readonly clock: Pick<Clock, 'now'>;
  /** Absolute path; exists, is 0700, and holds nothing else. */
  readonly folder: string;
  /** Absolute path of the folder with the cached images. */
  readonly images: string;
  /** Files of a chain, the image included, beyond which no checkpoint is made. */
  readonly maxFiles: number;
}

interface Work extends DiskChainOptions { readonly places: ChainPlaces }

/** Looks at nothing yet. */
export function createDiskChain(options: DiskChainOptions): DiskChain {
  const work: Work = { ...options, places: { files: options.host.files, folder: options.folder, images: options.images } };
  const mutex = new Mutex();
  const alone = <Args extends unknown[], T>(operation: (work: Work, ...args: Args) => Promise<T>) => (...args: Args): Promise<T> => mutex.runExclusive(() => operation(work, ...args));
  return {
    create: alone(create), look: alone(look), grow: alone(grow), restore: alone(restore), remove: alone(remove), flatten: alone(flatten),
    checkpoint: alone(async (_work, id, kind) => (kind === 'external' ? checkpointOutside(work, id) : checkpointInside(work, id))),
    checkpointRunning: alone(checkpointRunning),
    tidy: alone(async (_work, { isInUse }) => tidyChain(work, await (isInUse ? requireIndex(work.places) : indexOfStopped(work.places)), isInUse)),
  };
}

const refusal = (message: string): AgentError => new AgentError('disk-chain-refused', message);

async function requireIndex(places: ChainPlaces): Promise<ChainIndex> {
  const index = await readIndex(places);
  if (index === undefined) throw damaged(join(places.folder, 'chain.json'), 'there is no index');
  return settleLive(places, index);
}

/** What bhyve has not made by now it will not make: the guest is off. */
const indexOfStopped = async (places: ChainPlaces): Promise<ChainIndex> => ({ ...(await requireIndex(places)), live: null });

async function create({ host, places }: Work, { image, bytes }: { readonly image: string | null; readonly bytes: bigint | null }): Promise<void> {
  if ((await readIndex(places)) !== undefined) return;
  if (image !== null && dirname(image) !== places.images) throw refusal('a disk can only be made on an image of the cache');
  const [below] = image === null ? [] : await readChain({ ...places, folder: places.images }, image.slice(places.images.length + 1));
  if (below !== undefined && below.backingPath !== null) throw damaged(below.path, 'it is an image, and has a backing file');
  const size = bytes ?? below?.virtualBytes;
  if (size === undefined || (below !== undefined && size < below.virtualBytes)) throw refusal('the disk would be smaller than its image');
  await writeFile(host, places, 'base', { bytes: size, clusterBytes: below?.clusterBytes ?? null, backing: image });
  await writeIndex(places, newIndex('base'));
}

async function look({ places }: Work): Promise<ChainView | undefined> {
  if ((await readIndex(places)) === undefined) return undefined;
  const index = await requireIndex(places);
  const files = await readChain(places, index.active);
  return { activePath: files[0]!.path, bytes: files[0]!.virtualBytes, files, nodes: index.nodes.map((node) => ({ ...node, at: new Date(node.at) })), current: index.current };
}

async function grow({ host, places }: Work, bytes: bigint): Promise<void> {
  const active = await readFile(places, (await indexOfStopped(places)).active);
  if (active.virtualBytes < bytes) await growFile(host, active.path, bytes);
}

/** The active file becomes the node, an overlay with the node's name the active file. */
async function checkpointOutside(work: Work, id: CheckpointId): Promise<void> {
  const index = await indexOfStopped(work.places);
  if (index.nodes.some((node) => node.id === id)) return;
  const active = await requireRoom(work, index, 'external');
  const listed = await addOverlay(work, index, id, active);
  await writeIndex(work.places, { ...withNode(listed, { id, kind: 'external', at: work.clock.now().toISOString() }), active: id, left: without(listed.left, id) });
}

/** Listed as nobody's while it is made; one that an attempt or a deleted node has left under that name is not taken for it. */
async function checkpointInside(work: Work, id: CheckpointId): Promise<void> {
  const { host, places, clock } = work;
  const index = await indexOfStopped(places);
  if (index.nodes.some((node) => node.id === id)) return;
  const active = await requireRoom(work, index, 'internal');
  const others = without(index.leftSnapshots, id);
  await writeIndex(places, { ...index, leftSnapshots: [...others, id] });
  if (active.snapshots.some(({ name }) => name === id)) await changeSnapshot(host, 'delete', id, active.path);
  await changeSnapshot(host, 'create', id, active.path);
  await writeIndex(places, { ...withNode(index, { id, kind: 'internal', at: clock.now().toISOString() }), leftSnapshots: others });
}

/** bhyve names the overlay, and the snapshot, after the checkpoint: nothing of that name may be there. */
async function checkpointRunning(work: Work, id: CheckpointId, kind: CheckpointKind, ask: () => Promise<void>): Promise<void> {
  const { places } = work;
  const index = await requireIndex(places);
  if (index.nodes.some((node) => node.id === id)) return;
  if (index.live !== null && index.live.id !== id) throw refusal('bhyve was asked for another checkpoint, and it is not known whether it is still at it: stop the server first');
  const active = await requireRoom(work, index, kind);
  if ((await places.files.exists(join(places.folder, id))) || active.snapshots.some(({ name }) => name === id)) throw refusal('the disk has something of that name already: choose another one');
  const noted = await noteLive(places, index, id, kind, work.clock.now());
  await ask();
  if ((await settleLive(places, noted)).live === null) return;
  await writeIndex(places, { ...noted, live: null });
  throw refusal('bhyve has made no checkpoint of the disk: bhyve.log says why');
}

/** The active file, if a checkpoint of this kind can be made of it. */
async function requireRoom({ places, maxFiles }: Work, index: ChainIndex, kind: CheckpointKind): Promise<ChainFile> {
  const other = kind === 'external' ? 'internal' : 'external';
  if (index.nodes.some((node) => node.kind === other)) throw refusal(`the disk has ${other} checkpoints: delete them first, or make another ${other} one`);
  const chain = await readChain(places, index.active);
  if (kind === 'internal') return chain[0]!;
  if (chain[0]!.snapshots.length > 0) throw refusal('the disk has left snapshots inside: tidy it first');
  if (chain.length >= maxFiles) throw refusal(`the disk is made of ${chain.length} files, as many as may be: flatten it first`);
  return chain[0]!;
}

async function restore(work: Work, id: CheckpointId, madeFor: string): Promise<void> {
  const { host, places } = work;
  requireName(madeFor);
  const index = await indexOfStopped(places);
  if (index.madeFor === madeFor) return;
  const node = index.nodes.find((one) => one.id === id);
  if (node === undefined) throw new AgentError('checkpoint-missing', 'the disk has no such checkpoint', { details: { id } });
  const file = (await readChain(places, node.file))[0]!;
  if (node.kind === 'internal') {
    if (node.file !== index.active) throw damaged(file.path, 'an internal checkpoint lies in a file that is not the active one');
    await changeSnapshot(host, 'apply', id, file.path);
    await writeIndex(places, { ...index, current: id, madeFor });
    return;
  }
  const listed = await addOverlay(work, index, madeFor, file);
  await writeIndex(places, { ...listed, active: madeFor, current: id, madeFor, left: [...without(listed.left, madeFor), index.active] });
}

async function remove({ places }: Work, id: CheckpointId): Promise<void> {
  const index = await requireIndex(places);
  const node = index.nodes.find((one) => one.id === id);
  if (node === undefined) return;
  await writeIndex(places, {
    ...index,
    current: index.current === id ? node.parent : index.current,
    nodes: index.nodes.filter((one) => one !== node).map((one) => (one.parent === id ? { ...one, parent: node.parent } : one)),
    left: node.kind === 'external' ? [...index.left, node.file] : index.left,
    leftSnapshots: node.kind === 'internal' ? [...index.leftSnapshots, id] : index.leftSnapshots,
  });
}

/** What a snapshot inside does not hold itself comes from below: such a file must stay where it is. */
async function flatten({ host, places }: Work): Promise<void> {
  const [active, ...below] = await readChain(places, (await indexOfStopped(places)).active);
  const image = below.at(-1)?.name === null ? below.at(-1)!.path : null;
  if (active!.backingPath === image) return;
  if (active!.snapshots.length > 0) throw refusal('the disk has snapshots inside that rest on the files below it: delete them first');
  await rebaseFile(host, active!.path, image);
}

const requireName = (name: string): void => {
  if (!isPlainName(name) || name === 'base' || name === 'chain.json') throw refusal('that is no name for a file of a disk');
};

const without = (names: readonly string[], name: string): string[] => names.filter((one) => one !== name);

/**
 * Makes an empty overlay of `below`, which is nobody's as yet; the index that says so. A name that is in use is refused: libvdsk takes the first of two. One that an
 * attempt has left behind is made again.
 */
async function addOverlay({ host, places }: Work, index: ChainIndex, name: string, below: ChainFile): Promise<ChainIndex> {
  const files = await indexFiles(places, index);
  const isLeft = index.left.includes(name) && !files.some(({ backingPath }) => backingPath === join(places.folder, name));
  if (!isLeft && files.some((file) => file.name === name)) throw refusal('the disk has a file of that name already: choose another one');
  const listed = { ...index, left: [...without(index.left, name), name] };
  await writeIndex(places, listed);
  await writeFile(host, places, name, { bytes: below.virtualBytes, clusterBytes: below.clusterBytes, backing: below.path });
  return listed;
}

/** Under a temporary name first: a file that has its own name is whole. */
async function writeFile(host: Host, { folder }: ChainPlaces, name: string, file: Omit<NewFile, 'path'>): Promise<void> {
  const temporary = join(folder, `${TEMPORARY}${name}`);
  await host.files.remove(temporary, folder);
  await createFile(host, { ...file, path: temporary });
  await host.files.rename(temporary, join(folder, name));
}
