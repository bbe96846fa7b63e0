/**
 * Volumes on an engine that has none. The dataset is a file system, mounted on NODE/run/zvol/KEY; its one file, `data`, is the disk;
 * DEV/zvol/NAME is a link to it. KEY is a user property, so renaming a dataset moves the link only and whoever has the disk open
 * keeps it, as on FreeBSD.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, ftruncateSync, lstatSync, mkdirSync, openSync, readdirSync, rmSync, rmdirSync, statSync, symlinkSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { StandInNode } from './lab-node.js';
import type { Dataset } from './zfs-datasets.js';
import type { ZfsFuse } from './zfs-fuse.js';
import { showProperty } from './zfs-properties.js';

export const keyOf = (dataset: Dataset): string => String(dataset.raw('lab:key')?.value ?? '');
const folderOf = (node: StandInNode, key: string): string => join(node.run, 'zvol', key);
export const dataFile = (node: StandInNode, key: string): string => join(folderOf(node, key), 'data');
export const zvolLink = (node: StandInNode, name: string): string => join(node.dev, 'zvol', name);

/** Mounts a volume's file system and makes sure that its disk has `bytes` (undefined: leave it, it must be there). Returns its size. */
export async function attachVolume(engine: ZfsFuse, node: StandInNode, name: string, key: string, bytes?: bigint): Promise<bigint> {
  const folder = folderOf(node, key);
  mkdirSync(dirname(folder), { recursive: true });
  if (!hasFolder(folder)) mkdirSync(folder);
  await mountDataset(engine, name, folder);
  if (bytes !== undefined) resizeVolume(node, key, bytes);
  return BigInt(statSync(dataFile(node, key)).size);
}

const hasFolder = (folder: string): boolean => readdirSync(dirname(folder)).includes(basename(folder));

const EBUSY = 16;

/** Right after an unmount the engine still calls the dataset busy for a moment. */
async function mountDataset(engine: ZfsFuse, name: string, folder: string): Promise<void> {
  for (let attempt = 0; !isMounted(folder); attempt++) {
    const errno = await engine.mount(name, folder);
    if (errno === 0) return;
    if (errno !== EBUSY || attempt === 200) throw new Error(`zfs-fuse cannot mount ${name}: errno ${errno}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function isMounted(folder: string): boolean {
  try {
    return lstatSync(folder).dev !== lstatSync(dirname(folder)).dev;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOTCONN') throw error;
    // The mount of an engine that died.
    spawnSync('umount', ['-l', folder], { stdio: 'ignore' });
    return false;
  }
}

/** Gives the disk exactly `bytes`. Tools that take it for a file may have cut it; a device cannot be cut. */
export function resizeVolume(node: StandInNode, key: string, bytes: bigint): void {
  // A file of 8 EiB is more than the host's file systems can do; nobody writes to such a volume.
  const size = Number(bytes > 1n << 52n ? 1n << 52n : bytes);
  const path = dataFile(node, key);
  if (existsSync(path) && statSync(path).size === size) return;
  const file = openSync(path, existsSync(path) ? 'r+' : 'w+', 0o640);
  try {
    ftruncateSync(file, size);
  } finally {
    closeSync(file);
  }
}

/** Unmounts; false if somebody has the disk open. */
export function detachVolume(node: StandInNode, key: string): boolean {
  const folder = folderOf(node, key);
  if (!existsSync(dirname(folder)) || !hasFolder(folder)) return true;
  if (isMounted(folder) && spawnSync('umount', [folder], { stdio: 'ignore' }).status !== 0) return false;
  rmdirSync(folder);
  return true;
}

/** Makes, moves or removes the device node, as volmode says. */
export function linkVolume(node: StandInNode, dataset: Dataset): void {
  const mode = showProperty(dataset, 'volmode', true, () => []).value;
  if (mode === 'none') unlinkVolume(node, dataset.name);
  else addLink(node, dataset.name, keyOf(dataset));
}

function addLink(node: StandInNode, name: string, key: string): void {
  const link = zvolLink(node, name);
  mkdirSync(dirname(link), { recursive: true });
  rmSync(link, { force: true });
  symlinkSync(dataFile(node, key), link);
}

/** Removes a node and the folders that it leaves empty. */
export function unlinkVolume(node: StandInNode, name: string): void {
  const link = zvolLink(node, name);
  rmSync(link, { force: true });
  const top = join(node.dev, 'zvol');
  for (let folder = dirname(link); folder.length > top.length && existsSync(folder) && readdirSync(folder).length === 0; folder = dirname(folder)) rmdirSync(folder);
  if (existsSync(top) && readdirSync(top).length === 0) rmdirSync(top);
}
