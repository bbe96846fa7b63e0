/** network_data.json (nova/virt/netutils.py): links, networks and services, of the first IPv4 and the first IPv6 subnet of each interface. */
import type { ConfigDriveSubnet, ConfigDriveVif } from './input.js';
import { maskOf, networkOf } from './netmask.js';

/** Types that guests were told before the list was frozen; any other is `phy`. */
const toldTypes = new Set(['bridge', 'dvs', 'hw_veb', 'hyperv', 'ovs', 'tap', 'vhostuser', 'vif']);

interface Service { readonly type: 'dns'; readonly address: string }

/** {} when there is no interface at all, as with Nova. */
export function networkData(vifs: readonly ConfigDriveVif[]): Record<string, unknown> {
  if (vifs.length === 0) return {};
  const links: unknown[] = [];
  const networks: unknown[] = [];
  const services: Service[] = [];
  for (const vif of vifs) {
    if (vif.network === null || vif.network.subnets.length === 0) continue;
    const link = linkOf(vif, vif.network);
    links.push(link);
    for (const version of [4, 6] as const) {
      const subnet = vif.network.subnets.find((one) => one.version === version);
      if (subnet === undefined || subnet.ips.length === 0) continue;
      networks.push(networkEntry(`network${networks.length}`, link.id, vif.network.id, version, subnet));
      for (const service of servicesOf(subnet)) {
        if (!services.some((one) => one.address === service.address)) services.push(service);
      }
    }
  }
  return { links, networks, services };
}

function linkOf(vif: ConfigDriveVif, network: NonNullable<ConfigDriveVif['network']>): { readonly id: string } & Record<string, unknown> {
  // With DHCP the server tells the MTU.
  const hasDhcp = network.subnets.some((subnet) => Boolean(subnet.meta['dhcp_server']));
  return {
    id: vif.devname, vif_id: vif.id, type: vif.type !== null && toldTypes.has(vif.type) ? vif.type : 'phy',
    mtu: hasDhcp ? null : (network.meta['mtu'] ?? null), ethernet_mac_address: vif.address,
  };
}

function networkEntry(id: string, link: string, networkId: string, version: 4 | 6, subnet: ConfigDriveSubnet): Record<string, unknown> {
  const mode = subnet.meta['ipv6_address_mode'] ?? null;
  if (mode === null && (subnet.meta['dhcp_server'] ?? null) !== null) return { id, type: `ipv${version}_dhcp`, link, network_id: networkId };
  const suffix = typeof mode === 'string' ? `_${mode}` : '';
  return {
    id, type: `ipv${version}${suffix}`, link, ip_address: subnet.ips[0]?.address ?? '', netmask: maskOf(subnet.cidr), routes: routesOf(version, subnet),
    network_id: networkId, services: servicesOf(subnet),
  };
}

function routesOf(version: 4 | 6, subnet: ConfigDriveSubnet): unknown[] {
  const any = version === 4 ? '0.0.0.0' : '::';
  const gateway = subnet.gateway?.address ?? '';
  const byDefault = gateway === '' ? [] : [{ network: any, netmask: any, gateway }];
  return [...byDefault, ...subnet.routes.map((route) => ({ network: networkOf(route.cidr), netmask: maskOf(route.cidr), gateway: route.gateway?.address ?? null }))];
}

const servicesOf = (subnet: ConfigDriveSubnet): Service[] => subnet.dns.map(({ address }) => ({ type: 'dns', address }));
