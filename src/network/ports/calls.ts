/** Neutron's calls that this folder makes, as typed functions. Which identity a call uses is part of what it is (nova-contract 10.1). */
import { z } from 'zod';
import { codeOf } from '../../lib/errors.js';
import type { PortId } from '../../lib/ids.js';
import type { RequestContext } from '../../rpc/context.js';
import type { NeutronClient } from '../../openstack/index.js';
import { FloatingIpRecord, NetworkRecord, PortRecord, ProviderRecord, read, SecurityGroupRecord, SubnetRecord } from './records.js';

export interface Calls {
  /** Ports of a device, of one project: somebody else's port that names our instance is none of our business. */
  portsOf(device: string, project: string): Promise<PortRecord[]>;
  /** Null when Neutron does not know it. */
  port(id: PortId): Promise<PortRecord | null>;
  createPort(body: Readonly<Record<string, unknown>>): Promise<PortRecord>;
  /** With the configured identity: only that may bind. */
  updatePort(id: PortId, body: Readonly<Record<string, unknown>>): Promise<PortRecord>;
  /** With the user's token: DNS records live in the user's zone. */
  updatePortAsUser(id: PortId, body: Readonly<Record<string, unknown>>): Promise<void>;
  /** False when it was gone already. */
  deletePort(id: PortId): Promise<boolean>;
  networksForUser(query: Readonly<Record<string, string | readonly string[]>>): Promise<NetworkRecord[]>;
  networks(ids: readonly string[]): Promise<NetworkRecord[]>;
  dnsDomainOf(network: string): Promise<string>;
  securityGroups(project: string): Promise<{ readonly id: string; readonly name: string }[]>;
  subnets(ids: readonly string[]): Promise<SubnetRecord[]>;
  dhcpPorts(network: string): Promise<PortRecord[]>;
  floatingAddresses(port: PortId, fixedAddress: string): Promise<string[]>;
  provider(network: string): Promise<{ readonly physicalNetwork: string | null; readonly type: string | null }>;
  hasExtension(alias: string): Promise<boolean>;
}

// Ids come out of messages and rows: escaped, none of them can lead the service's own identity to another address.
const portPath = (id: string): string => `/v2.0/ports/${encodeURIComponent(id)}`;
const networkPath = (id: string): string => `/v2.0/networks/${encodeURIComponent(id)}`;

/** `signal` ends every call; leave it out for work that must be finished (undo, release). */
export function callsOf(neutron: NeutronClient, context: RequestContext, signal?: AbortSignal): Calls {
  const asUser = { asUser: context };
  const extra = { context, ...(signal === undefined ? {} : { signal }) };
  const put = (id: PortId, body: Readonly<Record<string, unknown>>, identity: typeof asUser | 'asService'): Promise<unknown> =>
    neutron.request(identity, 'PUT', portPath(id), { ...extra, body: { port: body } });
  const list = async <Schema extends z.ZodType>(identity: typeof asUser | 'asService', path: string, key: string, schema: Schema,
    query: Readonly<Record<string, string | readonly string[]>>): Promise<z.infer<Schema>[]> =>
    read(await neutron.request(identity, 'GET', path, { ...extra, query }), key, z.array(schema));
  return {
    portsOf: (device, project) => list('asService', '/v2.0/ports', 'ports', PortRecord, { tenant_id: project, device_id: device }),
    port: (id) => orNullIfGone(async () => read(await neutron.request('asService', 'GET', portPath(id), extra), 'port', PortRecord)),
    createPort: async (body) => read(await neutron.request(asUser, 'POST', '/v2.0/ports', { ...extra, body: { port: body } }), 'port', PortRecord),
    updatePort: async (id, body) => read(await put(id, body, 'asService'), 'port', PortRecord),
    updatePortAsUser: async (id, body) => {
      await put(id, body, asUser);
    },
    deletePort: async (id) =>
      (await orNullIfGone(async () => {
        await neutron.request('asService', 'DELETE', portPath(id), extra);
        return true;
      })) ?? false,
    networksForUser: (query) => list(asUser, '/v2.0/networks', 'networks', NetworkRecord, query),
    networks: (ids) => list('asService', '/v2.0/networks', 'networks', NetworkRecord, { id: ids }),
    dnsDomainOf: async (network) => {
      const body = await neutron.request('asService', 'GET', networkPath(network), { ...extra, query: { fields: 'dns_domain' } });
      return read(body, 'network', z.looseObject({ dns_domain: z.string().nullish() })).dns_domain ?? '';
    },
    securityGroups: (project) => list(asUser, '/v2.0/security-groups', 'security_groups', SecurityGroupRecord, { fields: ['id', 'name'], tenant_id: project }),
    subnets: (ids) => list('asService', '/v2.0/subnets', 'subnets', SubnetRecord, { id: ids }),
    dhcpPorts: (network) => list('asService', '/v2.0/ports', 'ports', PortRecord, { network_id: network, device_owner: 'network:dhcp' }),
    // 404: this Neutron has no routers, so no floating addresses.
    floatingAddresses: async (port, fixedAddress) => {
      const found = await orNullIfGone(() => list('asService', '/v2.0/floatingips', 'floatingips', FloatingIpRecord, { fixed_ip_address: fixedAddress, port_id: port }));
      return (found ?? []).map((one) => one.floating_ip_address);
    },
    provider: (network) => providerOf(neutron, extra, network),
    hasExtension: async (alias) => (await neutron.extensions()).has(alias),
  };
}

/** The first segment with a physical network, where networks may have several. */
async function providerOf(neutron: NeutronClient, extra: { context: RequestContext; signal?: AbortSignal }, network: string): ReturnType<Calls['provider']> {
  const show = async (fields: string | readonly string[]): Promise<z.infer<typeof ProviderRecord>> =>
    read(await neutron.request('asService', 'GET', networkPath(network), { ...extra, query: { fields } }), 'network', ProviderRecord);
  if ((await neutron.extensions()).has('multi-provider')) {
    const physical = (await show('segments')).segments?.find((one) => (one['provider:physical_network'] ?? '') !== '');
    if (physical !== undefined) return { physicalNetwork: physical['provider:physical_network'] ?? null, type: null };
  }
  const record = await show(['provider:physical_network', 'provider:network_type']);
  return { physicalNetwork: record['provider:physical_network'] ?? null, type: record['provider:network_type'] ?? null };
}

async function orNullIfGone<T>(work: () => Promise<T>): Promise<T | null> {
  try {
    return await work();
  } catch (error) {
    if (codeOf(error) === 'http-not-found') return null;
    throw error;
  }
}
