/**
 * The bridge of a network segment. Flat: the bridge that the operator mapped; made with the mapped interface as first member if it is missing,
 * and kept. VLAN: a vlan interface on the mapped interface and a bridge of its own; both go when their last tap does. Only vlan interfaces and
 * bridges that carry our mark are ever removed.
 */
import { unreachable } from '../../lib/assert.js';
import { AgentError } from '../../lib/errors.js';
import type { PortSegment } from '../types.js';
import type { Ifconfig, Interface } from './ifconfig.js';
import { bridgeDescription, isVlan, isVlanBridge, ourGroup, vlanBridgeDescription, vlanBridgeNameOf, vlanDescription, vlanNameOf } from './names.js';

export interface Mappings {
  /** physical network → bridge, `[l2_agent]bridge_mappings`. */
  readonly bridgeMappings: Readonly<Record<string, string>>;
  /** physical network → interface, `[l2_agent]interface_mappings`. */
  readonly interfaceMappings: Readonly<Record<string, string>>;
}

const refused = (message: string): AgentError => new AgentError('segment-unusable', message);

/** The bridge to put a port of this segment on, up and running. AgentError `segment-unusable` says which option to set. */
export async function ensureBridge(ifconfig: Ifconfig, mappings: Mappings, segment: PortSegment, mtu: number): Promise<Interface> {
  const { networkType, physicalNetwork, segmentationId } = segment;
  switch (networkType) {
    case 'flat':
      return ensureFlatBridge(ifconfig, mappings, requirePhysical(segment), mtu);
    case 'vlan':
      if (segmentationId === null) throw refused(`network ${segment.networkId} is a vlan without a number`);
      return ensureVlanBridge(ifconfig, mappings, requirePhysical(segment), segmentationId, mtu);
    case 'local':
    case 'vxlan':
    case 'gre':
    case 'geneve':
      throw refused(`networks of type ${networkType} cannot be wired on this host (flat and vlan can); physical network ${physicalNetwork ?? 'none'}`);
    default:
      return unreachable(networkType);
  }
}

function requirePhysical({ physicalNetwork, networkId }: PortSegment): string {
  if (physicalNetwork === null) throw refused(`network ${networkId} names no physical network`);
  return physicalNetwork;
}

async function ensureFlatBridge(ifconfig: Ifconfig, mappings: Mappings, physicalNetwork: string, mtu: number): Promise<Interface> {
  const name = mappings.bridgeMappings[physicalNetwork];
  if (name === undefined) throw refused(`physical network ${physicalNetwork} has no bridge: add it to [l2_agent]bridge_mappings`);
  const found = await ifconfig.find(name);
  if (found === undefined) {
    const uplink = mappings.interfaceMappings[physicalNetwork];
    if (uplink === undefined) {
      throw refused(`bridge ${name} of physical network ${physicalNetwork} does not exist: create it, or name its interface in [l2_agent]interface_mappings`);
    }
    await requireUplink(ifconfig, physicalNetwork, uplink, mtu);
    await ifconfig.create('bridge', name, ['description', bridgeDescription(physicalNetwork), 'group', ourGroup]);
    await ifconfig.addMember(name, uplink);
  } else if (found.description === bridgeDescription(physicalNetwork) && found.groups.includes(ourGroup)) {
    // Ours, perhaps made by an agent that died before the next line.
    const uplink = mappings.interfaceMappings[physicalNetwork];
    if (uplink !== undefined && !found.members.includes(uplink)) await ifconfig.addMember(name, uplink);
  }
  return upAndRead(ifconfig, name);
}

async function ensureVlanBridge(ifconfig: Ifconfig, mappings: Mappings, physicalNetwork: string, id: number, mtu: number): Promise<Interface> {
  const parent = mappings.interfaceMappings[physicalNetwork];
  if (parent === undefined) throw refused(`physical network ${physicalNetwork} has no interface for VLANs: add it to [l2_agent]interface_mappings`);
  await requireUplink(ifconfig, physicalNetwork, parent, mtu);
  const vlan = await ensureVlan(ifconfig, physicalNetwork, parent, id, mtu);
  const name = vlanBridgeNameOf(physicalNetwork, id);
  const found = await ifconfig.find(name);
  const description = vlanBridgeDescription(physicalNetwork, id);
  if (found !== undefined && found.description !== description) throw refused(`an interface named ${name} exists that this agent did not make`);
  if (found === undefined) await ifconfig.create('bridge', name, ['description', description, 'group', ourGroup]);
  if (found?.members.includes(vlan) !== true) await ifconfig.addMember(name, vlan);
  return upAndRead(ifconfig, name);
}

/** The vlan interface of this number on this parent, whoever made it: the kernel allows one only. */
async function ensureVlan(ifconfig: Ifconfig, physicalNetwork: string, parent: string, id: number, mtu: number): Promise<string> {
  const existing = (await ifconfig.all()).find(({ vlan }) => vlan?.id === id && vlan.parent === parent);
  const name = existing?.name ?? vlanNameOf(parent, id);
  if (existing === undefined) {
    const settings = ['vlan', String(id), 'vlandev', parent, 'description', vlanDescription(physicalNetwork, id), 'group', ourGroup, 'mtu', String(mtu)];
    if (!(await ifconfig.create('vlan', name, settings))) throw refused(`an interface named ${name} exists that is not VLAN ${id} of ${parent}`);
  }
  if (existing?.isUp !== true) await ifconfig.set(name, ['up']);
  return name;
}

async function requireUplink(ifconfig: Ifconfig, physicalNetwork: string, uplink: string, mtu: number): Promise<void> {
  const found = await ifconfig.find(uplink);
  if (found === undefined) throw refused(`interface ${uplink} of physical network ${physicalNetwork} does not exist`);
  if (found.mtu < mtu) throw refused(`interface ${uplink} of physical network ${physicalNetwork} has MTU ${found.mtu}, the network wants ${mtu}`);
}

async function upAndRead(ifconfig: Ifconfig, name: string): Promise<Interface> {
  await ifconfig.set(name, ['up']);
  const found = await ifconfig.find(name);
  if (found === undefined) throw refused(`bridge ${name} vanished while it was set up`);
  return found;
}

/** Removes our vlan bridges that hold no tap any more, and their vlan interfaces if those are ours too. */
export async function removeEmptyVlanBridges(ifconfig: Ifconfig): Promise<string[]> {
  const all = await ifconfig.all();
  const isOurs = (found: Interface | undefined, mark: (description: string) => boolean): boolean =>
    found !== undefined && found.groups.includes(ourGroup) && mark(found.description);
  const byName = new Map(all.map((found) => [found.name, found]));
  const removed: string[] = [];
  for (const bridge of all.filter((found) => isOurs(found, isVlanBridge))) {
    const guests = bridge.members.filter((member) => (byName.get(member)?.vlan ?? null) === null);
    if (guests.length > 0) continue;
    await ifconfig.destroy(bridge.name);
    removed.push(bridge.name);
    for (const member of bridge.members) {
      if (!isOurs(byName.get(member), isVlan)) continue;
      await ifconfig.destroy(member);
      removed.push(member);
    }
  }
  return removed;
}
