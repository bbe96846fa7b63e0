/** What the operations on a chain have in common. */
import { join } from 'node:path';
import type { Clock } from '../../lib/clock.js';
import { AgentError } from '../../lib/errors.js';
import type { Host } from '../../host/index.js';
import { readIndex, withLeft, writeIndex, type ChainIndex } from './chain-index.js';
import { settleLive } from './live-checkpoint.js';
import { createFile, type NewFile } from './qemu-img.js';
import { isPlainName, type ChainPlaces } from './read-chain.js';
import { damaged } from './read-header.js';
import { indexFiles, TEMPORARY } from './tidy-chain.js';
import type { ChainFile } from './types.js';

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

export interface Work extends DiskChainOptions { readonly places: ChainPlaces }

export const refusal = (message: string): AgentError => new AgentError('disk-chain-refused', message);

/** The index, with what bhyve has made meanwhile. AgentError `disk-chain-damaged` without one. */
export async function requireIndex(places: ChainPlaces): Promise<ChainIndex> {
  const index = await readIndex(places);
  if (index === undefined) throw damaged(join(places.folder, 'chain.json'), 'there is no index');
  return settleLive(places, index);
}

/** What bhyve has not made by now it will not make: the guest is off. */
export const indexOfStopped = async (places: ChainPlaces): Promise<ChainIndex> => ({ ...(await requireIndex(places)), live: null });

/** `after`, with the file that was the active one as nobody's, unless a move may go back to it. */
export const leaving = (before: ChainIndex, after: ChainIndex): ChainIndex => (before.kept?.active === before.active ? after : withLeft(after, before.active));

/** What is inside the active file would be nowhere to be found once another one takes its place. */
export function refuseInside({ nodes }: ChainIndex): void {
  if (nodes.some(({ kind }) => kind === 'internal')) throw refusal('the disk has checkpoints inside, which stay with its file: delete them first');
}

export const requireName = (name: string): void => {
  if (!isPlainName(name) || name === 'base' || name === 'chain.json') throw refusal('that is no name for a file of a disk');
};

export const without = (names: readonly string[], name: string): string[] => names.filter((one) => one !== name);

/**
 * Makes an empty overlay of `below`, which is nobody's as yet; the index that says so. A name that is in use is refused: libvdsk takes the first of two. One that an
 * attempt has left behind is made again.
 */
export const addOverlay = (work: Work, index: ChainIndex, name: string, below: ChainFile): Promise<ChainIndex> =>
  addFile(work, index, name, { bytes: below.virtualBytes, clusterBytes: below.clusterBytes, backing: below.path });

/** The same with any file. */
export async function addFile({ host, places }: Work, index: ChainIndex, name: string, file: Omit<NewFile, 'path'>): Promise<ChainIndex> {
  const files = await indexFiles(places, index);
  const isLeft = index.left.includes(name) && !files.some(({ backingPath }) => backingPath === join(places.folder, name));
  if (!isLeft && files.some((file) => file.name === name)) throw refusal('the disk has a file of that name already: choose another one');
  const listed = { ...index, left: [...without(index.left, name), name] };
  await writeIndex(places, listed);
  await writeFile(host, places, name, file);
  return listed;
}

/** Under a temporary name first: a file that has its own name is whole. */
export async function writeFile(host: Host, { folder }: ChainPlaces, name: string, file: Omit<NewFile, 'path'>): Promise<void> {
  const temporary = join(folder, `${TEMPORARY}${name}`);
  await host.files.remove(temporary, folder);
  await createFile(host, { ...file, path: temporary });
  await host.files.rename(temporary, join(folder, name));
}
