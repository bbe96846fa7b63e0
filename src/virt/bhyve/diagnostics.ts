/** Figures of one guest: bhyvectl's counters, ps, and the counters of its taps. */
import { Semaphore } from 'async-mutex';
import { z } from 'zod';
import type { Host, ProcessInfo } from '../../host/index.js';
import type { InstanceUuid } from '../../lib/ids.js';
import type { GuestDefinition, GuestDiagnostics } from '../types.js';
import { isStopped } from './proof.js';

type NicFigures = GuestDiagnostics['nics'][number];

/** That one question may run at a time. */
const maxCommands = 4;

/** `bhyvectl --get-stats`: description padded to 40, a tab, a decimal. Lines of another shape are skipped: releases differ. */
export function parseStats(output: string): ReadonlyMap<string, bigint> {
  const stats = new Map<string, bigint>();
  for (const line of output.split('\n')) {
    const match = /^(.*?)\s*\t(\d+)$/.exec(line);
    if (match?.[1] !== undefined && match[2] !== undefined) stats.set(match[1], BigInt(match[2]));
  }
  return stats;
}

/** `vcpu total runtime` counts TSC cycles; on arm64 nothing adds to it, so zero means unknown. */
export function runtimeNs(stats: ReadonlyMap<string, bigint>, tscHz: bigint | null): bigint | null {
  const cycles = stats.get('vcpu total runtime');
  if (cycles === undefined || cycles === 0n || tscHz === null || tscHz === 0n) return null;
  return (cycles * 1_000_000_000n) / tscHz;
}

const netstatInterface = z.object({
  name: z.string(), network: z.string().optional(),
  'received-packets': z.number().default(0), 'received-errors': z.number().default(0), 'dropped-packets': z.number().default(0), 'received-bytes': z.number().default(0),
  'sent-packets': z.number().default(0), 'send-errors': z.number().default(0), 'sent-bytes': z.number().default(0),
});
const netstatInterfaces = z.object({ statistics: z.object({ interface: z.array(netstatInterface) }) });

/** `netstat --libxo json -ibn -I TAP`, seen from the guest: what the tap receives, the guest has sent. */
export function parseTapFigures(output: string, tapName: string, mac: string): NicFigures {
  const tap = netstatInterfaces.parse(JSON.parse(output)).statistics.interface.find(({ name, network }) => name === tapName && (network?.startsWith('<Link') ?? true));
  return {
    mac,
    rxOctets: tap?.['sent-bytes'] ?? 0, rxPackets: tap?.['sent-packets'] ?? 0, rxErrors: tap?.['send-errors'] ?? 0, rxDrop: 0,
    txOctets: tap?.['received-bytes'] ?? 0, txPackets: tap?.['received-packets'] ?? 0, txErrors: tap?.['received-errors'] ?? 0, txDrop: tap?.['dropped-packets'] ?? 0,
  };
}

/** `machdep.tsc_freq`; null on a host that has none. */
export async function readTscHz(host: Pick<Host, 'sysctl'>): Promise<bigint | null> {
  const value = await host.sysctl('machdep.tsc_freq');
  return value === undefined ? null : BigInt(value);
}

interface Figures { readonly cpus: GuestDiagnostics['cpus']; readonly nics: readonly NicFigures[] }

/** One bhyvectl for each processor and one netstat for each interface, all at the same time; a figure that cannot be had is null, or 0 for an interface. */
export async function readFigures(host: Host, instance: InstanceUuid, { vcpus, nics }: GuestDefinition, tscHz: bigint | null): Promise<Figures> {
  const slots = new Semaphore(maxCommands);
  const cpu = async (id: number): Promise<Figures['cpus'][number]> => {
    const { stdout } = await host.run('bhyvectl', [`--vm=${instance}`, `--cpu=${id}`, '--get-stats'], { okExits: 'any' });
    return { id, timeNs: runtimeNs(parseStats(stdout), tscHz) };
  };
  const nic = async ({ tapName, mac }: GuestDefinition['nics'][number]): Promise<NicFigures[]> => {
    const { code, stdout } = await host.run('netstat', ['--libxo', 'json', '-ibn', '-I', tapName], { okExits: 'any' });
    return code === 0 ? [parseTapFigures(stdout, tapName, mac)] : [];
  };
  const [cpus, found] = await Promise.all([
    Promise.all(Array.from({ length: vcpus }, (_unused, id) => slots.runExclusive(() => cpu(id)))),
    Promise.all(nics.map((each) => slots.runExclusive(() => nic(each)))),
  ]);
  return { cpus, nics: found.flat() };
}

/** Of a guest that does not run. */
export const diagnosticsOff = ({ vcpus, memoryMiB, disks }: GuestDefinition, isCrashed: boolean): GuestDiagnostics => ({
  state: isCrashed ? 'crashed' : 'shutdown', uptimeSeconds: null, memoryMaximumMiB: memoryMiB, memoryUsedMiB: null,
  cpus: Array.from({ length: vcpus }, (_unused, id) => ({ id, timeNs: null })), nics: [], disks: disks.map(diskFigures),
});

export const diagnosticsOn = ({ memoryMiB, disks }: GuestDefinition, process: ProcessInfo, { cpus, nics }: Figures, nowSeconds: number): GuestDiagnostics => ({
  state: isStopped(process) ? 'paused' : 'running',
  uptimeSeconds: Math.max(0, nowSeconds - process.startedAtSeconds),
  memoryMaximumMiB: memoryMiB,
  memoryUsedMiB: Math.floor(process.residentKiB / 1024),
  cpus, nics, disks: disks.map(diskFigures),
});

/** bhyve counts nothing of them. */
const diskFigures = ({ role }: GuestDefinition['disks'][number]): GuestDiagnostics['disks'][number] => ({ role, readBytes: null, writeBytes: null });
