/** Makes and binds ports (nova-contract 10.1, points 3 to 5). Whatever fails, `undo` brings back what was before. */
import { AgentError, codeOf, type NovaFault } from '../../lib/errors.js';
import { novaFaults, refuse } from '../../lib/nova-faults.js';
import { faultTypeOfError } from '../../openstack/index.js';
import type { PortId } from '../../lib/ids.js';
import type { Calls } from './calls.js';
import type { InstanceFacts, WantedPort } from './requested.js';
import { checkSecurity } from './requested.js';
import { hasResourceRequest, profileOf, type PortRecord } from './records.js';

/** What was done so far; the undo reads it. */
export interface Taken {
  readonly created: Set<PortId>;
  readonly bound: Set<PortId>;
}

export interface ReadyPort {
  readonly wanted: WantedPort;
  readonly id: PortId;
  /** As it was before binding. */
  readonly before: PortRecord;
}

/** Creates what is missing. Ports of an earlier try of the same build (`leftovers`) are used again. */
export async function createMissing(calls: Calls, instance: InstanceFacts, wanted: readonly WantedPort[], groupIds: readonly string[],
  leftovers: readonly PortRecord[], taken: Taken): Promise<ReadyPort[]> {
  const free = leftovers.filter((port) => !wanted.some((one) => one.port?.id === port.id));
  const ready: ReadyPort[] = [];
  for (const one of wanted) {
    checkSecurity(one.network, groupIds);
    if (one.port !== null) {
      ready.push({ wanted: one, id: one.port.id, before: one.port });
      continue;
    }
    const index = free.findIndex((port) => port.network_id === one.network.id && (one.address === null || port.fixed_ips.some((ip) => ip.ip_address === one.address)));
    const port = index >= 0 ? (free.splice(index, 1)[0] as PortRecord) : await createPort(calls, instance, one, groupIds);
    taken.created.add(port.id);
    if (hasResourceRequest(port)) throw refuse(novaFaults.networksWithQoSPolicyNotSupported(instance.uuid, one.network.id));
    if (port['binding:vif_type'] === 'binding_failed' && index < 0) throw refuse(novaFaults.portBindingFailed(port.id));
    ready.push({ wanted: one, id: port.id, before: port });
  }
  return ready;
}

async function createPort(calls: Calls, instance: InstanceFacts, wanted: WantedPort, groupIds: readonly string[]): Promise<PortRecord> {
  const { network, address } = wanted;
  try {
    return await calls.createPort({
      device_id: instance.uuid, ...(address === null ? {} : { fixed_ips: [{ ip_address: address }] }), network_id: network.id, admin_state_up: true,
      tenant_id: instance.project, ...(groupIds.length === 0 ? {} : { security_groups: groupIds }),
    });
  } catch (error) {
    throw explained(error, creationFault(faultTypeOfError(error), network.id, address));
  }
}

function creationFault(type: string | undefined, network: string, address: string | null): NovaFault | undefined {
  switch (type ?? '') {
    case 'InvalidIpForNetwork': case 'InvalidIpForSubnet':
      return novaFaults.invalidInput(`Fixed IP ${address} is not a valid ip address for network ${network}.`);
    case 'IpAddressInUse': case 'IpAddressAlreadyAllocated': return novaFaults.fixedIpAlreadyInUse(address ?? '');
    case 'OverQuota': return novaFaults.portLimitExceeded();
    case 'IpAddressGenerationFailure': return novaFaults.noMoreFixedIps(network);
    case 'NetworkNotFound': return novaFaults.networkNotFound(network);
    default: return undefined;
  }
}

/** Binds one port to the host and gives it to the instance. Neutron says 200 to a binding that failed: the vif type tells. */
export async function bindPort(calls: Calls, instance: InstanceFacts, ready: ReadyPort, host: string, taken: Taken): Promise<PortRecord> {
  const { wanted, id } = ready;
  const profile = wanted.port === null ? {} : profileOf(wanted.port);
  const hasDns = await calls.hasExtension('dns-integration');
  const hasOwnDomain = (wanted.network.dns_domain ?? '') !== '';
  const body = {
    device_id: instance.uuid, device_owner: deviceOwnerOf(instance), ...(Object.keys(profile).length === 0 ? {} : { 'binding:profile': profile }),
    'binding:host_id': host, ...(hasDns && !hasOwnDomain ? { dns_name: instance.hostname } : {}),
  };
  if (wanted.port !== null) taken.bound.add(id);
  let port: PortRecord;
  try {
    await clearFailedBinding(calls, ready.before, host);
    port = await calls.updatePort(id, body);
  } catch (error) {
    throw explained(error, bindingFault(error, id, wanted.port?.mac_address));
  }
  if (port['binding:vif_type'] === 'binding_failed') throw refuse(novaFaults.portBindingFailed(id));
  if (hasDns && hasOwnDomain) await nameInUsersZone(calls, id, instance.hostname);
  return port;
}

/** Neutron tries a failed binding again only when the host changes (wire.md 10): so it is taken off the host first. */
export async function clearFailedBinding(calls: Calls, port: PortRecord, host: string): Promise<void> {
  if (port['binding:host_id'] === host && port['binding:vif_type'] === 'binding_failed') await calls.updatePort(port.id, { 'binding:host_id': '' });
}

/** `compute:` and the zone; an instance without one says None, as with Nova. */
export const deviceOwnerOf = (instance: InstanceFacts): string => `compute:${instance.zone ?? 'None'}`;

function bindingFault(error: unknown, port: PortId, mac: string | undefined): NovaFault | undefined {
  switch (faultTypeOfError(error) ?? '') {
    case 'MacAddressInUse': return novaFaults.portInUse(mac ?? port);
    case 'HostNotCompatibleWithFixedIps': return novaFaults.fixedIpInvalidOnHost(port);
    default: return codeOf(error) === 'http-not-found' ? novaFaults.portNotFound(port) : undefined;
  }
}

async function nameInUsersZone(calls: Calls, port: PortId, hostname: string | null): Promise<void> {
  try {
    await calls.updatePortAsUser(port, { dns_name: hostname });
  } catch (error) {
    throw explained(error, codeOf(error) === 'http-bad-request' ? novaFaults.invalidInput(`Instance hostname ${hostname} is not a valid DNS name`) : undefined);
  }
}

function explained(error: unknown, fault: NovaFault | undefined): unknown {
  return fault === undefined ? error : new AgentError('refused', fault.message, { wire: fault, cause: error });
}
