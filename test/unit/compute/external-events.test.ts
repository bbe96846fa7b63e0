import { beforeEach, describe, expect, test } from 'vitest';
import { AgentError } from '../../../src/lib/errors.js';
import { parseInstanceUuid, type InstanceUuid } from '../../../src/lib/ids.js';
import { instanceWire, messageOf, wireObject, eventMessage, type TestNode } from '../../contract/support/compute-node.js';
import { scene } from '../../contract/support/scene.js';

/** An active server with one port. */
let node: TestNode;
let uuid: InstanceUuid;
let port: string;

beforeEach(async () => {
  const play = await scene('stop', { guest: 'running' });
  node = play.node;
  Object.assign(node.rpc.instances[0] ?? {}, { task_state: null });
  uuid = parseInstanceUuid(play.row['uuid']);
  port = [...node.neutron.ports.keys()][0] ?? '';
  // Events carry the cache.
  Object.assign(node.rpc.instances[0] ?? {}, { info_cache: wireObject('InstanceInfoCache', '1.5', { instance_uuid: uuid, network_info: node.rpc.infoCaches[0]?.['network_info'] }) });
});

const cachedPorts = (): string[] => (JSON.parse(String(node.rpc.infoCaches[0]?.['network_info'])) as { id: string }[]).map((vif) => vif.id);
const cachedAddresses = (): string[] =>
  (JSON.parse(String(node.rpc.infoCaches[0]?.['network_info'])) as { network: { subnets: { ips: { address: string }[] }[] } }[]).flatMap((vif) => vif.network.subnets.flatMap((subnet) => subnet.ips.map((ip) => ip.address)));

describe('an external event', () => {
  test.each([['completed', 'completed'], ['failed', 'failed']] as const)('network-vif-plugged with status %s wakes who waits for it with %s', async (status, woken) => {
    const waiter = node.deps.waiters.expect(uuid, 'network-vif-plugged', port);
    await node.receive(eventMessage(node, uuid, 'network-vif-plugged', port, status));
    expect(await waiter.arrived).toBe(woken);
  });

  test('that nobody waits for is normal, and touches nothing', async () => {
    const { error } = await node.receive(eventMessage(node, uuid, 'network-vif-unplugged', port));
    expect(error).toBeUndefined();
    expect(node.sent()).toEqual([]);
    expect(node.log.lines().filter((line) => Number(line['level']) >= 40)).toEqual([]);
  });

  test('does not wait for the gate: a boot that holds it waits for the event', async () => {
    let release: () => void = () => undefined;
    const held = node.deps.gate.run(uuid, 'build', () => new Promise<void>((resolve) => { release = resolve; }));
    const waiter = node.deps.waiters.expect(uuid, 'network-vif-plugged', port);
    await node.receive(eventMessage(node, uuid, 'network-vif-plugged', port));
    expect(await waiter.arrived).toBe('completed');
    release();
    await held;
  });

  test('network-changed renews the cache, which nova-api shows', async () => {
    Object.assign(node.neutron.ports.get(port) ?? {}, { fixed_ips: [{ subnet_id: [...node.neutron.subnets.keys()][0], ip_address: '10.10.0.77' }] });
    await node.receive(eventMessage(node, uuid, 'network-changed', port));
    expect(cachedAddresses()).toEqual(['10.10.0.77']);
  });

  test('network-changed without a port renews all', async () => {
    Object.assign(node.neutron.ports.get(port) ?? {}, { fixed_ips: [] });
    await node.receive(eventMessage(node, uuid, 'network-changed', ''));
    expect(cachedAddresses()).toEqual([]);
    expect(cachedPorts()).toEqual([port]);
  });

  test('network-vif-deleted takes the tap and the address away', async () => {
    node.neutron.ports.delete(port);
    await node.receive(eventMessage(node, uuid, 'network-vif-deleted', port));
    expect(cachedPorts()).toEqual([]);
    expect([...node.taps]).toEqual([]);
  });

  test('network-vif-deleted of a tap that a running guest holds takes at least the address away', async () => {
    node.neutron.ports.delete(port);
    node.deps.plugger.unplug = () => Promise.reject(new AgentError('tap-busy', 'held open'));
    const { error } = await node.receive(eventMessage(node, uuid, 'network-vif-deleted', port));
    expect(error).toBeUndefined();
    expect(cachedPorts()).toEqual([]);
    expect(node.log.lines().filter((line) => line['level'] === 40).map((line) => line['msg'])).toEqual(['port of a running guest was deleted; its tap goes when the guest stops']);
  });

  test('network-vif-deleted of a port that the server does not have touches nothing', async () => {
    await node.receive(eventMessage(node, uuid, 'network-vif-deleted', 'aaaaaaaa-0000-4000-8000-000000000001'));
    expect(node.sent()).toEqual([]);
    expect(node.taps.size).toBe(1);
  });

  test.each(['volume-extended', 'power-update', 'accelerator-request-bound', 'something-from-the-future'])('%s is taken without harm', async (name) => {
    const { error } = await node.receive(eventMessage(node, uuid, name, 'POWER_ON'));
    expect(error).toBeUndefined();
    expect(node.guest(uuid)?.isRunning).toBe(true);
  });

  test('of a server that is gone is no error', async () => {
    const message = eventMessage(node, uuid, 'network-changed', port);
    node.rpc.instances.splice(0);
    node.rpc.infoCaches.splice(0);
    expect(await node.receive(message)).toEqual({ result: null });
    expect(node.log.lines().filter((line) => Number(line['level']) >= 40)).toEqual([]);
  });

  test('that fails does not keep the others of the same message from being handled', async () => {
    const waiter = node.deps.waiters.expect(uuid, 'network-vif-plugged', port);
    const one = (name: string): Record<string, unknown> => wireObject('InstanceExternalEvent', '1.5', { instance_uuid: uuid, name, status: 'completed', tag: port });
    node.deps.ports.refresh = () => Promise.reject(new AgentError('http-unreachable', 'Neutron is away'));
    const { error } = await node.receive(messageOf('external_instance_event', { instances: [instanceWire({ ...node.rpc.instances[0] })], events: [one('network-changed'), one('network-vif-plugged')] }));
    expect(error).toBeUndefined();
    expect(await waiter.arrived).toBe('completed');
    expect(node.log.lines().some((line) => line['msg'] === 'external event not handled')).toBe(true);
  });
});
