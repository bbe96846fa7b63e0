/** The three calls of an L2 agent to neutron-server (neutron/agent/rpc.py; q-reports-plugin 1.2, q-plugin 1.9; stable from Zed to 2026.2). */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { parsePortId, type PortId } from '../../lib/ids.js';
import { AgentError } from '../../lib/errors.js';
import type { Clock } from '../../lib/clock.js';
import { toNovaMicroTime } from '../../objects/index.js';
import { adminContext, type RpcClient } from '../../rpc/index.js';
import type { PortSegment } from '../types.js';

/** What `report_state` answers; null when Neutron ignored the report because its clock began after ours. */
export type ReportAnswer = 'new' | 'alive' | 'revived' | null;

export interface NeutronRpc {
  report(state: { bridgeMappings: Readonly<Record<string, string>>; devices: number; isFirst: boolean }): Promise<ReportAnswer>;
  /** Ports that Neutron does not know or has not bound here are missing in the answer. */
  details(ports: readonly PortId[]): Promise<ReadonlyMap<PortId, PortSegment>>;
  announce(port: PortId, what: 'up' | 'down'): Promise<void>;
}

const Details = z.looseObject({
  device: z.string(),
  port_id: z.string().optional(),
  network_id: z.string().optional(),
  mac_address: z.string().optional(),
  admin_state_up: z.boolean().optional(),
  network_type: z.string().optional(),
  segmentation_id: z.number().nullish(),
  physical_network: z.string().nullish(),
  mtu: z.number().nullish(),
});

const NETWORK_TYPES: readonly PortSegment['networkType'][] = ['flat', 'vlan', 'local', 'vxlan', 'gre', 'geneve'];

/** Null for the bare `{"device": …}` of a port that is unknown, unbound, or bound elsewhere. Throws AgentError `neutron-answer`. */
export function parseDetails(answer: unknown): PortSegment | null {
  const parsed = Details.safeParse(answer);
  if (!parsed.success) throw new AgentError('neutron-answer', 'Neutron described a device in a way that is not understood', { cause: parsed.error });
  const details = parsed.data;
  if (details.network_id === undefined || details.network_type === undefined) return null;
  const networkType = NETWORK_TYPES.find((type) => type === details.network_type);
  if (networkType === undefined) throw new AgentError('neutron-answer', `Neutron bound a port to a network of the unknown type ${details.network_type}`);
  return {
    port: parsePortId(details.port_id ?? details.device),
    networkId: details.network_id,
    mac: details.mac_address ?? '',
    isAdminUp: details.admin_state_up ?? true,
    networkType,
    physicalNetwork: details.physical_network ?? null,
    segmentationId: details.segmentation_id ?? null,
    mtu: details.mtu ?? null,
  };
}

export function createNeutronRpc(deps: { client: RpcClient; host: string; reportTimeoutMs: number; clock: Clock }): NeutronRpc {
  const { client, host, clock } = deps;
  const agentId = `ovs-agent-${host}`;
  const plugin = (method: string, args: Record<string, unknown>): Promise<unknown> =>
    client.call({ exchange: 'neutron', topic: 'q-plugin', version: '1.9' }, method, { agent_id: agentId, host, ...args }, adminContext({ timestamp: clock.now() }));
  return {
    async report({ bridgeMappings, devices, isFirst }) {
      const now = clock.now();
      const state = {
        agent_type: 'Open vSwitch agent', binary: 'neutron-openvswitch-agent', host, topic: 'N/A', uuid: randomUUID(),
        configurations: { bridge_mappings: bridgeMappings, tunnel_types: [], datapath_type: 'system', integration_bridge: 'br-int', ovs_hybrid_plug: false, devices },
        ...(isFirst ? { start_flag: true } : {}),
      };
      const answer = await client.call({ exchange: 'neutron', topic: 'q-reports-plugin', version: '1.2' }, 'report_state',
        { agent_state: { agent_state: state }, time: toNovaMicroTime(now) }, adminContext({ timestamp: now }), { timeoutMs: deps.reportTimeoutMs });
      return answer === 'new' || answer === 'revived' || answer === 'alive' ? answer : null;
    },
    async details(ports) {
      const answer = await plugin('get_devices_details_list', { devices: ports });
      if (!Array.isArray(answer)) throw new AgentError('neutron-answer', 'Neutron did not answer with a list of devices');
      const segments = answer.map(parseDetails).filter((segment) => segment !== null);
      return new Map(segments.map((segment) => [segment.port, segment]));
    },
    async announce(port, what) {
      await plugin(`update_device_${what}`, { device: port });
    },
  };
}
