/**
 * One element of network_info from what Neutron says (nova-contract 10.2; keys and their order as recorded). Pure.
 * One difference to Nova: a subnet without gateway has `gateway: null`, where Nova writes an address object full of nulls;
 * its readers treat both alike.
 */
import { BlockList, isIPv6 } from 'node:net';
import type { Vif, VifIp, VifRoute, VifSubnet } from '../types.js';
import { profileOf, type NetworkRecord, type PortRecord, type SubnetRecord } from './records.js';

export interface VifSources {
  readonly port: PortRecord;
  /** Undefined: not visible; the port's own project stands in. */
  readonly network: NetworkRecord | undefined;
  readonly subnets: readonly { readonly record: SubnetRecord; readonly dhcpServer: string | null }[];
  /** Floating addresses by fixed address. */
  readonly floating: ReadonlyMap<string, readonly string[]>;
  readonly physicalNetwork: string | null;
  readonly networkType: string | null;
  readonly isPreexisting: boolean;
  /** [neutron]ovs_bridge, where the port's details name no bridge. */
  readonly ovsBridge: string;
}

/** Longest name of an interface, as Nova cuts it. */
const nameLength = 14;
const tunnelTypes = new Set(['vxlan', 'gre', 'geneve']);

export function vifOf(sources: VifSources): Vif {
  const { port } = sources;
  const type = port['binding:vif_type'] ?? null;
  const details = port['binding:vif_details'] ?? {};
  return {
    id: port.id, address: port.mac_address, network: networkOf(sources, type, details), type, details,
    devname: tapNameOf(port.id), ovs_interfaceid: type === 'ovs' ? port.id : null, qbh_params: null, qbg_params: null,
    active: !port.admin_state_up || port.status === 'ACTIVE', vnic_type: port['binding:vnic_type'] ?? 'normal', profile: profileOf(port),
    preserve_on_delete: sources.isPreexisting, delegate_create: true, meta: {},
  };
}

/** `tap` and the head of the port's id: the name that Nova and every L2 agent expect. */
export const tapNameOf = (port: string): string => `tap${port}`.slice(0, nameLength);

function networkOf(sources: VifSources, type: string | null, details: Readonly<Record<string, unknown>>): Vif['network'] {
  const { port, network } = sources;
  const named = typeof details['bridge_name'] === 'string' ? details['bridge_name'] : undefined;
  const bridge = type === 'ovs' ? (named ?? sources.ovsBridge) : type === 'bridge' ? (named ?? `brq${port.network_id}`) : null;
  return {
    id: port.network_id, bridge: bridge?.slice(0, nameLength) ?? null, label: network?.name ?? null,
    subnets: sources.subnets.map((subnet) => subnetOf(subnet, port, sources.floating)),
    meta: {
      injected: false, tenant_id: network?.tenant_id ?? port.tenant_id, mtu: network?.mtu ?? null, physical_network: sources.physicalNetwork,
      tunneled: sources.networkType !== null && tunnelTypes.has(sources.networkType), ...(type === 'bridge' ? { should_create_bridge: true } : {}),
    },
  };
}

function subnetOf({ record, dhcpServer }: VifSources['subnets'][number], port: PortRecord, floating: VifSources['floating']): VifSubnet {
  const inSubnet = memberTest(record.cidr);
  const fixed = port.fixed_ips.map((one) => one.ip_address).filter(inSubnet);
  return {
    cidr: record.cidr, dns: record.dns_nameservers.map((address) => ipOf(address, 'dns')),
    gateway: isGiven(record.gateway_ip) ? ipOf(record.gateway_ip, 'gateway') : null,
    ips: fixed.map((address) => ({ ...ipOf(address, 'fixed'), floating_ips: (floating.get(address) ?? []).map((one) => ipOf(one, 'floating')) })),
    routes: record.host_routes.map(routeOf), version: versionOf(record.cidr),
    meta: { ...(isGiven(record.ipv6_address_mode) ? { ipv6_address_mode: record.ipv6_address_mode } : {}), ...(dhcpServer === null ? {} : { dhcp_server: dhcpServer }) },
  };
}

const routeOf = (route: { destination: string; nexthop: string }): VifRoute & { readonly meta: object } =>
  ({ cidr: route.destination, gateway: ipOf(route.nexthop, 'gateway'), interface: null, meta: {} });
const ipOf = (address: string, type: string): VifIp => ({ address, type, version: versionOf(address), meta: {} });
const versionOf = (address: string): number => (address.includes(':') ? 6 : 4);
const isGiven = (text: string | null | undefined): text is string => text !== null && text !== undefined && text !== '';

/** Tells addresses of `cidr` from others. */
function memberTest(cidr: string): (address: string) => boolean {
  const [address = '', prefix = ''] = cidr.split('/');
  const family = isIPv6(address) ? 'ipv6' : 'ipv4';
  const list = new BlockList();
  list.addSubnet(address, Number(prefix), family);
  return (candidate) => (isIPv6(candidate) ? 'ipv6' : 'ipv4') === family && list.check(candidate, family);
}
