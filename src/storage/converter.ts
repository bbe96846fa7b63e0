/**
 * qemu-img, the only program that reads tenants' container formats. It is always told the format, runs under limits(1) of CPU
 * time and address space, and its opinion of the image must be the one of our inspector before it converts anything.
 */
import { z } from 'zod';
import { AgentError, codeOf } from '../lib/errors.js';
import type { Host, RunOptions, RunResult } from '../host/index.js';
import { type Inspection } from './image-inspector/inspect.js';
import { require } from './image-inspector/reader.js';
import type { DiskForm } from './types.js';

/** As Nova limits `qemu-img info`. */
const INFO = { cpuSeconds: 30, memoryMiB: 1024, timeoutMs: 60_000 } as const;
const INFO_BYTES = 1024 * 1024;
/** qemu-img's own; all files of a chain have one. */
const CLUSTER_BYTES = 65_536;

export interface ConverterLimits {
  readonly cpuSeconds: number;
  readonly memoryMiB: number;
  readonly timeoutMs: number;
}

const Info = z.looseObject({
  format: z.string(),
  'virtual-size': z.number().int().nonnegative(),
  'backing-filename': z.unknown().optional(),
  'full-backing-filename': z.unknown().optional(),
  encrypted: z.boolean().optional(),
  'format-specific': z.looseObject({
    data: z.looseObject({ 'data-file': z.unknown().optional(), 'create-type': z.string().optional(), encrypt: z.unknown().optional(),
      extents: z.array(z.looseObject({ filename: z.string().optional() })).optional() }).optional(),
  }).optional(),
});

/**
 * The virtual size that the converter will write. AgentError `image-unacceptable` unless it sees what the inspector saw.
 */
export async function askConverter(host: Host, path: string, inspection: Inspection, signal: AbortSignal): Promise<bigint> {
  const format = inspection.converterFormat!;
  const { stdout } = await runLimited(host, INFO, ['info', '--output=json', '-f', format, path], { signal, maxOutputBytes: INFO_BYTES });
  const parsed = parseInfo(stdout);
  const specific = parsed['format-specific']?.data;
  const isPlain = parsed.format === format && parsed['backing-filename'] === undefined && parsed['full-backing-filename'] === undefined
    && parsed.encrypted !== true && specific?.['data-file'] === undefined && specific?.encrypt === undefined
    && (specific?.extents ?? []).every((extent) => extent.filename === path);
  require(isPlain, 'the converter sees something else in the image than its format says');
  const bytes = BigInt(parsed['virtual-size']);
  require([inspection.virtualBytes, ...inspection.otherBytes].includes(bytes), 'the converter sees another size of the image');
  return bytes;
}

function parseInfo(stdout: string): z.infer<typeof Info> {
  try {
    return Info.parse(JSON.parse(stdout));
  } catch (cause) {
    throw new AgentError('command-output-unreadable', 'qemu-img info printed something that we cannot read', { cause, details: { tool: 'qemu-img' } });
  }
}

/**
 * Writes the disk onto `device`, a fresh volume that reads as zeros. The target is a plain device: nothing is created,
 * truncated or probed.
 */
export async function convertOnto(host: Host, path: string, format: string, device: string, limits: ConverterLimits, signal: AbortSignal): Promise<void> {
  await runLimited(host, limits, ['convert', '-f', format, '-O', 'raw', '-n', '--target-is-zero', '-t', 'writeback', path, device], { signal });
}

/** What an image of a cache or of a disk is made of: a raw device or file, or a qcow2 file of ours with those below it. */
export interface DiskSource { readonly path: string; readonly form: DiskForm }

/**
 * Writes a disk into a file of its own, without its zeros. The format of what is read is never guessed: a guest may write any header onto its disk. AgentError
 * `disk-not-converted`.
 */
export async function writeDiskFile(host: Host, source: DiskSource, target: DiskSource, options: ConverterLimits & { isCompressed: boolean }, signal: AbortSignal): Promise<void> {
  const isCompressed = options.isCompressed && target.form === 'qcow2';
  try {
    await runLimited(host, options, ['convert', '-f', source.form, '-O', target.form, ...(isCompressed ? ['-c'] : []), source.path, target.path], { signal });
  } catch (cause) {
    if (codeOf(cause) !== 'image-unacceptable' && codeOf(cause) !== 'zfs-out-of-space') throw cause;
    throw new AgentError('disk-not-converted', `the disk could not be written as ${target.form} within the limits and the space of this host`, { cause, retry: 'later' });
  }
}

/** Writes an image that was inspected into a new qcow2 file that rests on nothing, as disk-chain/ wants it. */
export async function convertToQcow2(host: Host, path: string, format: string, target: string, limits: ConverterLimits, signal: AbortSignal): Promise<void> {
  await runLimited(host, limits, ['convert', '-f', format, '-O', 'qcow2', '-o', `compat=1.1,lazy_refcounts=off,cluster_size=${CLUSTER_BYTES}`, path, target], { signal });
}

/** A refusal by qemu-img itself (exit 1) or by a limit (a signal) is about the image, not about the host. */
async function runLimited(host: Host, limits: ConverterLimits, args: readonly string[], options: RunOptions): Promise<RunResult> {
  const program = host.toolPath('qemu-img');
  if (program === undefined) throw new AgentError('command-missing', 'this host has no qemu-img; install the package qemu-tools', { details: { tool: 'qemu-img' } });
  try {
    return await host.run('limits', ['-t', String(limits.cpuSeconds), '-v', `${limits.memoryMiB}m`, program, ...args], { ...options, timeoutMs: limits.timeoutMs });
  } catch (cause) {
    const code = codeOf(cause);
    if (code !== 'command-failed' && code !== 'command-timeout' && code !== 'command-output-too-large') throw cause;
    throwIfPoolFull(cause as AgentError);
    throw new AgentError('image-unacceptable', `the image could not be ${args[0] === 'info' ? 'read' : 'converted'} within the limits of this host`, { cause });
  }
}

/** `No space left on device` from a program that writes a volume means that the pool is full. */
export function throwIfPoolFull(cause: AgentError): void {
  const { stderr } = cause.details;
  if (typeof stderr !== 'string' || !stderr.includes('No space left on device')) return;
  throw new AgentError('zfs-out-of-space', 'the pool has too little space for the image', { cause, retry: 'later' });
}
