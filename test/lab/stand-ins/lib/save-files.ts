/** The files of a saved guest as bhyve opens them for `-r`, and the errors that end it before a VM exists. */
import { readFileSync, statSync } from 'node:fs';
import type { SaveFacts } from './profiles.js';
import { Exit, strerror } from './tool.js';

/** One member of an array of `.meta`: only what bhyve reads. */
interface Part { readonly [name: string]: unknown }

export interface SavedFiles {
  readonly file: string;
  readonly memoryBytes: number;
  readonly kernelBytes: number;
  readonly meta: Readonly<Record<string, unknown>>;
}

const NAME_MAX = 255;

/** Opens the three files (UPB's two); exit 1 with bhyve's words if one is missing, empty or no JSON. */
export function openSaved(file: string, save: SaveFacts): SavedFiles {
  const fail = (words: string): Exit => new Exit(1, `${words}Failed to read checkpoint info from file: '${file}'.\n`);
  const size = (path: string, what: string, whole: string, empty: string): number => {
    let bytes: number;
    try {
      bytes = statSync(path).size;
    } catch (error) {
      throw fail(`Failed to open ${what}: ${strerror(error)}\nFailed to load guest ${whole} file.\n`);
    }
    if (bytes === 0) throw fail(`${empty}\nFailed to load guest ${whole} file.\n`);
    return bytes;
  };
  const memoryBytes = size(file, 'restore file', 'RAM', 'Restore file is empty.');
  if (file.length + '.kern'.length > NAME_MAX) throw fail('Filename exceeds maximum length.\nFailed to construct kernel data filename.\n');
  const kernelBytes = save.family === 'upb-json' ? 0 : size(`${file}.kern`, 'kernel data file', 'kernel data', 'Kernel data file is empty.');
  try {
    const meta: unknown = JSON.parse(readFileSync(`${file}.meta`, 'utf8'));
    if (typeof meta === 'object' && meta !== null) return { file, memoryBytes, kernelBytes, meta: meta as Record<string, unknown> };
  } catch {
    // said below
  }
  throw fail(`Failed to parse metadata file: '${file}.meta'\nFailed to load guest metadata file.\n`);
}

const basic = (saved: SavedFiles): Part => (saved.meta['basic metadata'] ?? {}) as Part;

export const savedName = (saved: SavedFiles): string | undefined => {
  const name = basic(saved)['vmname'];
  return typeof name === 'string' ? name : undefined;
};

/** What a restore takes from the save and not from the configuration. */
export const savedSize = (saved: SavedFiles): { cpus: number; memoryMiB: number } =>
  ({ cpus: Number(basic(saved)['ncpus'] ?? 0), memoryMiB: Number(basic(saved)['memsize'] ?? 0) / 2 ** 20 });

/** The array `list`, undefined if there is none. */
export function partsOf(saved: SavedFiles, list: string): readonly Part[] | undefined {
  const parts = saved.meta[list];
  return Array.isArray(parts) ? (parts as Part[]) : undefined;
}

export interface PlacedPart { readonly bytes: number; readonly offset: number; readonly params: unknown }

/** The member whose `key` is `name`. */
export function findPart(parts: readonly Part[], key: string, name: string): PlacedPart | undefined {
  const part = parts.find((one) => one[key] === name);
  return part === undefined ? undefined : { bytes: Number(part['size'] ?? 0), offset: Number(part['file_offset'] ?? 0), params: part['device_params'] };
}
