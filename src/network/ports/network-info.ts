/** Builds network_info for ports by asking Neutron for what belongs to them (wire.md 10: the calls and their order). */
import type { PortId } from '../../lib/ids.js';
import type { Vif } from '../types.js';
import type { Calls } from './calls.js';
import type { NetworkRecord, PortRecord, SubnetRecord } from './records.js';
import { vifOf, type VifSources } from './vif.js';

export interface VifReader {
  vif(port: PortRecord, isPreexisting: boolean): Promise<Vif>;
}

/** Answers about networks and subnets are asked once per reader, however many ports share them. */
export function createVifReader(calls: Calls, networks: readonly NetworkRecord[], ovsBridge: string): VifReader {
  const byId = new Map(networks.map((network) => [network.id, network]));
  const providers = new Map<string, ReturnType<Calls['provider']>>();
  const dhcpPorts = new Map<string, Promise<PortRecord[]>>();
  const once = <T>(held: Map<string, Promise<T>>, key: string, ask: () => Promise<T>): Promise<T> => {
    const answer = held.get(key) ?? ask();
    held.set(key, answer);
    return answer;
  };
  const subnetSources = async (port: PortRecord): Promise<VifSources['subnets']> => {
    const ids = [...new Set(port.fixed_ips.map((one) => one.subnet_id))];
    // Without ids Neutron would list every subnet that there is.
    if (ids.length === 0) return [];
    const sources: { record: SubnetRecord; dhcpServer: string | null }[] = [];
    for (const record of await calls.subnets(ids)) {
      const servers = await once(dhcpPorts, record.network_id, () => calls.dhcpPorts(record.network_id));
      sources.push({ record, dhcpServer: dhcpServerOf(record, servers) });
    }
    return sources;
  };
  return {
    vif: async (port, isPreexisting) => {
      const floating = await floatingOf(calls, port.id, port.fixed_ips.map((one) => one.ip_address));
      const subnets = await subnetSources(port);
      const provider = await once(providers, port.network_id, () => calls.provider(port.network_id));
      return vifOf({ port, network: byId.get(port.network_id), subnets, floating, physicalNetwork: provider.physicalNetwork, networkType: provider.type, isPreexisting, ovsBridge });
    },
  };
}

/** The DHCP port's address in the subnet; where DHCP is on but nobody serves it yet, the gateway's. */
function dhcpServerOf(subnet: SubnetRecord, servers: readonly PortRecord[]): string | null {
  const addresses = servers.flatMap((port) => port.fixed_ips.find((one) => one.subnet_id === subnet.id)?.ip_address ?? []);
  return addresses.at(-1) ?? (subnet.enable_dhcp === true ? (subnet.gateway_ip ?? null) : null);
}

async function floatingOf(calls: Calls, port: PortId, fixed: readonly string[]): Promise<VifSources['floating']> {
  const floating = new Map<string, readonly string[]>();
  for (const address of fixed) floating.set(address, await calls.floatingAddresses(port, address));
  return floating;
}
