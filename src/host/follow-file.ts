import { constants } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { AgentError } from '../lib/errors.js';
import type { FileFollower, TerminalInput } from './host.js';

const chunkBytes = 64 * 1024;
const mostBehindBytes = 1024 * 1024;

const codeOfSystem = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;

async function openOrUndefined(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, 'r');
  } catch (error) {
    if (codeOfSystem(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** See host.ts. Polled by its caller: a log has one reader at most, and only while somebody looks. */
export async function followFile(path: string): Promise<FileFollower> {
  let handle = await openOrUndefined(path);
  let position = handle === undefined ? 0 : (await handle.stat()).size;
  const buffer = Buffer.alloc(chunkBytes);

  async function next(): Promise<Uint8Array> {
    if (handle === undefined) return new Uint8Array();
    const { size } = await handle.stat();
    if (size < position) position = 0; // cut
    if (size - position > mostBehindBytes) position = size - chunkBytes;
    const { bytesRead } = await handle.read(buffer, 0, chunkBytes, position);
    position += bytesRead;
    return Uint8Array.from(buffer.subarray(0, bytesRead));
  }

  /** True if the name means another file now: the old one was read to its end. */
  async function turnedOver(): Promise<boolean> {
    const now = await stat(path).catch(() => undefined); // between the rename and the new file
    if (now === undefined || (handle !== undefined && (await handle.stat()).ino === now.ino)) return false;
    await handle?.close();
    handle = await openOrUndefined(path);
    position = 0;
    return true;
  }

  return {
    async read() {
      const chunk = await next();
      return chunk.length === 0 && (await turnedOver()) ? next() : chunk;
    },
    close: async () => handle?.close(),
  };
}

/** See host.ts. AgentError `file-failed` when the terminal is not there or its other side hung up. */
export async function openTerminal(path: string): Promise<TerminalInput> {
  const failed = (cause: unknown): AgentError =>
    new AgentError('file-failed', 'could not write to a terminal', { cause, details: { path, errno: codeOfSystem(cause) ?? 'unknown' } });
  let handle: FileHandle;
  try {
    handle = await open(path, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    throw failed(error);
  }
  return {
    async write(chunk) {
      try {
        return (await handle.write(chunk)).bytesWritten;
      } catch (error) {
        if (codeOfSystem(error) === 'EAGAIN') return 0;
        throw failed(error);
      }
    },
    close: () => handle.close(),
  };
}
