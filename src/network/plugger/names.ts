/** Names and marks of the interfaces that the plugger makes. Deterministic, at most 15 characters. */
import { createHash } from 'node:crypto';
import { isUuid, parseInstanceUuid, parsePortId, type InstanceUuid, type PortId } from '../../lib/ids.js';
import { maxNameLength } from './ifconfig.js';

/** Group of everything that is ours. A group's name must not end in a digit. */
export const ourGroup = 'novabhyve';

/** The name that Nova and Neutron's agents expect: `tap` and 11 characters of the port's id. */
export const tapNameOf = (port: PortId): string => `tap${port.slice(0, 11)}`;

export const tapDescription = (instance: InstanceUuid, port: PortId): string => `nova-bhyve ${instance} ${port}`;

/** Whom a tap belongs to, if its description is one of ours. */
export function parseTapDescription(description: string): { instance: InstanceUuid; port: PortId } | undefined {
  const [word, instance, port, ...rest] = description.split(' ');
  if (word !== 'nova-bhyve' || rest.length > 0 || !isUuid(instance) || !isUuid(port)) return undefined;
  return { instance: parseInstanceUuid(instance), port: parsePortId(port) };
}

const hash = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 8);

/** `PREFIX.REST` if it fits and is plain; otherwise a name made from a hash of it. */
function shortName(readable: string, prefix: string, identity: string): string {
  return readable.length <= maxNameLength && /^[a-zA-Z][a-zA-Z0-9._-]*$/.test(readable) ? readable : `${prefix}${hash(identity)}`;
}

/** `ix0.101`, as an operator would name it. */
export const vlanNameOf = (parent: string, id: number): string => shortName(`${parent}.${id}`, 'nbv', `${parent} ${id}`);

/** `br-physnet1.101`. */
export const vlanBridgeNameOf = (physicalNetwork: string, id: number): string => shortName(`br-${physicalNetwork}.${id}`, 'nbb', `${physicalNetwork} ${id}`);

export const vlanDescription = (physicalNetwork: string, id: number): string => `nova-bhyve vlan ${physicalNetwork} ${id}`;
export const vlanBridgeDescription = (physicalNetwork: string, id: number): string => `nova-bhyve vlan-bridge ${physicalNetwork} ${id}`;
export const bridgeDescription = (physicalNetwork: string): string => `nova-bhyve bridge ${physicalNetwork}`;
export const isVlanBridge = (description: string): boolean => description.startsWith('nova-bhyve vlan-bridge ');
export const isVlan = (description: string): boolean => description.startsWith('nova-bhyve vlan ');
