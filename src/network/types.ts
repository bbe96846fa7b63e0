/**
 * Interfaces of instances. Two worlds meet here: Neutron's ports (allocate, bind, release, network info; nova-contract 10) and the
 * node's taps and bridges. A vif is Nova's view, a port Neutron's record, a tap and a bridge the two interfaces.
 *
 * Who wires a tap:
 *  - our own L2 agent (`[l2_agent]enabled`): vif_type `ovs` (bound by the in-tree openvswitch mechanism driver), we make tap and bridge;
 *  - a foreign L2 agent: vif_type `bridge`/`tap`: the tap `tap`+port id[:11] appears by itself; we wait for it, use it, never destroy it.
 */
import type { NovaObjectOf } from '../objects/index.js';
import type { RequestContext } from '../rpc/context.js';
import type { InstanceUuid, PortId } from '../lib/ids.js';

export interface VifIp { readonly address: string; readonly type: string; readonly version: number; readonly meta: Readonly<Record<string, unknown>>; readonly floating_ips?: readonly VifIp[] }
export interface VifRoute { readonly cidr: string; readonly gateway: VifIp | null; readonly interface: string | null }
export interface VifSubnet {
  readonly cidr: string; readonly version: number; readonly dns: readonly VifIp[]; readonly gateway: VifIp | null; readonly ips: readonly VifIp[];
  readonly routes: readonly VifRoute[]; readonly meta: Readonly<Record<string, unknown>>;
}
/** One element of network_info, exactly as Nova caches it (snake case, nova-contract 10.2). */
export interface Vif {
  readonly id: PortId; readonly address: string; readonly type: string | null; readonly devname: string; readonly vnic_type: string; readonly active: boolean;
  readonly details: Readonly<Record<string, unknown>>; readonly profile: Readonly<Record<string, unknown>>; readonly preserve_on_delete: boolean;
  readonly delegate_create: boolean; readonly ovs_interfaceid: string | null; readonly qbh_params: unknown; readonly qbg_params: unknown; readonly meta: Readonly<Record<string, unknown>>;
  readonly network: {
    readonly id: string; readonly bridge: string | null; readonly label: string | null; readonly subnets: readonly VifSubnet[];
    readonly meta: Readonly<Record<string, unknown>>;
  };
}
export type NetworkInfo = readonly Vif[];

export interface AllocateRequest {
  readonly instance: NovaObjectOf<'Instance'>;
  /** As received; a single network_id 'none' means no network. Null: the tenant's own networks. */
  readonly requestedNetworks: NovaObjectOf<'NetworkRequestList'> | null;
  /** Names or ids; empty or ['default'] = none given. */
  readonly securityGroups: readonly string[];
  readonly host: string;
}

/** Neutron's side. Errors carry the Nova class in `wire` (PortInUse, PortBindingFailed, NetworkAmbiguous, NoMoreFixedIps …). */
export interface Ports {
  /** Creates or takes ports, binds them here, records VirtualInterface rows, saves the info cache. Undoes its own work on failure. */
  allocate(context: RequestContext, request: AllocateRequest, signal: AbortSignal): Promise<NetworkInfo>;
  /** Rebinds the existing ports of an instance to this host (reschedule). */
  rebind(context: RequestContext, instance: NovaObjectOf<'Instance'>, host: string): Promise<NetworkInfo>;
  /** Takes the ports off their host; they stay the instance's (shelve offload). */
  unbind(context: RequestContext, instance: NovaObjectOf<'Instance'>): Promise<void>;
  /** Deletes ports that Nova made, frees the others, deletes the rows, empties the cache. Unknown ports are fine. */
  release(context: RequestContext, instance: NovaObjectOf<'Instance'>, requestedNetworks?: NovaObjectOf<'NetworkRequestList'> | null): Promise<void>;
  /** Rebuilds network_info from Neutron and saves it; serialised per instance; an empty answer never wipes a cache while a build runs. */
  refresh(context: RequestContext, instance: NovaObjectOf<'Instance'>, onlyPort?: PortId): Promise<NetworkInfo>;
  /** Binds to this host what is not bound to it, and rebuilds network_info with every port that Neutron has of the instance. */
  heal(context: RequestContext, instance: NovaObjectOf<'Instance'>, host: string): Promise<NetworkInfo>;
  /** Ports of the instance that Neutron calls wired now (ACTIVE); nothing is saved. */
  wired(context: RequestContext, instance: NovaObjectOf<'Instance'>): Promise<ReadonlySet<PortId>>;
  /** What the row's cache says; [] if empty. */
  cached(instance: NovaObjectOf<'Instance'>): NetworkInfo;
}

export interface PluggedVif {
  readonly port: PortId;
  readonly tapName: string;
  readonly mac: string;
  readonly mtu: number;
  /** False for a foreign agent's tap: never destroyed by us. */
  readonly isOurs: boolean;
}

export interface Plugger {
  /** Makes or waits for the tap and wires it; idempotent. AgentError `vif-plug-failed` (wire VirtualInterfaceCreateException). */
  plug(instance: InstanceUuid, vif: Vif, signal: AbortSignal): Promise<PluggedVif>;
  /** Removes our tap (and a bridge or vlan that nobody uses any more); idempotent; foreign taps are left alone. */
  unplug(instance: InstanceUuid, port: PortId): Promise<void>;
  /** Taps that we made, with whom they belong to (interface description). */
  listOwned(): Promise<readonly { tapName: string; instance: InstanceUuid; port: PortId }[]>;
}

/** What Neutron's server tells an L2 agent about a port (get_devices_details_list 1.9). */
export interface PortSegment {
  readonly port: PortId;
  readonly networkId: string;
  readonly mac: string;
  readonly isAdminUp: boolean;
  readonly networkType: 'flat' | 'vlan' | 'local' | 'vxlan' | 'gre' | 'geneve';
  readonly physicalNetwork: string | null;
  readonly segmentationId: number | null;
  readonly mtu: number | null;
}

/** The L2 agent inside the service (network/l2-agent), as the plugger uses it. */
export interface L2Agent {
  /** Reports to Neutron every report_interval until the signal fires; restarts itself with backoff. */
  run(signal: AbortSignal): Promise<void>;
  /** Null when Neutron does not know the port or it is not bound here. */
  segmentOf(port: PortId): Promise<PortSegment | null>;
  /** The port is wired: Neutron makes it ACTIVE and sends network-vif-plugged. */
  deviceUp(port: PortId): Promise<void>;
  deviceDown(port: PortId): Promise<void>;
}
