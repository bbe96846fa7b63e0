/** Figures of one guest: bhyvectl's counters, ps, and the counters of its taps. */
import { z } from 'zod';
import type { Clock } from '../../lib/clock.js';
import type { Host } from '../../host/index.js';
import type { InstanceUuid } from '../../lib/ids.js';
import type { GuestDiagnostics } from '../types.js';
import type { MachineSpec } from './machine-spec.js';
import type { Observation } from './observe-guest.js';
import { isStopped } from './proof.js';

type NicFigures = GuestDiagnostics['nics'][number];

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

/** Figures as far as the host gives them; a figure that cannot be had is null (or 0 for an interface), never an error. */
export async function readDiagnostics(host: Host, clock: Clock, instance: InstanceUuid, spec: MachineSpec, seen: Observation, isCrashed: boolean): Promise<GuestDiagnostics> {
  const disks = spec.definition.disks.map(({ role }) => ({ role, readBytes: null, writeBytes: null }));
  const ids = Array.from({ length: spec.definition.vcpus }, (_unused, id) => id);
  if (seen.kind !== 'running') {
    return {
      state: isCrashed ? 'crashed' : 'shutdown', uptimeSeconds: null, memoryMaximumMiB: spec.definition.memoryMiB, memoryUsedMiB: null,
      cpus: ids.map((id) => ({ id, timeNs: null })), nics: [], disks,
    };
  }
  const { process } = seen;
  const tscHz = await host.sysctl('machdep.tsc_freq');
  const cpus: { id: number; timeNs: bigint | null }[] = [];
  for (const id of ids) {
    const { stdout } = await host.run('bhyvectl', [`--vm=${instance}`, `--cpu=${id}`, '--get-stats'], { okExits: 'any' });
    cpus.push({ id, timeNs: runtimeNs(parseStats(stdout), tscHz === undefined ? null : BigInt(tscHz)) });
  }
  const nics: NicFigures[] = [];
  for (const { tapName, mac } of spec.definition.nics) {
    const { code, stdout } = await host.run('netstat', ['--libxo', 'json', '-ibn', '-I', tapName], { okExits: 'any' });
    if (code === 0) nics.push(parseTapFigures(stdout, tapName, mac));
  }
  return {
    state: isStopped(process) ? 'paused' : 'running',
    uptimeSeconds: Math.max(0, Math.floor(clock.now().getTime() / 1000) - process.startedAtSeconds),
    memoryMaximumMiB: spec.definition.memoryMiB,
    memoryUsedMiB: Math.floor(process.residentKiB / 1024),
    cpus, nics, disks,
  };
}
