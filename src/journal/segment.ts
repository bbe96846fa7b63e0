/**
 * Files of the journal: `journal-NNNNNNNN.log`, one at a time, mode 0600. A new file is complete and on the disk before it gets its name,
 * and only then the older ones are removed: so the one with the highest number is always whole.
 */
import { constants } from 'node:fs';
import { mkdir, open, readFile, readdir, rename, rm, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';

const pattern = /^journal-(\d{8,})\.log$/;
const temporaryName = 'journal.new';

export const segmentName = (number: number): string => `journal-${String(number).padStart(8, '0')}.log`;

/** Numbers of the files in a folder, lowest first; none if there is no folder. */
export async function listSegments(folder: string): Promise<number[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  return names.map((name) => pattern.exec(name)?.[1]).filter((digits) => digits !== undefined).map(Number).sort((a, b) => a - b);
}

export const readSegment = (folder: string, number: number): Promise<Buffer> => readFile(join(folder, segmentName(number)));

export const makeFolder = async (folder: string): Promise<void> => void (await mkdir(folder, { recursive: true, mode: 0o700 }));

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export interface OpenSegment {
  readonly number: number;
  append(bytes: Uint8Array): Promise<void>;
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** Creates file `number` with `content`, durably, and removes all others. */
export async function startSegment(folder: string, number: number, content: Uint8Array): Promise<OpenSegment> {
  const temporary = join(folder, temporaryName);
  await rm(temporary, { force: true });
  const handle = await open(temporary, 'wx', 0o600);
  try {
    await handle.writeFile(content);
    await handle.sync();
    await rename(temporary, join(folder, segmentName(number)));
    await syncFolder(folder);
  } catch (error) {
    await handle.close();
    throw error;
  }
  const older = (await listSegments(folder)).filter((other) => other < number);
  await Promise.all(older.map((other) => rm(join(folder, segmentName(other)), { force: true })));
  return openSegment(number, handle);
}

/** The handle stays where writing ended: it was opened by us and nobody else writes. */
function openSegment(number: number, handle: FileHandle): OpenSegment {
  return {
    number,
    append: (bytes) => handle.writeFile(bytes), // a FileHandle writes on from where it is, and all of it
    sync: () => handle.datasync(),
    close: () => handle.close(),
  };
}
