/** The files that a disk consists of, as their headers say. A backing file is followed only if it is plainly ours. */
import { dirname, join } from 'node:path';
import type { HostFiles } from '../../host/index.js';
import { openImageFile } from '../image-inspector/reader.js';
import { damaged, readHeader } from './read-header.js';
import type { ChainFile } from './types.js';

export interface ChainPlaces {
  readonly files: HostFiles;
  /** Absolute path of the folder of one disk; nobody but the agent and bhyve can write there. */
  readonly folder: string;
  /** Absolute path of the folder with the cached images, which rest on nothing. */
  readonly images: string;
}

const PLAIN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
/** No chain of ours comes near; one that goes round in a circle ends here. */
const MAX_FILES = 256;

/** Fit to be the name of a file and of a snapshot, in qemu-img's eyes too: no path, no protocol, no option. */
export const isPlainName = (name: string): boolean => PLAIN.test(name);

/** One file of the disk's folder. AgentError `disk-chain-damaged`, also if it is not there. */
export const readFile = async (places: ChainPlaces, name: string): Promise<ChainFile> => readAt(places, join(places.folder, name), name);

/** From `name` down. AgentError `disk-chain-damaged` for a backing file that is not ours, for another cluster size, and for a circle. */
export async function readChain(places: ChainPlaces, name: string): Promise<readonly ChainFile[]> {
  const chain = [await readFile(places, name)];
  for (let last = chain[0]!; last.backingPath !== null; last = chain.at(-1)!) {
    if (chain.length >= MAX_FILES) throw damaged(last.path, 'its backing files never end');
    const isImage = dirname(last.backingPath) === places.images;
    const next = await readAt(places, last.backingPath, isImage ? null : last.backingPath.slice(places.folder.length + 1));
    if (next.clusterBytes !== chain[0]!.clusterBytes) throw damaged(next.path, 'its cluster size is not that of the files on it');
    chain.push(next);
  }
  return chain;
}

async function readAt(places: ChainPlaces, path: string, name: string | null): Promise<ChainFile> {
  if (!(await places.files.exists(path))) throw damaged(path, 'it is not there');
  const { backing, ...header } = await readHeader(await openImageFile(places.files, path), path);
  if (name === null && backing !== null) throw damaged(path, 'it is an image, and has a backing file');
  return { name, path, ...header, backingPath: backing === null ? null : ourPath(places, path, backing) };
}

/** Absolute always: libvdsk looks for any other name from the working directory of bhyve. */
function ourPath({ folder, images }: ChainPlaces, path: string, { name, format }: { readonly name: string; readonly format: string | null }): string {
  if (format !== 'qcow2') throw damaged(path, 'the format of its backing file is not given as qcow2');
  const isOurs = [folder, images].some((place) => name.startsWith(`${place}/`) && isPlainName(name.slice(place.length + 1)));
  if (!isOurs) throw damaged(path, 'its backing file is none of ours');
  return name;
}
