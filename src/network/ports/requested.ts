/** What the user asked for, checked against Neutron before anything is made (nova-contract 10.1, points 1 and 2). */
import type { AgentError } from '../../lib/errors.js';
import { isUuid, type PortId } from '../../lib/ids.js';
import { novaFaults, refuse } from '../../lib/nova-faults.js';
import type { NovaObjectOf } from '../../objects/index.js';
import type { RequestContext } from '../../rpc/context.js';
import type { Calls } from './calls.js';
import { hasResourceRequest, type NetworkRecord, type PortRecord } from './records.js';

/** One interface to be made or taken. */
export interface WantedPort {
  readonly network: NetworkRecord;
  /** A port of the user's own; null: make one. */
  readonly port: PortRecord | null;
  readonly address: string | null;
  readonly tag: string | null;
}

export interface InstanceFacts {
  readonly uuid: string;
  readonly project: string;
  readonly hostname: string | null;
  readonly zone: string | null;
}

type Requests = readonly NovaObjectOf<'NetworkRequest'>[];

/** Whether the user asked for no network at all. */
export const isNone = (requests: Requests): boolean => requests.length === 1 && requests[0]?.maybe('network_id') === 'none';
const isAuto = (requests: Requests): boolean => requests.length === 1 && requests[0]?.maybe('network_id') === 'auto';
const isUnspecified = (requests: Requests): boolean =>
  requests.length === 1 && (['network_id', 'port_id', 'address', 'tag', 'pci_request_id'] as const).every((key) => (requests[0]?.maybe(key) ?? null) === null);

/** In the order asked for; [] when nothing was asked for and the project has no network. */
export async function resolveWanted(calls: Calls, context: RequestContext, instance: InstanceFacts, requests: Requests): Promise<WantedPort[]> {
  const chosen = isAuto(requests) ? [] : await checkRequests(calls, instance, requests);
  if (chosen.length > 0) return withNetworks(calls, context, chosen);
  const networks = await projectNetworks(calls, instance.project, isAuto(requests));
  const [only] = networks;
  if (only === undefined) {
    if (isAuto(requests)) throw refuse(novaFaults.unableToAutoAllocateNetwork(instance.project));
    if (isUnspecified(requests)) throw refuse(novaFaults.interfaceAttachFailedNoNetwork(instance.project));
    return [];
  }
  if (networks.length > 1) throw refuse(novaFaults.networkAmbiguous());
  checkExternal(context, [only]);
  return [{ network: only, port: null, address: null, tag: null }];
}

interface Chosen { readonly networkId: string; readonly port: PortRecord | null; readonly address: string | null; readonly tag: string | null }

async function checkRequests(calls: Calls, instance: InstanceFacts, requests: Requests): Promise<Chosen[]> {
  const chosen: Chosen[] = [];
  for (const request of requests) {
    const portId = request.maybe('port_id') ?? null;
    if ((request.maybe('pci_request_id') ?? null) !== null) throw cannotHost('an interface that needs a PCI device');
    const port = portId === null ? null : await usablePort(calls, instance, portId);
    const networkId = port?.network_id ?? request.maybe('network_id') ?? null;
    if (networkId === null) continue;
    const address = request.maybe('address') ?? null;
    chosen.push({ networkId, port, address: address === null ? null : String(address), tag: request.maybe('tag') ?? null });
  }
  return chosen;
}

async function usablePort(calls: Calls, instance: InstanceFacts, id: string): Promise<PortRecord> {
  const port = isUuid(id) ? await calls.port(id as PortId) : null;
  if (port === null) throw refuse(novaFaults.portNotFound(id));
  if (port.tenant_id !== instance.project) throw refuse(novaFaults.portNotUsable(id, instance.uuid));
  const device = port.device_id ?? '';
  // Ours already: an earlier try of this build took it.
  if (device !== '' && device !== instance.uuid) throw refuse(novaFaults.portInUse(id));
  const dnsName = port.dns_name ?? '';
  if (dnsName !== '' && dnsName !== instance.hostname) throw refuse(novaFaults.portNotUsableDns(id, instance.uuid, dnsName, instance.hostname ?? ''));
  if (port['binding:vif_type'] === 'binding_failed' && device === '') throw refuse(novaFaults.portBindingFailed(id));
  if (port.fixed_ips.length === 0 && port.ip_allocation !== 'deferred' && port.ip_allocation !== 'none') throw refuse(novaFaults.portRequiresFixedIp(id));
  const vnicType = port['binding:vnic_type'] ?? 'normal';
  if (vnicType !== 'normal') throw cannotHost(`a port of vnic_type ${vnicType}`);
  if (hasResourceRequest(port)) throw cannotHost('a port with a guaranteed bandwidth or packet rate');
  return port;
}

/** Another host of the cloud may be able to: the scheduler should try again elsewhere. */
const cannotHost = (what: string): AgentError => refuse(novaFaults.computeResourcesUnavailable(`this host cannot serve ${what}`));

async function withNetworks(calls: Calls, context: RequestContext, chosen: readonly Chosen[]): Promise<WantedPort[]> {
  const ids = [...new Set(chosen.map((one) => one.networkId))];
  const visible = await calls.networksForUser({ id: ids });
  // A user may own a port on a network that the user cannot see.
  const hidden = [...new Set(chosen.filter((one) => one.port !== null && !visible.some((network) => network.id === one.networkId)).map((one) => one.networkId))];
  const networks = [...visible, ...(hidden.length === 0 ? [] : await calls.networks(hidden))];
  const wanted = chosen.map(({ networkId, ...rest }) => {
    const network = networks.find((one) => one.id === networkId);
    if (network === undefined) throw refuse(novaFaults.networkNotFound(networkId));
    return { network, ...rest };
  });
  checkExternal(context, networks);
  return wanted;
}

async function projectNetworks(calls: Calls, project: string, mustBeUp: boolean): Promise<NetworkRecord[]> {
  const own = await calls.networksForUser({ tenant_id: project, shared: 'False', ...(mustBeUp ? { admin_state_up: 'True' } : {}) });
  return [...own, ...(await calls.networksForUser({ shared: 'True' }))];
}

/** Nova's default policy: only administrators may plug into an external network that is not shared. */
function checkExternal(context: RequestContext, networks: readonly NetworkRecord[]): void {
  if (context.isAdmin || context.roles.includes('admin')) return;
  const forbidden = networks.find((network) => network['router:external'] === true && network.shared !== true);
  if (forbidden !== undefined) throw refuse(novaFaults.externalNetworkAttachForbidden(forbidden.id));
}

/** Names or ids to ids; a name wins over an id. `default` alone means none given: Neutron applies it by itself. */
export async function resolveSecurityGroups(calls: Calls, project: string, groups: readonly string[]): Promise<string[]> {
  if (groups.length === 0 || (groups.length === 1 && groups[0] === 'default')) return [];
  const known = await calls.securityGroups(project);
  return groups.map((wanted) => {
    const named = known.filter((group) => group.name === wanted);
    if (named.length > 1) throw refuse(novaFaults.noUniqueSecurityGroup(wanted));
    const found = named[0] ?? known.find((group) => group.id === wanted);
    if (found === undefined) throw refuse(novaFaults.securityGroupNotFound(wanted));
    return found.id;
  });
}

/** A network without port security takes no groups; one with it needs a subnet for them to mean anything. */
export function checkSecurity(network: NetworkRecord, groupIds: readonly string[]): void {
  const isSecured = network.port_security_enabled ?? true;
  if (isSecured ? (network.subnets ?? []).length === 0 : groupIds.length > 0) throw refuse(novaFaults.securityGroupCannotBeApplied());
}
