/**
 * Host-wide numbers that a guest keeps: its null-modem unit and its VNC port. What is taken is read from the stored specs, so that nothing is
 * remembered that could get lost; one mutex keeps two guests from choosing the same.
 *
 * bhyve protects neither: two guests can open one null modem, and one that was used before may still hold the last tenant's bytes. So
 * units are spread over a wide range, those without a device node come first (never opened since boot), and a supervisor drains its own.
 */
import { z } from 'zod';
import type { Clock } from '../../lib/clock.js';
import { AgentError, codeOf } from '../../lib/errors.js';
import type { InstanceUuid } from '../../lib/ids.js';
import type { RelayOptions } from '../../console/index.js';
import type { Host } from '../../host/index.js';
import type { Logger } from '../../observe/index.js';
import type { MachineSpec } from './machine-spec.js';

/** Units that the agent uses; below are left to operators' own machines. */
export const consoleUnits = { first: 1000, last: 9999 } as const;

export interface VncOptions {
  /** Address that bhyve's RFB servers listen on: loopback, or `my_ip` behind a firewall. */
  readonly address: string;
  /** Where and how proxies reach them instead, each with a password of its own; absent or null: as they are, without password. */
  readonly guard?: RelayOptions | null;
  readonly portRange: { readonly first: number; readonly last: number };
}

/** A number of the range to begin looking at, so that a deleted guest's unit is not the next guest's. */
function startOf(instance: InstanceUuid, count: number): number {
  return Number.parseInt(instance.slice(0, 8), 16) % count;
}

/** AgentError `no-console-unit` when every unit of the range belongs to a guest. */
export async function chooseConsoleUnit(host: Host, instance: InstanceUuid, others: readonly Pick<MachineSpec, 'consoleUnit'>[]): Promise<number> {
  const taken = new Set(others.map(({ consoleUnit }) => consoleUnit));
  const count = consoleUnits.last - consoleUnits.first + 1;
  const nodes = new Set(await host.files.list(host.deviceRoot));
  let used: number | undefined;
  for (let offset = 0; offset < count; offset += 1) {
    const unit = consoleUnits.first + ((startOf(instance, count) + offset) % count);
    if (taken.has(unit)) continue;
    if (!nodes.has(`nmdm${unit}A`)) return unit;
    used ??= unit;
  }
  if (used === undefined) throw new AgentError('no-console-unit', 'every null modem of the range belongs to a guest');
  return used;
}

/** AgentError `no-vnc-port` (retry later) when every port of the range belongs to a guest or is listened on. */
export async function chooseVncPort(listening: ListeningPorts, options: VncOptions, others: readonly Pick<MachineSpec, 'vnc'>[]): Promise<number> {
  const taken = new Set(others.flatMap(({ vnc }) => (vnc === null ? [] : [vnc.port])));
  for (const now of [false, true]) {
    const heard = await listening({ now });
    for (let port = options.portRange.first; port <= options.portRange.last; port += 1) {
      if (!taken.has(port) && !heard.has(port)) return port;
    }
  }
  throw new AgentError('no-vnc-port',
    `no port between ${options.portRange.first} and ${options.portRange.last} is free: widen [bhyve]vnc_port_range`, { retry: 'later' });
}

const netstatSockets = z.object({
  statistics: z.object({ socket: z.array(z.object({ local: z.object({ port: z.string() }).optional(), 'tcp-state': z.string().optional() })) }),
});

/** TCP ports that somebody listens on; as they were a few seconds ago, unless it must be now. */
export type ListeningPorts = (options?: { readonly now?: boolean }) => Promise<ReadonlySet<number>>;

const listeningMs = 10_000;

/**
 * What netstat last said. Guests do not take each other's ports, whatever it says, so all that a look from some seconds ago can miss is another program
 * that began to listen just then; and that may as well come between a look and the guest's own start.
 */
export function createListeningPorts(deps: { readonly host: Host; readonly clock: Pick<Clock, 'monotonicMs'>; readonly log: Logger }): ListeningPorts {
  let last: { readonly ports: ReadonlySet<number>; readonly atMs: number } | undefined;
  return async ({ now = false } = {}) => {
    const atMs = deps.clock.monotonicMs();
    if (last === undefined || now || atMs - last.atMs > listeningMs) last = { ports: await readListeningPorts(deps), atMs };
    return last.ports;
  };
}

/**
 * By netstat. bhyve of 13.2 starts even if it cannot listen, and the guest then has no screen, so we look first. A netstat that cannot say is no
 * reason to refuse a guest.
 */
async function readListeningPorts({ host, log }: { readonly host: Host; readonly log: Logger }): Promise<ReadonlySet<number>> {
  try {
    const { stdout } = await host.run('netstat', ['--libxo', 'json', '-an', '-p', 'tcp']);
    const sockets = netstatSockets.parse(JSON.parse(stdout)).statistics.socket;
    return new Set(sockets.filter((socket) => socket['tcp-state']?.trim() === 'LISTEN').map((socket) => Number(socket.local?.port)));
  } catch (err) {
    log.warn({ err, code: codeOf(err) }, 'could not list listening ports; a console port may be taken');
    return new Set();
  }
}
