/**
 * Files of the agent. A write is atomic and on the disk when the call returns: temporary file in the same folder, fsync, rename,
 * fsync of the folder. AgentError `file-failed` (details: path, errno), `file-no-space` (retry later), `file-too-large`.
 */
import { randomUUID } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { chmod, copyFile, link, lstat, mkdir, open, readdir, rename, rm, stat, statfs, truncate, type FileHandle } from 'node:fs/promises';
import { dirname, isAbsolute, join, normalize, relative } from 'node:path';
import { assert } from '../lib/assert.js';
import { AgentError } from '../lib/errors.js';
import { followFile, openTerminal } from './follow-file.js';
import type { FileSink, HostFiles } from './host.js';

const DEFAULT_MAX_TEXT_BYTES = 16 * 1024 * 1024;
const SOURCE_CHUNK_BYTES = 1024 * 1024;

export function createFiles(): HostFiles {
  return {
    readText: (path, maxBytes = DEFAULT_MAX_TEXT_BYTES) => guard('read', path, () => readText(path, maxBytes)),
    readTail: (path, maxBytes) => guard('read', path, () => readTail(path, maxBytes)),
    writeAtomic: (path, content, mode = 0o600) => guard('write', path, () => writeAtomic(path, content, mode)),
    createExclusive: (path, content, mode = 0o600) => guard('create', path, () => createExclusive(path, content, mode)),
    makeDirectory: (path, mode = 0o700) => guard('create', path, () => makeDirectory(path, mode)),
    remove: (path, root) => guard('remove', path, () => remove(path, root)),
    rename: (from, to) => guard('rename', from, () => renameDurably(from, to)),
    copy: (from, to, mode = 0o600) => guard('copy', from, () => copyDurably(from, to, mode)),
    link: (from, to) => guard('link', from, () => linkDurably(from, to)),
    truncate: (path, bytes) => guard('truncate', path, () => truncate(path, bytes)),
    exists: (path) => guard('look at', path, async () => (await statOrUndefined(path)) !== undefined),
    sizeBytes: (path) => guard('look at', path, async () => (await statOrUndefined(path))?.size),
    freeBytes: (folder) => guard('look at', folder, async () => {
      const { bavail, bsize } = await statfs(folder, { bigint: true });
      return bavail * bsize;
    }),
    sync: (path) => guard('write', path, async () => {
      await withHandle(await open(path, 'r+'), (handle) => handle.sync());
      await syncFolder(dirname(path));
    }),
    list: (path) => guard('list', path, () => list(path)),
    openSink: (path, mode = 0o600) => guard('create', path, () => openSink(path, mode)),
    openSource: (path, range) => openSource(path, range),
    follow: (path) => guard('follow', path, () => followFile(path)),
    openTerminal: (path) => openTerminal(path),
  };
}

/** Turns errors of the system into AgentErrors which name the path. */
async function guard<T>(what: string, path: string, work: () => Promise<T>): Promise<T> {
  assert(isAbsolute(path), 'paths of files are absolute');
  try {
    return await work();
  } catch (error) {
    throw fileError(what, path, error);
  }
}

function fileError(what: string, path: string, cause: unknown): unknown {
  const errno = (cause as NodeJS.ErrnoException | undefined)?.code;
  if (cause instanceof AgentError || typeof errno !== 'string' || (cause as NodeJS.ErrnoException).syscall === undefined) return cause;
  const details = { path, errno };
  if (errno === 'ENOSPC' || errno === 'EDQUOT') return new AgentError('file-no-space', 'the file system of a file is full', { cause, details, retry: 'later' });
  return new AgentError('file-failed', `could not ${what} a file`, { cause, details });
}

const isMissing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT';

async function undefinedIfMissing<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

const statOrUndefined = (path: string) => undefinedIfMissing(stat(path, { bigint: true }));

async function withHandle<T>(handle: FileHandle, work: (handle: FileHandle) => Promise<T>): Promise<T> {
  try {
    return await work(handle);
  } finally {
    await handle.close();
  }
}

async function readText(path: string, maxBytes: number): Promise<string | undefined> {
  const handle = await undefinedIfMissing(open(path, 'r'));
  if (handle === undefined) return undefined;
  return withHandle(handle, async () => {
    const content = await readUpTo(handle, maxBytes + 1, 0);
    if (content.length > maxBytes) throw new AgentError('file-too-large', 'a file is larger than it may be', { details: { path, maxBytes } });
    return content.toString('utf8');
  });
}

async function readTail(path: string, maxBytes: number): Promise<Uint8Array | undefined> {
  const handle = await undefinedIfMissing(open(path, 'r'));
  if (handle === undefined) return undefined;
  return withHandle(handle, async () => {
    const { size } = await handle.stat();
    return new Uint8Array(await readUpTo(handle, Math.min(size, maxBytes), Math.max(0, size - maxBytes)));
  });
}

/** Most files of ours are shorter: one read has them. */
const FIRST_READ_BYTES = 4096;

/** At most `bytes` from `position`, fewer at the end of the file; a regular file gives less than it is asked for only there. */
async function readUpTo(handle: FileHandle, bytes: number, position: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let total = 0;
  while (total < bytes) {
    const buffer = Buffer.allocUnsafe(Math.min(total === 0 ? FIRST_READ_BYTES : 64 * 1024, bytes - total));
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, position + total);
    chunks.push(buffer.subarray(0, bytesRead));
    total += bytesRead;
    if (bytesRead < buffer.length) break;
  }
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
}

async function syncFolder(path: string): Promise<void> {
  await withHandle(await open(path, 'r'), (handle) => handle.sync());
}

const temporaryBeside = (path: string): string => join(dirname(path), `.tmp-${randomUUID()}`);

/** Calls `fill` with a temporary path, then puts that file in the place of `path`; leaves nothing behind if it fails. */
async function replace(path: string, fill: (temporary: string) => Promise<void>): Promise<void> {
  const temporary = temporaryBeside(path);
  try {
    await fill(temporary);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}

async function writeAtomic(path: string, content: string | Uint8Array, mode: number): Promise<void> {
  await replace(path, async (temporary) => {
    await withHandle(await open(temporary, 'wx', mode), async (handle) => {
      await handle.chmod(mode); // whatever the umask is
      await handle.writeFile(content);
      await handle.sync();
    });
  });
}

/** The content is complete whenever the name exists: link(2) refuses to replace, where rename would not. */
async function createExclusive(path: string, content: string, mode: number): Promise<boolean> {
  const temporary = temporaryBeside(path);
  try {
    await withHandle(await open(temporary, 'wx', mode), async (handle) => {
      await handle.chmod(mode);
      await handle.writeFile(content);
      await handle.sync();
    });
    await link(temporary, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    await rm(temporary, { force: true });
  }
  await syncFolder(dirname(path));
  return true;
}

async function makeDirectory(path: string, mode: number): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode });
  if (first === undefined) return;
  await chmod(path, mode);
  await syncFolder(dirname(first));
}

/** Refuses paths that leave `root` by name or through a symbolic link on the way; a link itself is removed, not followed. */
async function remove(path: string, root: string): Promise<void> {
  assert(isAbsolute(root) && root !== '/', 'the root of a removal is an absolute path below /');
  const inside = relative(root, path);
  assert(path === normalize(path).replace(/\/$/, '') && inside !== '' && !inside.startsWith('..') && !isAbsolute(inside), 'a file to be removed lies below its root');
  let folder = root;
  for (const part of inside.split('/').slice(0, -1)) {
    folder = join(folder, part);
    const info = await undefinedIfMissing(lstat(folder));
    if (info === undefined) return;
    assert(info.isDirectory(), 'the way to a file to be removed is made of folders, not links');
  }
  if ((await undefinedIfMissing(lstat(path))) === undefined) return; // whoever removed it brought that to the disk
  await rm(path, { recursive: true, force: true });
  if ((await statOrUndefined(folder)) !== undefined) await syncFolder(folder);
}

async function renameDurably(from: string, to: string): Promise<void> {
  await rename(from, to);
  await syncFolder(dirname(to));
  if (dirname(from) !== dirname(to)) await syncFolder(dirname(from));
}

async function copyDurably(from: string, to: string, mode: number): Promise<void> {
  await replace(to, async (temporary) => {
    await copyFile(from, temporary, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    await chmod(temporary, mode);
    await withHandle(await open(temporary, 'r+'), (handle) => handle.sync());
  });
}

async function linkDurably(from: string, to: string): Promise<void> {
  await link(from, to);
  await syncFolder(dirname(to));
}

async function list(path: string): Promise<string[]> {
  return ((await undefinedIfMissing(readdir(path))) ?? []).sort();
}

/** An older file of that name is emptied, a symbolic link refused. */
async function openSink(path: string, mode: number): Promise<FileSink> {
  const handle = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW, mode);
  let isOpen = true;
  const finish = async (): Promise<void> => {
    assert(isOpen, 'a sink ends once');
    isOpen = false;
    await handle.close();
  };
  return {
    write: (chunk) => guard('write', path, async () => {
      assert(isOpen, 'a sink that has ended takes no more');
      await handle.writeFile(chunk);
    }),
    commit: () => guard('write', path, async () => {
      assert(isOpen, 'a sink ends once');
      await handle.sync();
      await finish();
      await syncFolder(dirname(path));
    }),
    abort: () => guard('remove', path, async () => {
      await finish();
      await rm(path, { force: true });
    }),
  };
}

/** Nothing is opened before the first chunk is asked for; the file is closed when the consumer stops. */
async function* openSource(path: string, range?: { start: bigint; end: bigint }): AsyncGenerator<Uint8Array, void, void> {
  assert(isAbsolute(path), 'paths of files are absolute');
  if (range !== undefined && range.end <= range.start) return;
  const bounds = range === undefined ? {} : { start: Number(range.start), end: Number(range.end - 1n) };
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: SOURCE_CHUNK_BYTES, ...bounds })) yield chunk as Buffer;
  } catch (error) {
    throw fileError('read', path, error);
  }
}
