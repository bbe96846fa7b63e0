/**
 * Which bhyve on which machine made a save. Its files hold structs of one build, and the guest holds what it saw of the CPU, so a save goes with exactly this
 * (bhyve-facts 7.1: the format is not stable, no compatibility is promised).
 */
import { createHash } from 'node:crypto';
import { dirname } from 'node:path';
import { z } from 'zod';
import type { Host } from '../../host/index.js';
import type { HostCapabilities } from '../types.js';
import { digestFile } from './digest-file.js';

export interface SaveIdentity {
  /** hw.model */
  readonly cpuModel: string;
  readonly cpuVendor: string;
  readonly release: string;
  /** SHA-256 of the bhyve program. */
  readonly bhyve: string;
  /** SHA-256 of the kernel that is running and of the vmm.ko beside it; of kern.version where the kernel's file cannot be read. */
  readonly kernel: string;
}

export const saveIdentity = z.object({ cpuModel: z.string(), cpuVendor: z.string(), release: z.string(), bhyve: z.string(), kernel: z.string() });

/** Reads the host now. */
export async function readSaveIdentity(host: Host, { cpuModel, cpuVendor, release }: Pick<HostCapabilities, 'cpuModel' | 'cpuVendor' | 'release'>): Promise<SaveIdentity> {
  const bhyve = host.toolPath('bhyve');
  return { cpuModel, cpuVendor, release, bhyve: (bhyve === undefined ? undefined : await digestOf(host, bhyve)) ?? 'unreadable', kernel: await kernelOf(host) };
}

const digestOf = async ({ files }: Host, path: string): Promise<string | undefined> => ((await files.exists(path)) ? (await digestFile(files, path)).sha256 : undefined);

async function kernelOf(host: Host): Promise<string> {
  const path = await host.sysctl('kern.bootfile');
  const kernel = path?.startsWith('/') === true ? await digestOf(host, path) : undefined;
  const digest = createHash('sha256');
  if (path === undefined || kernel === undefined) return digest.update((await host.sysctl('kern.version')) ?? '').digest('hex');
  return digest.update(`${kernel} ${(await digestOf(host, `${dirname(path)}/vmm.ko`)) ?? 'no vmm.ko'}`).digest('hex');
}

const names: Readonly<Record<keyof SaveIdentity, string>> = { cpuModel: 'the processor', cpuVendor: "the processor's maker", release: 'the release of FreeBSD', bhyve: 'the bhyve program', kernel: 'the kernel' };

/** What differs, in words; null if nothing does. Programs are named, not shown: their sums tell nobody anything. */
export function whyOtherHost(before: SaveIdentity, now: SaveIdentity): string | null {
  const differs = (Object.keys(names) as (keyof SaveIdentity)[]).filter((key) => before[key] !== now[key]);
  if (differs.length === 0) return null;
  const shown = (key: keyof SaveIdentity): string => (key === 'bhyve' || key === 'kernel' ? names[key] : `${names[key]} (then ${before[key]}, now ${now[key]})`);
  return differs.map(shown).join(', ');
}
