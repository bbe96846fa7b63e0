import fc from 'fast-check';
import { expect, test } from 'vitest';
import { AgentError } from '../../../../src/lib/errors.js';
import { parsePortId, type PortId } from '../../../../src/lib/ids.js';
import { createL2Agent, type L2AgentService } from '../../../../src/network/l2-agent/index.js';
import { parseDetails } from '../../../../src/network/l2-agent/neutron-rpc.js';
import type { RpcClient } from '../../../../src/rpc/index.js';
import { noMetrics, recordingLog } from '../../../fakes/recording-log.js';
import { createVirtualClock } from '../../../fakes/virtual-clock.js';
import { waitUntil } from '../../../fakes/wait-until.js';

const port = (n: number): PortId => parsePortId(`88bae59e-43bd-41e9-8acf-0d565d17${String(n).padStart(4, '0')}`);
interface FakePort { status: 'DOWN' | 'BUILD' | 'ACTIVE'; isAdminUp: boolean; host: string }

/** neutron-server as far as an L2 agent sees it: agents that die after 75 s, ports that go to BUILD when asked about. */
class FakeNeutron implements Pick<RpcClient, 'call'> {
  readonly ports = new Map<PortId, FakePort>();
  readonly calls: { topic: string; method: string; version: string; exchange: string | undefined; args: Record<string, unknown>; at: number }[] = [];
  isAway = false;
  /** What calls about ports wait for. */
  portQueue = Promise.resolve();
  lastReport: number | undefined;
  ignoresReportsBefore = new Date(0);

  constructor(readonly clock: { monotonicMs(): number }) {}

  async call(target: { exchange?: string; topic: string; version: string }, method: string, args: Record<string, unknown>): Promise<unknown> {
    this.calls.push({ topic: target.topic, method, version: target.version, exchange: target.exchange, args, at: this.clock.monotonicMs() });
    if (target.topic === 'q-plugin') await this.portQueue;
    if (this.isAway) throw new AgentError('rpc-timeout', 'no answer', { retry: 'later' });
    const known = this.ports.get(args['device'] as PortId);
    switch (method) {
      case 'report_state': return this.report(args);
      case 'get_devices_details_list': return (args['devices'] as PortId[]).map((device) => this.details(device, String(args['host'])));
      case 'update_device_up':
        if (known?.host === args['host']) known!.status = 'ACTIVE';
        return null;
      case 'update_device_down':
        if (known?.host === args['host']) known!.status = 'DOWN';
        return { device: args['device'], exists: known !== undefined };
      default: throw new Error(`unexpected ${method}`);
    }
  }

  private report(args: Record<string, unknown>): string | null {
    if (new Date(`${String(args['time'])}Z`) < this.ignoresReportsBefore) return null;
    const previous = this.lastReport;
    this.lastReport = this.clock.monotonicMs();
    if (previous === undefined) return 'new';
    return this.lastReport - previous > 75_000 ? 'revived' : 'alive';
  }

  private details(device: PortId, host: string): Record<string, unknown> {
    const known = this.ports.get(device);
    if (known === undefined || known.host !== host) return { device };
    known.status = known.isAdminUp ? 'BUILD' : 'DOWN';
    return { device, port_id: device, network_id: 'n', mac_address: 'fa:16:3e:00:00:01', admin_state_up: known.isAdminUp, network_type: 'flat', segmentation_id: null, physical_network: 'physnet1', mtu: 1500 };
  }
}

interface World { neutron: FakeNeutron; agent: L2AgentService; owned: PortId[]; turns: (count: number) => Promise<void>; advance: (ms: number) => void; lines: () => Record<string, unknown>[] }

function world(listDevices?: () => Promise<PortId[]>): World {
  const clock = createVirtualClock();
  const neutron = new FakeNeutron(clock);
  const owned: PortId[] = [];
  const { log, lines } = recordingLog();
  let remaining = 0;
  let controller = new AbortController();
  const agent = createL2Agent({
    client: neutron as unknown as RpcClient, host: 'h1', bridgeMappings: { physnet1: 'bridge0' }, interfaceMappings: { physnet1: 'em0', physnet2: 'em1' },
    listDevices: listDevices ?? (async () => owned), log, metrics: noMetrics, random: () => 0.5,
    clock: { ...clock, async sleep(ms) {
      clock.advance(ms);
      if ((remaining -= 1) === 0) controller.abort();
    } },
  });
  return {
    neutron, agent, owned, lines, advance: (ms) => clock.advance(ms),
    async turns(count) {
      controller = new AbortController();
      remaining = count;
      await agent.run(controller.signal);
    },
  };
}
const reports = (neutron: FakeNeutron): Record<string, unknown>[] =>
  neutron.calls.filter(({ method }) => method === 'report_state').map(({ args }) => (args['agent_state'] as { agent_state: Record<string, unknown> }).agent_state);

test('Neutron hears of an Open vSwitch agent with our bridges every 30 s, and of the start once', async () => {
  const { neutron, turns, agent } = world();
  await turns(4);
  expect(neutron.calls.map(({ exchange, topic, version, at }) => [exchange, topic, version, at])).toEqual([0, 30_000, 60_000, 90_000].map((at) => ['neutron', 'q-reports-plugin', '1.2', at]));
  expect(reports(neutron)[0]).toMatchObject({
    agent_type: 'Open vSwitch agent', binary: 'neutron-openvswitch-agent', host: 'h1', topic: 'N/A', start_flag: true,
    configurations: { bridge_mappings: { physnet1: 'bridge0', physnet2: 'br-physnet2' }, tunnel_types: [], integration_bridge: 'br-int', datapath_type: 'system' },
  });
  expect(reports(neutron).map((report) => 'start_flag' in report)).toEqual([true, false, false, false]);
  expect(new Set(reports(neutron).map((report) => report['uuid'])).size).toBe(4);
  expect(neutron.calls[0]!.args['time']).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$/);
  expect(agent.health()).toMatchObject({ ok: true });
});

test('a report that Neutron ignores is not taken for an answer', async () => {
  const { neutron, turns, agent } = world();
  neutron.ignoresReportsBefore = new Date('2999-01-01');
  await turns(2);
  expect(agent.health()).toMatchObject({ ok: false });
  expect(reports(neutron).map((report) => report['start_flag'])).toEqual([true, true]);
  neutron.ignoresReportsBefore = new Date(0);
  await turns(1);
  expect(agent.health()).toMatchObject({ ok: true });
});

test('a plugged port becomes ACTIVE and an unplugged one DOWN', async () => {
  const { neutron, agent } = world();
  neutron.ports.set(port(1), { status: 'DOWN', isAdminUp: true, host: 'h1' });
  expect(await agent.segmentOf(port(1))).toEqual({ port: port(1), networkId: 'n', mac: 'fa:16:3e:00:00:01', isAdminUp: true, networkType: 'flat', physicalNetwork: 'physnet1', segmentationId: null, mtu: 1500 });
  await agent.deviceUp(port(1));
  expect(neutron.ports.get(port(1))!.status).toBe('ACTIVE');
  await agent.deviceDown(port(1));
  expect(neutron.ports.get(port(1))!.status).toBe('DOWN');
  expect(neutron.calls.slice(-2)).toMatchObject([{ topic: 'q-plugin', version: '1.9', exchange: 'neutron', args: { agent_id: 'ovs-agent-h1', host: 'h1', device: port(1) } }, {}]);
});

test('a port that Neutron does not know or has bound elsewhere has no segment', async () => {
  const { neutron, agent } = world();
  neutron.ports.set(port(2), { status: 'ACTIVE', isAdminUp: true, host: 'h2' });
  expect([await agent.segmentOf(port(1)), await agent.segmentOf(port(2))]).toEqual([null, null]);
  expect(neutron.ports.get(port(2))!.status).toBe('ACTIVE');
});

test('what could not be told is repeated until Neutron knows it, and only the last wish counts', async () => {
  const { neutron, agent, turns, lines } = world();
  for (const n of [1, 2]) neutron.ports.set(port(n), { status: n === 1 ? 'DOWN' : 'ACTIVE', isAdminUp: true, host: 'h1' });
  await turns(1);
  neutron.isAway = true;
  await agent.deviceUp(port(1));
  await agent.deviceUp(port(2));
  await agent.deviceDown(port(2));
  await turns(3);
  expect(agent.health().ok).toBe(false);
  neutron.isAway = false;
  await turns(1);
  expect([neutron.ports.get(port(1))!.status, neutron.ports.get(port(2))!.status]).toEqual(['ACTIVE', 'DOWN']);
  const before = neutron.calls.length;
  await turns(1);
  expect(neutron.calls.slice(before).map(({ method }) => method)).toEqual(['report_state']);
  expect(lines().filter((line) => line['level'] === 40).map((line) => line['msg'])).toEqual(
    ['device not announced; it will be repeated', 'device not announced; it will be repeated', 'neutron does not take our reports']);
});

test('a slow queue for ports keeps no report waiting, and what was wished is told once it moves', async () => {
  const { neutron, agent, turns, advance } = world();
  neutron.ports.set(port(1), { status: 'DOWN', isAdminUp: true, host: 'h1' });
  await turns(1);
  let release = (): void => undefined;
  neutron.portQueue = new Promise((resolve) => { release = resolve; });
  const plugging = agent.deviceUp(port(1));
  const before = reports(neutron).length;
  const running = turns(3);
  for (const count of [1, 2, 3]) {
    await waitUntil(() => reports(neutron).length === before + count, `report ${count}`);
    advance(30_000);
  }
  await running;
  expect(agent.health()).toMatchObject({ ok: true, reason: 'neutron answered "alive"' });
  expect(neutron.calls.filter(({ method }) => method === 'update_device_up')).toHaveLength(1);
  release();
  await plugging;
  expect(neutron.ports.get(port(1))!.status).toBe('ACTIVE');
});

test('a report that fails on our side is not called a silence of Neutron, and is said once', async () => {
  const { agent, turns, lines } = world(async () => { throw new AgentError('tool-failed', 'ifconfig'); });
  await turns(3);
  expect(agent.health()).toMatchObject({ ok: false, reason: 'the report failed: tool-failed' });
  expect(lines().filter((line) => line['msg'] === 'report failed' && line['level'] === 40)).toHaveLength(1);
});

test.each(['after a restart of ours', 'after Neutron had given us up'])('%s each device we own is compared and announced', async (when) => {
  const { neutron, agent, owned, turns, advance } = world();
  if (when !== 'after a restart of ours') await turns(1);
  owned.push(port(1), port(2), port(3));
  neutron.ports.set(port(1), { status: 'DOWN', isAdminUp: true, host: 'h1' });
  neutron.ports.set(port(2), { status: 'ACTIVE', isAdminUp: false, host: 'h1' });
  neutron.ports.set(port(3), { status: 'ACTIVE', isAdminUp: true, host: 'h2' });
  advance(100_000);
  await turns(2);
  expect([1, 2, 3].map((n) => neutron.ports.get(port(n))!.status)).toEqual(['ACTIVE', 'DOWN', 'ACTIVE']);
  expect(neutron.calls.filter(({ method }) => method === 'get_devices_details_list')).toHaveLength(1);
  expect(agent.health().reason).toBe('neutron answered "alive"');
});

test('many devices are asked for in batches', async () => {
  const { neutron, owned, turns } = world();
  for (let n = 0; n < 120; n += 1) {
    owned.push(port(n));
    neutron.ports.set(port(n), { status: 'DOWN', isAdminUp: true, host: 'h1' });
  }
  await turns(1);
  expect(neutron.calls.filter(({ method }) => method === 'get_devices_details_list').map(({ args }) => (args['devices'] as unknown[]).length)).toEqual([50, 50, 20]);
  expect([...neutron.ports.values()].every(({ status }) => status === 'ACTIVE')).toBe(true);
});

test('whatever is wished while Neutron comes and goes, in the end it knows the last wish for each port', async () => {
  const steps = fc.array(fc.oneof(
    fc.record({ kind: fc.constant('wish' as const), port: fc.integer({ min: 1, max: 3 }), up: fc.boolean() }),
    fc.record({ kind: fc.constant('away' as const), isAway: fc.boolean() }),
    fc.record({ kind: fc.constant('turn' as const) })), { maxLength: 20 });
  await fc.assert(fc.asyncProperty(steps, async (script) => {
    const { neutron, agent, turns } = world();
    const wishes = new Map<number, boolean>();
    for (const n of [1, 2, 3]) neutron.ports.set(port(n), { status: 'DOWN', isAdminUp: true, host: 'h1' });
    for (const step of script) {
      if (step.kind === 'away') neutron.isAway = step.isAway;
      else if (step.kind === 'turn') await turns(1);
      else {
        wishes.set(step.port, step.up);
        await (step.up ? agent.deviceUp(port(step.port)) : agent.deviceDown(port(step.port)));
      }
    }
    neutron.isAway = false;
    await turns(2);
    for (const [n, up] of wishes) expect(neutron.ports.get(port(n))!.status).toBe(up ? 'ACTIVE' : 'DOWN');
  }));
});

test('an answer that is not understood is an error, never a guess', () => {
  expect(parseDetails({ device: port(1) })).toBeNull();
  expect(parseDetails({ device: port(1), no_active_binding: true })).toBeNull();
  expect(() => parseDetails({ device: port(1), network_id: 'n', network_type: 'token-ring' })).toThrow(/token-ring/);
  expect(() => parseDetails('x')).toThrow(AgentError);
  expect(() => parseDetails({ device: 'not a port', network_id: 'n', network_type: 'flat' })).toThrow(/port id/);
});
