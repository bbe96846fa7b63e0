/** Plugging and unplugging a vif; the theory is in index.ts. */
import type { Clock } from '../../lib/clock.js';
import { AgentError } from '../../lib/errors.js';
import type { InstanceUuid, PortId } from '../../lib/ids.js';
import { KeyedMutex } from '../../lib/keyed-mutex.js';
import { novaFaults } from '../../lib/nova-faults.js';
import type { Host } from '../../host/index.js';
import type { Logger } from '../../observe/index.js';
import type { L2Agent, PluggedVif, Plugger, PortSegment, Vif } from '../types.js';
import { createIfconfig, type Ifconfig, type Interface } from './ifconfig.js';
import { ourGroup, parseTapDescription, tapDescription, tapNameOf } from './names.js';
import { ensureBridge, removeEmptyVlanBridges, type Mappings } from './segments.js';

export interface PluggerOptions extends Mappings {
  readonly host: Host;
  /** Null when `[l2_agent]enabled` is false: then only taps of a foreign agent can be used. */
  readonly l2: L2Agent | null;
  readonly clock: Clock;
  readonly log: Logger;
  /** How long to wait for a tap that another agent makes. Default 60 s. */
  readonly foreignTapTimeoutMs?: number;
}

const defaultMtu = 1500;
const foreignPollMs = 500;

export function createPlugger(options: PluggerOptions): Plugger {
  const ifconfig = createIfconfig(options.host);
  // Bridges are shared between instances: one change of them at a time.
  const wiring = new KeyedMutex<'wiring'>();
  return {
    async plug(instance, vif, signal) {
      try {
        return await plugByType(options, ifconfig, wiring, instance, vif, signal);
      } catch (cause) {
        signal.throwIfAborted();
        throw new AgentError('vif-plug-failed', `could not plug port ${vif.id}: ${cause instanceof AgentError ? cause.message : 'an unexpected failure'}`,
          { cause, retry: 'later', wire: novaFaults.virtualInterfaceCreateException(), details: { port: vif.id, vifType: vif.type } });
      }
    },
    unplug: (instance, port) => wiring.run('wiring', () => unplug(options, ifconfig, instance, port)),
    async listOwned() {
      return (await ifconfig.all()).flatMap((found) => {
        const owner = ownerOf(found);
        return owner === undefined ? [] : [{ tapName: found.name, ...owner }];
      });
    },
  };
}

/** Whose tap this is, if we made it: the group and the description must both be ours. */
function ownerOf(found: Interface): { instance: InstanceUuid; port: PortId } | undefined {
  return found.groups.includes(ourGroup) && found.groups.includes('tap') ? parseTapDescription(found.description) : undefined;
}

const mtuOfNetwork = (vif: Vif): number | null => {
  const { mtu } = vif.network.meta;
  return typeof mtu === 'number' && mtu > 0 ? mtu : null;
};

async function plugByType(
  options: PluggerOptions, ifconfig: Ifconfig, wiring: KeyedMutex<'wiring'>, instance: InstanceUuid, vif: Vif, signal: AbortSignal,
): Promise<PluggedVif> {
  switch (vif.type) {
    case 'ovs':
      return plugOwn(options, ifconfig, wiring, instance, vif, signal);
    case 'bridge':
    case 'tap':
      return useForeign(options, ifconfig, vif, signal);
    case 'binding_failed':
    case 'unbound':
    case null:
      throw new AgentError('vif-unbound', `Neutron has not bound the port to this host (vif_type ${vif.type ?? 'none'}): see the mechanism drivers and the L2 agent of this host`);
    default:
      throw new AgentError('vif-type-unsupported', `vif_type ${vif.type} cannot be plugged here: this host knows ovs (own L2 agent), bridge and tap (foreign L2 agent)`);
  }
}

/** Makes the tap, puts it on the segment's bridge and tells Neutron. Each step looks first: it may run again after a crash. */
async function plugOwn(
  options: PluggerOptions, ifconfig: Ifconfig, wiring: KeyedMutex<'wiring'>, instance: InstanceUuid, vif: Vif, signal: AbortSignal,
): Promise<PluggedVif> {
  const { l2, log } = options;
  if (l2 === null) throw new AgentError('l2-agent-off', 'vif_type ovs needs the agent inside this service: set [l2_agent]enabled = true');
  const segment = await l2.segmentOf(vif.id);
  if (segment === null) throw new AgentError('port-unknown', 'Neutron does not know the port, or has it bound to another host');
  signal.throwIfAborted();
  const plugged = await wiring.run('wiring', () => wire(options, ifconfig, instance, vif, segment));
  signal.throwIfAborted();
  if (segment.isAdminUp) await l2.deviceUp(vif.id);
  else await l2.deviceDown(vif.id);
  log.info({ instance, port: vif.id, tap: plugged.tapName, mtu: plugged.mtu, isAdminUp: segment.isAdminUp }, 'port plugged');
  return plugged;
}

async function wire(options: PluggerOptions, ifconfig: Ifconfig, instance: InstanceUuid, vif: Vif, segment: PortSegment): Promise<PluggedVif> {
  const wanted = segment.mtu ?? mtuOfNetwork(vif) ?? defaultMtu;
  const bridge = await ensureBridge(ifconfig, options, segment, wanted);
  // An empty bridge takes the MTU of its first member; any other wants exactly its own.
  const mtu = bridge.members.length === 0 ? wanted : bridge.mtu;
  if (mtu < wanted) options.log.warn({ bridge: bridge.name, mtu, wanted }, 'the bridge has a smaller MTU than the network; the guest gets the smaller');
  const tapName = await ensureTap(ifconfig, instance, vif.id, mtu);
  // A port that is switched off keeps its tap, but no way to the network.
  if (segment.isAdminUp && !bridge.members.includes(tapName)) await ifconfig.addMember(bridge.name, tapName);
  await ifconfig.set(tapName, ['up']);
  return { port: vif.id, tapName, mac: vif.address, mtu: Math.min(mtu, wanted), isOurs: true };
}

async function ensureTap(ifconfig: Ifconfig, instance: InstanceUuid, port: PortId, mtu: number): Promise<string> {
  const name = tapNameOf(port);
  const description = tapDescription(instance, port);
  const found = await ifconfig.find(name);
  if (found === undefined) {
    if (!(await ifconfig.create('tap', name, ['description', description, 'group', ourGroup, 'mtu', String(mtu)]))) {
      throw new AgentError('tap-taken', `an interface named ${name} appeared while it was made`, { retry: 'later' });
    }
    return name;
  }
  const owner = ownerOf(found);
  if (owner === undefined || owner.port !== port) throw new AgentError('tap-taken', `an interface named ${name} exists that this agent did not make: remove it`);
  if (owner.instance !== instance) await ifconfig.set(name, ['description', description]);
  if (found.mtu !== mtu) await ifconfig.set(name, ['mtu', String(mtu)]);
  return name;
}

/** Waits for the tap of another L2 agent. */
async function useForeign({ clock, foreignTapTimeoutMs = 60_000 }: PluggerOptions, ifconfig: Ifconfig, vif: Vif, signal: AbortSignal): Promise<PluggedVif> {
  const tapName = tapNameOf(vif.id);
  const deadline = clock.monotonicMs() + foreignTapTimeoutMs;
  for (;;) {
    const found = await ifconfig.find(tapName);
    if (found !== undefined) return { port: vif.id, tapName, mac: vif.address, mtu: mtuOfNetwork(vif) ?? found.mtu, isOurs: false };
    if (clock.monotonicMs() >= deadline) {
      throw new AgentError('tap-missing', `the L2 agent of this host did not make ${tapName} within ${foreignTapTimeoutMs / 1000} s: see its log`);
    }
    await clock.sleep(Math.min(foreignPollMs, Math.max(1, deadline - clock.monotonicMs())), signal);
  }
}

async function unplug({ l2, log }: PluggerOptions, ifconfig: Ifconfig, instance: InstanceUuid, port: PortId): Promise<void> {
  const tapName = tapNameOf(port);
  const found = await ifconfig.find(tapName);
  const owner = found === undefined ? undefined : ownerOf(found);
  if (found !== undefined && owner === undefined) return void log.debug({ instance, port, tap: tapName }, 'left a tap that we did not make');
  if (owner !== undefined && (owner.instance !== instance || owner.port !== port)) {
    return void log.warn({ instance, port, owner: owner.instance, tap: tapName }, 'left a tap that belongs to another instance');
  }
  if (found !== undefined) {
    await tellDown(l2, log, port);
    // destroy would block until bhyve ends, with the interface gone from under it.
    if (found.openedByPid !== null) {
      throw new AgentError('tap-busy', `${tapName} is held open by pid ${found.openedByPid}: stop the guest first`, { retry: 'later', details: { tapName } });
    }
    await ifconfig.destroy(tapName);
  }
  const removed = await removeEmptyVlanBridges(ifconfig);
  if (found !== undefined) log.info({ instance, port, tap: tapName, removed }, 'port unplugged');
}

/** Neutron hears of it when the port is deleted or unbound, too: not worth failing a deletion for. */
async function tellDown(l2: L2Agent | null, log: Logger, port: PortId): Promise<void> {
  if (l2 === null) return;
  try {
    await l2.deviceDown(port);
  } catch (err) {
    log.warn({ err, port }, 'could not tell Neutron that a port is down');
  }
}
