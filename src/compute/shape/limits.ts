/**
 * Flavor extra specs `quota:*` as limits of the guest's process (rctl(8)). What FreeBSD can hold a process to is translated; everything else of the
 * namespace is refused, because a limit that is silently missing is somebody else's outage. Pure.
 */
import { noLimits, type GuestLimits } from '../../virt/index.js';

/** Microseconds; what Nova's guests get when the flavor names a quota alone. */
const DEFAULT_PERIOD = 100_000;

const disk: Readonly<Record<string, Exclude<keyof GuestLimits, 'cpuPercent'>>> = {
  'quota:disk_read_bytes_sec': 'readBytesPerSecond',
  'quota:disk_write_bytes_sec': 'writeBytesPerSecond',
  'quota:disk_read_iops_sec': 'readsPerSecond',
  'quota:disk_write_iops_sec': 'writesPerSecond',
};
const cpu = ['quota:cpu_quota', 'quota:cpu_period'];

/** The limits (of the whole guest, also where Nova's other drivers count each disk alone), or a sentence why not. */
export function guestLimits(extraSpecs: Readonly<Record<string, string>>, vcpus: number): GuestLimits | string {
  const quotas = Object.entries(extraSpecs).filter(([name]) => name.startsWith('quota:'));
  const limits: { -readonly [Name in keyof GuestLimits]: GuestLimits[Name] } = { ...noLimits };
  for (const [name, text] of quotas) {
    const field = disk[name];
    if (field === undefined && !cpu.includes(name)) return `flavor extra spec ${name} is not supported by this host (it has: ${[...cpu, ...Object.keys(disk)].join(', ')})`;
    if (!/^-?\d{1,15}$/.test(text.trim())) return `flavor extra spec ${name}=${text} is not a number`;
    if (field !== undefined && Number(text) > 0) limits[field] = Number(text);
  }
  const [quota, period] = cpu.map((name) => Number(extraSpecs[name] ?? 0)) as [number, number];
  // The quota is one vCPU's part of a period; a negative one means no limit.
  if (quota > 0) limits.cpuPercent = Math.max(1, Math.round((quota * vcpus * 100) / (period > 0 ? period : DEFAULT_PERIOD)));
  return limits;
}

export const hasLimits = (limits: GuestLimits): boolean => Object.values(limits).some((limit) => limit !== null);
