/** Our L2 agent against the real neutron-server: binding, ACTIVE and DOWN, a flat and a VLAN segment, an agent given up and revived. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../src/lib/clock.js';
import { parsePortId, type PortId } from '../../src/lib/ids.js';
import { createL2Agent, type L2AgentService } from '../../src/network/index.js';
import { createRpc, type Rpc } from '../../src/rpc/index.js';
import { noMetrics, recordingLog } from '../fakes/recording-log.js';
import { waitUntil } from '../fakes/wait-until.js';
import { createControlPlane, endpoints, layoutOf, secretsOf, transportUrl } from './control-plane/index.js';
import { openCloud, type Cloud } from './support/cloud.js';

const host = `l2-test-${process.pid}`;
const neutron = `${endpoints.neutron}/v2.0`;
let cloud: Cloud;
let rpc: Rpc;
let agent: L2AgentService;
let running: Promise<void>;
const ending = new AbortController();
const made: PortId[] = [];
const { log, lines } = recordingLog();

beforeAll(async () => {
  const plane = createControlPlane();
  await plane.up(() => undefined);
  cloud = await openCloud(plane);
  rpc = createRpc({ transportUrl: transportUrl(secretsOf(layoutOf())), host, clock: systemClock, log, metrics: noMetrics });
  agent = createL2Agent({
    client: rpc.client, host, bridgeMappings: { physnet1: 'bridge0' }, interfaceMappings: {}, listDevices: async () => made, reportIntervalMs: 1_000,
    clock: systemClock, log, metrics: noMetrics,
  });
  running = agent.run(ending.signal);
  await waitUntil(() => agent.health().ok, 'Neutron answers');
});

afterAll(async () => {
  ending.abort();
  await running;
  await rpc?.close();
  for (const port of made) await cloud.network.removePort(port);
  const { agents } = await cloud.admin.get<{ agents: { id: string }[] }>(`${neutron}/agents?host=${host}`);
  for (const { id } of agents) await cloud.admin.remove(`${neutron}/agents/${id}`);
});

/** A port bound to our host as Nova binds it. */
async function bind(network: string): Promise<PortId> {
  const { id } = await cloud.network.createPort(network, cloud.demo.projectId);
  const port = parsePortId(id);
  made.push(port);
  await cloud.admin.put(`${neutron}/ports/${id}`, { port: { 'binding:host_id': host, device_owner: 'compute:nova' } });
  return port;
}
const statusOf = async (port: PortId): Promise<string | undefined> => (await cloud.network.port(port))?.status;

test('Neutron lists us as a living Open vSwitch agent', async () => {
  expect(await cloud.network.agents(host)).toMatchObject([{ agent_type: 'Open vSwitch agent', alive: true, binary: 'neutron-openvswitch-agent', configurations: { bridge_mappings: { physnet1: 'bridge0' } } }]);
});

test.each([['lab-flat', 'flat', null], ['lab-vlan', 'vlan', 120]] as const)('a port of %s is bound, described, ACTIVE when wired and DOWN when not', async (network, networkType, segmentationId) => {
  const port = await bind(network);
  const bound = await cloud.network.port(port);
  expect(bound).toMatchObject({ 'binding:vif_type': 'ovs', 'binding:host_id': host, status: 'DOWN' });
  expect(await agent.segmentOf(port)).toMatchObject({ port, networkType, segmentationId, physicalNetwork: 'physnet1', isAdminUp: true, mac: bound!.mac_address });
  await agent.deviceUp(port);
  expect(await statusOf(port)).toBe('ACTIVE');
  await agent.deviceDown(port);
  expect(await statusOf(port)).toBe('DOWN');
});

test('a port that is unknown, or not bound here, has no segment', async () => {
  const { id } = await cloud.network.createPort('lab-flat', cloud.demo.projectId);
  made.push(parsePortId(id));
  expect(await agent.segmentOf(parsePortId(id))).toBeNull();
  expect(await agent.segmentOf(parsePortId('00000000-0000-4000-8000-000000000000'))).toBeNull();
});

test('when Neutron has forgotten us, all devices that we own are announced again', async () => {
  const port = await bind('lab-flat');
  expect(await statusOf(port)).toBe('DOWN');
  const [known] = (await cloud.admin.get<{ agents: { id: string }[] }>(`${neutron}/agents?host=${host}`)).agents;
  await cloud.admin.remove(`${neutron}/agents/${known!.id}`);
  await waitUntil(async () => (await statusOf(port)) === 'ACTIVE', 'the port is ACTIVE without another plug');
  expect(JSON.stringify(lines())).not.toContain(secretsOf(layoutOf()).rabbitmq);
});
