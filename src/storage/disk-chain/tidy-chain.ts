/** Frees what is nobody's, from the leaves to the roots; see `tidy` in types.ts. */
import { join } from 'node:path';
import type { Host } from '../../host/index.js';
import { writeIndex, type ChainIndex } from './chain-index.js';
import { changeSnapshot, rebaseFile } from './qemu-img.js';
import { readChain, readFile, type ChainPlaces } from './read-chain.js';
import type { ChainFile } from './types.js';

/** Begins the name of a file that is being made. */
export const TEMPORARY = '.new-';
/** Begins the name of what an index is written to before it takes its place (host/files.ts). */
const HALF_WRITTEN = '.tmp-';

interface Work { readonly host: Host; readonly places: ChainPlaces }

/** Every file that the index speaks of and that is there. */
export async function indexFiles(places: ChainPlaces, { active, nodes, left, kept }: ChainIndex): Promise<readonly ChainFile[]> {
  const names = [...new Set([active, ...nodes.map(({ file }) => file), ...(kept === null ? [] : [kept.active]), ...left])];
  const isMade = await Promise.all(names.map((name) => places.files.exists(join(places.folder, name))));
  // What is nobody's may not have been made yet, or be gone already; the others must be there.
  return Promise.all(names.filter((name, at) => isMade[at]! || !left.includes(name)).map((name) => readFile(places, name)));
}

/** How many files and snapshots wait for the guest, or for others that rest on them. */
export async function tidyChain(work: Work, index: ChainIndex, isInUse: boolean): Promise<number> {
  const { host, places } = work;
  for (const name of await places.files.list(places.folder)) {
    if (name.startsWith(TEMPORARY) || name.startsWith(HALF_WRITTEN)) await host.files.remove(join(places.folder, name), places.folder);
  }
  let now = isInUse ? index : await dropSnapshots(work, index);
  for (let next = await dropOneFile(work, now, isInUse); next !== undefined; next = await dropOneFile(work, now, isInUse)) now = next;
  return now.left.length + now.leftSnapshots.length;
}

async function dropSnapshots({ host, places }: Work, index: ChainIndex): Promise<ChainIndex> {
  if (index.leftSnapshots.length === 0) return index;
  const active = await readFile(places, index.active);
  for (const name of index.leftSnapshots) {
    if (active.snapshots.some((snapshot) => snapshot.name === name)) await changeSnapshot(host, 'delete', name, active.path);
  }
  const now = { ...index, leftSnapshots: [] };
  await writeIndex(places, now);
  return now;
}

/** The index without one file that it could do without; undefined if there is none. */
async function dropOneFile({ host, places }: Work, index: ChainIndex, isInUse: boolean): Promise<ChainIndex | undefined> {
  const files = await indexFiles(places, index);
  const held = isInUse ? (await readChain(places, index.active)).map(({ path }) => path) : [];
  for (const name of index.left) {
    const path = join(places.folder, name);
    const children = files.filter(({ backingPath }) => backingPath === path);
    if (children.length > 1 || held.includes(path) || !children.every(isMovable)) continue;
    const file = files.find((one) => one.path === path);
    if (file !== undefined) {
      for (const child of children) {
        await readChain(places, child.name!); // nothing that is not ours is opened below
        await rebaseFile(host, child.path, file.backingPath);
      }
      await host.files.remove(path, places.folder);
    }
    const now = { ...index, left: index.left.filter((one) => one !== name) };
    await writeIndex(places, now);
    return now;
  }
  return undefined;
}

/** A snapshot inside a file reads through to the files below; a rebase minds the present content only. */
const isMovable = ({ snapshots }: ChainFile): boolean => snapshots.length === 0;
