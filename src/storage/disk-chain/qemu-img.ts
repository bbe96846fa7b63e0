/**
 * qemu-img on files of our own. The format is always given. What it has done is on the disk when a call returns. AgentError `command-missing` (package qemu-tools),
 * `file-no-space`, `command-failed`. Limits of time are generous: a rebase may copy a whole disk.
 */
import { AgentError, codeOf } from '../../lib/errors.js';
import type { Host } from '../../host/index.js';

const SHORT_MS = 120_000;
const LONG_MS = 4 * 3_600_000;

export interface NewFile {
  readonly path: string;
  readonly bytes: bigint;
  /** Of the whole chain; null: qemu-img's own, 64 KiB. */
  readonly clusterBytes: number | null;
  /** Absolute path. */
  readonly backing: string | null;
}

/** Version 3 without any feature that libvdsk would refuse; why not version 2, read-header.ts says. */
export async function createFile(host: Host, { path, bytes, clusterBytes, backing }: NewFile): Promise<void> {
  const options = ['compat=1.1', 'lazy_refcounts=off', ...(clusterBytes === null ? [] : [`cluster_size=${clusterBytes}`])].join(',');
  await run(host, ['create', '-q', '-f', 'qcow2', '-o', options, ...(backing === null ? [] : ['-b', backing, '-F', 'qcow2']), path, String(bytes)], SHORT_MS);
  await host.files.sync(path);
}

/**
 * The content stays; what the old backing files gave and the new one (null: nothing) does not give is copied into the file. Always down the chain, to a file that is not
 * larger: there qemu-img writes no clusters that are marked as zeros, whose mark libvdsk would take for a place in the file.
 */
export async function rebaseFile(host: Host, path: string, backing: string | null): Promise<void> {
  await run(host, ['rebase', '-q', '-f', 'qcow2', ...(backing === null ? ['-b', ''] : ['-b', backing, '-F', 'qcow2']), path], LONG_MS);
  await host.files.sync(path);
}

/** The content of a raw file, without its zeros, as a file that rests on nothing. */
export async function fillFile(host: Host, raw: string, path: string, clusterBytes: number): Promise<void> {
  await run(host, ['convert', '-q', '-f', 'raw', '-O', 'qcow2', '-o', `compat=1.1,lazy_refcounts=off,cluster_size=${clusterBytes}`, raw, path], LONG_MS);
  await host.files.sync(path);
}

export async function growFile(host: Host, path: string, bytes: bigint): Promise<void> {
  await run(host, ['resize', '-q', '-f', 'qcow2', path, String(bytes)], SHORT_MS);
  await host.files.sync(path);
}

/** Makes a snapshot inside the file, goes to one, or removes one. qemu-img snapshot has no option for the format (7.2): the caller has read the header. */
export async function changeSnapshot(host: Host, what: 'create' | 'apply' | 'delete', name: string, path: string): Promise<void> {
  const image = `driver=qcow2,file.driver=file,file.filename=${path.replaceAll(',', ',,')}`;
  await run(host, ['snapshot', '-q', { create: '-c', apply: '-a', delete: '-d' }[what], name, '--image-opts', image], LONG_MS);
  await host.files.sync(path);
}

async function run(host: Host, args: readonly string[], timeoutMs: number): Promise<void> {
  try {
    await host.run('qemu-img', args, { timeoutMs });
  } catch (cause) {
    const stderr = codeOf(cause) === 'command-failed' ? (cause as AgentError).details['stderr'] : undefined;
    if (typeof stderr !== 'string' || !stderr.includes('No space left on device')) throw cause;
    throw new AgentError('file-no-space', 'the file system of a disk is full', { cause, retry: 'later' });
  }
}
