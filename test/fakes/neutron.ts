/**
 * A Neutron in memory that behaves: ports are made with addresses of the network's subnets, bound when the host has a live L2 agent and
 * `binding_failed` (with 200) when it has none (and then not tried again before the host changes), refused when addresses run out; names of refusals are Neutron's.
 */
import type { NeutronClient } from '../../src/openstack/index.js';
import { failFrom } from '../../src/openstack/failure.js';
import type { HttpAnswer } from '../../src/openstack/http.js';

export type Json = Record<string, unknown>;

export interface NeutronCall {
  readonly identity: 'user' | 'service';
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  readonly query: Readonly<Record<string, string | readonly string[]>>;
  readonly body: Json | undefined;
}

export interface FakeNeutron {
  readonly client: NeutronClient;
  readonly calls: NeutronCall[];
  readonly networks: Map<string, Json>;
  readonly subnets: Map<string, Json & { free: string[] }>;
  readonly ports: Map<string, Json>;
  readonly securityGroups: Json[];
  readonly floatingIps: Json[];
  readonly extensions: Set<string>;
  /** Hosts whose L2 agent is alive, with the vif type that it gives. */
  readonly hosts: Map<string, string>;
  /** Called first; an answer stands in for the fake's own, undefined lets it through. */
  intercept: ((call: NeutronCall) => HttpAnswer | undefined | void) | undefined;
  addNetwork(id: string, fields?: Json): void;
  addPort(id: string, network: string, fields?: Json): void;
  /** `GET /v2.0/ports` and so on, as `METHOD path-with-ids-cut identity`. */
  summary(): string[];
}

const refused = (status: number, type: string): HttpAnswer => ({ status, headers: {}, body: { NeutronError: { type, message: type, detail: '' } } });
const ok = (body: unknown, status = 200): HttpAnswer => ({ status, headers: {}, body });
export const fakeUuid = (kind: number, index: number): string => `${String(kind).padStart(8, '0')}-0000-4000-8000-${String(index).padStart(12, '0')}`;

export function createFakeNeutron(): FakeNeutron {
  let made = 0;
  const fake: FakeNeutron = {
    calls: [], networks: new Map(), subnets: new Map(), ports: new Map(), securityGroups: [], floatingIps: [], extensions: new Set(), hosts: new Map(), intercept: undefined,
    client: {
      request: async (identity, method, path, options = {}) => {
        options.signal?.throwIfAborted();
        const isService = identity === 'asService' || (identity.asUser.isAdmin && identity.asUser.authToken === null);
        const call: NeutronCall = { identity: isService ? 'service' : 'user', method, path, query: options.query ?? {}, body: options.body as Json | undefined };
        fake.calls.push(call);
        const answer = fake.intercept?.(call) ?? answerTo(call);
        if (answer.status >= 300) throw failFrom({ service: 'network', method, path }, answer);
        return structuredClone(answer.body) as never;
      },
      extensions: async () => fake.extensions,
    },
    addNetwork(id, fields = {}) {
      const subnet = fakeUuid(7, fake.subnets.size + 1);
      const block = fake.subnets.size + 10;
      fake.networks.set(id, { id, name: `net-${fake.networks.size}`, tenant_id: 'project', mtu: 1500, shared: false, 'router:external': false, port_security_enabled: true,
        subnets: [subnet], 'provider:network_type': 'flat', 'provider:physical_network': 'physnet1', ...fields });
      fake.subnets.set(subnet, { id: subnet, network_id: id, cidr: `10.${block}.0.0/24`, gateway_ip: `10.${block}.0.1`, enable_dhcp: true, dns_nameservers: ['192.0.2.53'],
        host_routes: [], ipv6_address_mode: null, free: Array.from({ length: 20 }, (_, index) => `10.${block}.0.${10 + index}`) });
    },
    addPort(id, network, fields = {}) {
      fake.ports.set(id, makePort(id, network, { tenant_id: 'project', ...fields }));
    },
    summary: () => fake.calls.map(({ method, path, identity }) => `${method} ${path.replace(/[0-9a-f]{8}-[0-9a-f-]{27}/g, ':id')} ${identity}`),
  };

  const subnetsOf = (network: string): (Json & { free: string[] })[] => [...fake.subnets.values()].filter((subnet) => subnet['network_id'] === network);
  const makePort = (id: string, network: string, fields: Json): Json => {
    const fixed = subnetsOf(network).slice(0, 1).map((subnet) => ({ subnet_id: subnet['id'], ip_address: subnet.free.shift() }));
    return { id, network_id: network, mac_address: `fa:16:3e:00:00:${String((made += 1)).padStart(2, '0')}`, status: 'DOWN', admin_state_up: true, device_id: '', device_owner: '',
      fixed_ips: fixed, 'binding:vnic_type': 'normal', 'binding:profile': {}, 'binding:host_id': '', 'binding:vif_type': 'unbound', 'binding:vif_details': {}, ...fields };
  };
  const create = (body: Json): HttpAnswer => {
    const network = String(body['network_id']);
    if (!fake.networks.has(network)) return refused(404, 'NetworkNotFound');
    const [subnet] = subnetsOf(network);
    const [wanted] = (body['fixed_ips'] as { ip_address: string }[] | undefined) ?? [];
    if (wanted !== undefined && subnet !== undefined) {
      if (!wanted.ip_address.startsWith(String(subnet['cidr']).replace(/0\/24$/, ''))) return refused(400, 'InvalidIpForNetwork');
      if (!subnet.free.includes(wanted.ip_address)) return refused(409, 'IpAddressInUse');
      subnet.free = [wanted.ip_address, ...subnet.free.filter((one) => one !== wanted.ip_address)];
    }
    if (subnet !== undefined && subnet.free.length === 0) return refused(409, 'IpAddressGenerationFailure');
    const { fixed_ips: _fixed, ...fields } = body;
    const id = fakeUuid(9, fake.ports.size + made + 1);
    fake.ports.set(id, makePort(id, network, fields));
    return ok({ port: fake.ports.get(id) }, 201);
  };
  const update = (id: string, body: Json): HttpAnswer => {
    const port = fake.ports.get(id);
    if (port === undefined) return refused(404, 'PortNotFound');
    const oldHost = port['binding:host_id'];
    Object.assign(port, body);
    const host = body['binding:host_id'];
    if (host === null || host === '') Object.assign(port, { 'binding:vif_type': 'unbound', 'binding:vif_details': {}, 'binding:host_id': '' });
    else if (host !== undefined && (host !== oldHost || 'binding:profile' in body)) {
      const type = fake.hosts.get(host as string);
      Object.assign(port, { 'binding:vif_type': type ?? 'binding_failed', 'binding:vif_details': type === 'ovs' ? { connectivity: 'l2', bridge_name: 'br-int' } : {} });
    }
    return ok({ port });
  };
  const matching = (records: Iterable<Json>, query: NeutronCall['query']): Json[] =>
    [...records].filter((record) => Object.entries(query).every(([key, wanted]) =>
      key === 'fields' || (Array.isArray(wanted) ? wanted : [wanted]).map((one: string) => one.toLowerCase()).includes(String(record[key]).toLowerCase())));
  const answerTo = ({ method, path, query, body }: NeutronCall): HttpAnswer => {
    const [, , kind = '', id] = path.split('/');
    const inner = (body?.['port'] ?? {}) as Json;
    if (kind === 'ports' && method === 'POST') return create(inner);
    if (kind === 'ports' && method === 'PUT') return update(String(id), inner);
    if (kind === 'ports' && method === 'DELETE') return fake.ports.delete(String(id)) ? { status: 204, headers: {}, body: '' } : refused(404, 'PortNotFound');
    const tables: Record<string, { key: string; one: string; records: Json[] }> = {
      ports: { key: 'ports', one: 'port', records: [...fake.ports.values()] }, networks: { key: 'networks', one: 'network', records: [...fake.networks.values()] },
      subnets: { key: 'subnets', one: 'subnet', records: [...fake.subnets.values()] }, floatingips: { key: 'floatingips', one: 'floatingip', records: fake.floatingIps },
      'security-groups': { key: 'security_groups', one: 'security_group', records: fake.securityGroups },
    };
    const table = tables[kind];
    if (table === undefined) return refused(404, 'HTTPNotFound');
    if (id === undefined) return ok({ [table.key]: matching(table.records, query) });
    const record = table.records.find((one) => one['id'] === id);
    return record === undefined ? refused(404, `${table.one}NotFound`) : ok({ [table.one]: record });
  };
  return fake;
}
