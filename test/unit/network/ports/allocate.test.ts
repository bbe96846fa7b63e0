import { beforeEach, describe, expect, test } from 'vitest';
import { AgentError, wireFaultOf } from '../../../../src/lib/errors.js';
import type { PortId } from '../../../../src/lib/ids.js';
import { createPorts } from '../../../../src/network/ports/index.js';
import type { NetworkInfo, Ports } from '../../../../src/network/index.js';
import { createObject, type NovaObjectOf } from '../../../../src/objects/index.js';
import type { RequestContext } from '../../../../src/rpc/context.js';
import { createConductorRows, fakeInstance, zed, type ConductorRows } from '../../../fakes/conductor-rows.js';
import { createFakeNeutron, fakeUuid, type FakeNeutron, type Json } from '../../../fakes/neutron.js';
import { recordingLog } from '../../../fakes/recording-log.js';
import { createVirtualClock } from '../../../fakes/virtual-clock.js';

const uuid = '69e439e8-259a-443a-876b-62979aca17c9';
const [net1, net2] = [fakeUuid(1, 1), fakeUuid(1, 2)];
const [mine, other] = [fakeUuid(3, 1), fakeUuid(3, 2)];
const user: RequestContext = {
  requestId: 'req-6a7c52ae-0f6e-4d1c-9e0e-0d6b8b1f2a3c', globalRequestId: null, userId: 'user', projectId: 'project', isAdmin: false, roles: ['member'], authToken: 'user-token',
  readDeleted: 'no', wire: {},
};
const signal = new AbortController().signal;

let neutron: FakeNeutron;
let rows: ConductorRows;
let ports: Ports;
let instance: NovaObjectOf<'Instance'>;

beforeEach(() => {
  neutron = createFakeNeutron();
  neutron.hosts.set('node1', 'ovs');
  rows = createConductorRows();
  rows.caches.set(uuid, '[]');
  ports = createPorts({ neutron: neutron.client, conductor: rows.conductor, clock: createVirtualClock(), log: recordingLog().log });
  instance = fakeInstance(uuid);
});

type Request = Partial<{ network_id: string; port_id: string; address: string; tag: string; pci_request_id: string }>;
const listOf = (...requests: Request[]): NovaObjectOf<'NetworkRequestList'> => createObject(zed, 'NetworkRequestList', {
  objects: requests.map((one) => createObject(zed, 'NetworkRequest', { network_id: null, address: null, port_id: null, tag: null, pci_request_id: null, ...one })) });
const allocate = (requests: Request[] | null, securityGroups: string[] = [], context = user): Promise<NetworkInfo> =>
  ports.allocate(context, { instance, requestedNetworks: requests === null ? null : listOf(...requests), securityGroups, host: 'node1' }, signal);
const faultOf = async (work: Promise<unknown>): Promise<string> => {
  const error = await work.then(() => undefined, (reason: unknown) => reason);
  return wireFaultOf(error)?.className ?? (error instanceof AgentError ? error.code : String(error));
};
/** Nothing of ours may be left: no port of the instance, no row, no saved network_info. */
const expectNothingLeft = (): void => {
  expect([...neutron.ports.values()].filter((port) => port['device_id'] === uuid)).toEqual([]);
  expect(rows.interfaces).toEqual([]);
  expect(rows.saves).toEqual([]);
};

describe('an allocation', () => {
  test('makes the port as the user, binds it as the service, records and saves it', async () => {
    neutron.addNetwork(net1);
    const [vif, ...more] = await allocate([{ network_id: net1, tag: 'nic' }]);
    expect(more).toEqual([]);
    expect(vif).toMatchObject({ type: 'ovs', preserve_on_delete: false, active: false, network: { id: net1, bridge: 'br-int' } });
    expect(neutron.summary().filter((line) => !line.startsWith('GET'))).toEqual(['POST /v2.0/ports user', 'PUT /v2.0/ports/:id service']);
    expect(neutron.ports.get(vif!.id)).toMatchObject({ device_id: uuid, device_owner: 'compute:nova', 'binding:host_id': 'node1', tenant_id: 'project' });
    expect(rows.interfaces).toEqual([{ port: vif!.id, instance: uuid, mac: vif!.address, tag: 'nic' }]);
    expect(rows.saves).toEqual([[vif]]);
    expect(ports.cached(instance)).toEqual([vif]);
    expect(instance.changes.size).toBe(0);
  });

  test('asks for nothing when the user wants no network', async () => {
    neutron.addNetwork(net1);
    expect(await allocate([{ network_id: 'none' }])).toEqual([]);
    expect(neutron.calls).toEqual([]);
  });

  test('without a request takes the only network of the project', async () => {
    neutron.addNetwork(net1);
    expect((await allocate(null)).map((vif) => vif.network.id)).toEqual([net1]);
  });

  test('without a request and without a network gives no interface', async () => {
    expect(await allocate(null)).toEqual([]);
    expectNothingLeft();
  });

  test('keeps the order of the requests, also with ports of the user', async () => {
    neutron.addNetwork(net1);
    neutron.addNetwork(net2);
    neutron.addPort(mine, net2);
    const vifs = await allocate([{ network_id: net1 }, { port_id: mine }, { network_id: net1 }]);
    expect(vifs.map((vif) => [vif.network.id, vif.preserve_on_delete])).toEqual([[net1, false], [net2, true], [net1, false]]);
    expect(vifs[1]?.id).toBe(mine);
  });

  test('takes a port on a network that the user cannot see', async () => {
    neutron.addNetwork(net1);
    neutron.addPort(mine, net1);
    neutron.intercept = (call) => (call.identity === 'user' && call.path === '/v2.0/networks' ? { status: 200, headers: {}, body: { networks: [] } } : undefined);
    expect((await allocate([{ port_id: mine }])).map((vif) => vif.id)).toEqual([mine]);
  });

  test('uses the ports of an interrupted try again instead of making more', async () => {
    neutron.addNetwork(net1);
    neutron.addPort(other, net1, { device_id: uuid });
    rows.interfaces.push({ port: other, instance: uuid, mac: 'fa:16:3e:00:00:01', tag: null });
    const vifs = await allocate([{ network_id: net1 }]);
    expect(vifs.map((vif) => vif.id)).toEqual([other]);
    expect(neutron.ports.size).toBe(1);
    expect(rows.interfaces).toHaveLength(1);
  });

  test('gives security groups by name or id, and none for default alone', async () => {
    neutron.addNetwork(net1);
    neutron.securityGroups.push({ id: fakeUuid(5, 1), name: 'web', tenant_id: 'project' }, { id: fakeUuid(5, 2), name: 'db', tenant_id: 'project' });
    await allocate([{ network_id: net1 }], ['web', fakeUuid(5, 2)]);
    const [creation] = neutron.calls.filter((call) => call.method === 'POST');
    expect((creation?.body?.['port'] as Json)['security_groups']).toEqual([fakeUuid(5, 1), fakeUuid(5, 2)]);
    neutron.calls.length = 0;
    await allocate([{ network_id: net1 }], ['default']);
    expect(neutron.summary()).not.toContain('GET /v2.0/security-groups user');
  });

  test('names the port where Neutron knows DNS, in the zone of the user where the network has a domain', async () => {
    neutron.extensions.add('dns-integration');
    neutron.addNetwork(net1);
    neutron.addNetwork(net2, { dns_domain: 'example.org.' });
    await allocate([{ network_id: net1 }, { network_id: net2 }]);
    const puts = neutron.calls.filter((call) => call.method === 'PUT').map((call) => [call.identity, (call.body?.['port'] as Json)['dns_name']]);
    expect(puts).toEqual([['service', 'web-1'], ['service', undefined], ['user', 'web-1']]);
  });
});

describe('an allocation is refused, and nothing is left, when', () => {
  const made = (): void => {
    neutron.addNetwork(net1);
    neutron.addNetwork(net2);
  };
  const portCase = (fields: Json) => (): Promise<unknown> => {
    made();
    neutron.addPort(mine, net1, fields);
    return allocate([{ port_id: mine }]);
  };
  const networkCase = (fields: Json, groups: string[] = []) => (): Promise<unknown> => {
    neutron.addNetwork(net1, fields);
    return allocate([{ network_id: net1 }], groups);
  };
  test.each<[string, string, () => Promise<unknown>]>([
    ['several networks are possible', 'NetworkAmbiguous', () => (made(), allocate(null))],
    ['the network does not exist', 'NetworkNotFound', () => (made(), allocate([{ network_id: net1 }, { network_id: fakeUuid(1, 9) }]))],
    ['a network is to be made automatically', 'UnableToAutoAllocateNetwork', () => allocate([{ network_id: 'auto' }])],
    ['something was asked for and the project has nothing', 'InterfaceAttachFailedNoNetwork', () => allocate([{}])],
    ['the port does not exist', 'PortNotFound', () => allocate([{ port_id: mine }])],
    ['the port is not an id', 'PortNotFound', () => allocate([{ port_id: '../networks' }])],
    ['the port is in use', 'PortInUse', portCase({ device_id: other })],
    ['the port is of another project', 'PortNotUsable', portCase({ tenant_id: 'stranger' })],
    ['the port has another name', 'PortNotUsableDNS', portCase({ dns_name: 'db-1' })],
    ['the port has no address', 'PortRequiresFixedIP', portCase({ fixed_ips: [] })],
    ['the port could not be bound before', 'PortBindingFailed', portCase({ 'binding:vif_type': 'binding_failed' })],
    ['the port is not of type normal', 'ComputeResourcesUnavailable', portCase({ 'binding:vnic_type': 'direct' })],
    ['the port has a guaranteed bandwidth', 'ComputeResourcesUnavailable', portCase({ resource_request: { required: [], resources: { NET_BW_EGR_KILOBIT_PER_SEC: 1 } } })],
    ['a PCI device is asked for', 'ComputeResourcesUnavailable', () => (made(), allocate([{ network_id: net1, pci_request_id: other }]))],
    ['the network is external and the user no administrator', 'ExternalNetworkAttachForbidden', networkCase({ 'router:external': true })],
    ['the network has no subnet to secure', 'SecurityGroupCannotBeApplied', networkCase({ subnets: [] })],
    ['groups are asked for where they mean nothing', 'SecurityGroupCannotBeApplied', () => {
      neutron.securityGroups.push({ id: fakeUuid(5, 1), name: 'web', tenant_id: 'project' });
      return networkCase({ port_security_enabled: false }, ['web'])();
    }],
    ['a security group does not exist', 'SecurityGroupNotFound', networkCase({}, ['nope'])],
    ['two security groups have the name', 'NoUniqueMatch', () => {
      neutron.securityGroups.push({ id: fakeUuid(5, 1), name: 'web', tenant_id: 'project' }, { id: fakeUuid(5, 2), name: 'web', tenant_id: 'project' });
      return networkCase({}, ['web'])();
    }],
    ['the address is of another network', 'InvalidInput', () => (made(), allocate([{ network_id: net1, address: '192.0.2.9' }]))],
    ['the address is taken', 'FixedIpAlreadyInUse', () => (made(), allocate([{ network_id: net1, address: '10.10.0.10' }, { network_id: net1, address: '10.10.0.10' }]))],
    ['no address is left', 'NoMoreFixedIps', () => {
      made();
      for (const subnet of neutron.subnets.values()) subnet.free = ['10.10.0.10'];
      return allocate([{ network_id: net1 }, { network_id: net1 }]);
    }],
    ['the network has a bandwidth policy', 'NetworksWithQoSPolicyNotSupported', () => {
      made();
      neutron.intercept = (call) => {
        if (call.method !== 'POST') return;
        neutron.addPort(mine, net1, { device_id: uuid, resource_request: { request_groups: [{}] } });
        return { status: 201, headers: {}, body: { port: neutron.ports.get(mine) } };
      };
      return allocate([{ network_id: net1 }]);
    }],
    ['no agent of the host is alive', 'PortBindingFailed', () => {
      made();
      neutron.hosts.clear();
      return allocate([{ network_id: net1 }]);
    }],
    ['the conductor fails in the middle', 'conductor-away', () => {
      made();
      let calls = 0;
      rows.failOn = (call) => (call === 'virtualInterfaces.create' && (calls += 1) === 2 ? new AgentError('conductor-away', 'away') : undefined);
      return allocate([{ network_id: net1 }, { network_id: net2 }]);
    }],
    ['network_info cannot be saved', 'conductor-away', () => {
      made();
      rows.failOn = (call) => (call === 'infoCaches.save' ? new AgentError('conductor-away', 'away') : undefined);
      return allocate([{ network_id: net1 }]);
    }],
    ['the answer to a creation is lost', 'http-unreachable', () => {
      made();
      neutron.intercept = (call) => {
        if (call.method !== 'POST') return;
        neutron.addPort(mine, net1, { device_id: uuid });
        throw new AgentError('http-unreachable', 'reset', { retry: 'later' });
      };
      return allocate([{ network_id: net1 }]);
    }],
  ])('%s: %s', async (_name, fault, work) => {
    expect(await faultOf(work())).toBe(fault);
    expectNothingLeft();
  });

  test('the build is cancelled while a port is being bound; the undo runs all the same', async () => {
    neutron.addNetwork(net1);
    const controller = new AbortController();
    neutron.intercept = (call) => {
      if (call.method === 'PUT') controller.abort(new AgentError('aborted', 'deleted meanwhile'));
    };
    const work = ports.allocate(user, { instance, requestedNetworks: listOf({ network_id: net1 }), securityGroups: [], host: 'node1' }, controller.signal);
    expect(await faultOf(work)).toBe('aborted');
    expectNothingLeft();
  });

  test('another port fails: the port of the user is given back, not deleted', async () => {
    neutron.addNetwork(net1);
    neutron.addPort(mine, net1);
    expect(await faultOf(allocate([{ port_id: mine }, { network_id: net1, address: '10.10.0.200' }]))).toBe('FixedIpAlreadyInUse');
    expect(neutron.ports.get(mine)).toMatchObject({ device_id: '', 'binding:host_id': '' });
    expectNothingLeft();
  });

  test('a port of another instance was asked for: it is not touched by the release either', async () => {
    neutron.addNetwork(net1);
    neutron.addPort(mine, net1, { device_id: other, 'binding:host_id': 'elsewhere' });
    const requested = listOf({ port_id: mine });
    expect(await faultOf(ports.allocate(user, { instance, requestedNetworks: requested, securityGroups: [], host: 'node1' }, signal))).toBe('PortInUse');
    await ports.release(user, instance, requested);
    expect(neutron.ports.get(mine)).toMatchObject({ device_id: other, 'binding:host_id': 'elsewhere' });
  });
});

describe('a release', () => {
  test('deletes what was made, frees what was brought, and empties the cache', async () => {
    neutron.addNetwork(net1);
    neutron.addPort(mine, net1, { 'binding:profile': { trusted: true, pci_slot: '0:1' } });
    await allocate([{ port_id: mine }, { network_id: net1 }]);
    neutron.addPort(other, net1, { device_id: uuid, tenant_id: 'stranger' });
    await ports.release(user, instance);
    expect([...neutron.ports.keys()].sort()).toEqual([mine, other]);
    expect(neutron.ports.get(mine)).toMatchObject({ device_id: '', device_owner: '', 'binding:host_id': '', 'binding:profile': { trusted: true } });
    expect(neutron.ports.get(mine)?.['binding:profile']).not.toHaveProperty('pci_slot');
    expect(neutron.ports.get(other)?.['device_id']).toBe(uuid);
    expect(rows.interfaces).toEqual([]);
    expect(rows.saves.at(-1)).toEqual([]);
    expect(ports.cached(instance)).toEqual([]);
  });

  test('keeps the ports that the user asked for when a build failed before anything was saved', async () => {
    neutron.addNetwork(net1);
    neutron.addPort(mine, net1, { device_id: uuid });
    await ports.release(user, instance, listOf({ port_id: mine }));
    expect(neutron.ports.get(mine)?.['device_id']).toBe('');
  });

  test('is fine when everything is gone, and when the row is gone', async () => {
    rows.caches.delete(uuid);
    await ports.release(user, instance);
    expect(rows.saves).toEqual([]);
  });

  test('tries all ports and reports a failure, so that it is repeated', async () => {
    neutron.addNetwork(net1);
    const vifs = await allocate([{ network_id: net1 }, { network_id: net1 }]);
    neutron.intercept = (call) => (call.method === 'DELETE' && call.path.endsWith(vifs[0]!.id) ? { status: 500, headers: {}, body: {} } : undefined);
    expect(await faultOf(ports.release(user, instance))).toBe('http-server-error');
    expect([...neutron.ports.keys()]).toEqual([vifs[0]!.id]);
    expect(rows.interfaces).toHaveLength(2);
    neutron.intercept = undefined;
    await ports.release(user, instance);
    expect(neutron.ports.size).toBe(0);
    expect(rows.interfaces).toEqual([]);
  });
});

test('a binding that failed on this host is tried again, in an allocation and in a rebind', async () => {
  neutron.addNetwork(net1);
  neutron.addPort(other, net1, { device_id: uuid, 'binding:host_id': 'node1', 'binding:vif_type': 'binding_failed' });
  expect((await allocate([{ network_id: net1 }])).map((vif) => [vif.id, vif.type])).toEqual([[other, 'ovs']]);
  neutron.ports.get(other)!['binding:vif_type'] = 'binding_failed';
  expect((await ports.rebind(user, instance, 'node1')).map((vif) => vif.type)).toEqual(['ovs']);
});

describe('network info', () => {
  const build = async (): Promise<NetworkInfo> => {
    neutron.addNetwork(net1);
    neutron.addPort(mine, net1);
    return allocate([{ network_id: net1 }, { port_id: mine }]);
  };

  test('is refreshed with the order and the preserve_on_delete of the cache', async () => {
    const vifs = await build();
    for (const port of neutron.ports.values()) port['status'] = 'ACTIVE';
    neutron.floatingIps.push({ port_id: mine, fixed_ip_address: vifs[1]!.network.subnets[0]!.ips[0]!.address, floating_ip_address: '192.0.2.8' });
    const refreshed = await ports.refresh(user, instance);
    expect(refreshed.map((vif) => [vif.id, vif.active, vif.preserve_on_delete])).toEqual([[vifs[0]!.id, true, false], [mine, true, true]]);
    expect(refreshed[1]?.network.subnets[0]?.ips[0]?.floating_ips?.map((ip) => ip.address)).toEqual(['192.0.2.8']);
    expect(rows.saves.at(-1)).toEqual(refreshed);
  });

  test('that lost ports gets them back in a heal, in the order in which they were attached, and a port bound elsewhere comes home', async () => {
    const vifs = await build();
    rows.caches.set(uuid, '[]');
    neutron.ports.get(mine)!['binding:host_id'] = 'node2';
    const before = neutron.calls.length;
    const healed = await ports.heal(user, instance, 'node1');
    expect(healed.map((vif) => [vif.id, vif.network.subnets[0]?.ips[0]?.address])).toEqual(vifs.map((vif) => [vif.id, vif.network.subnets[0]?.ips[0]?.address]));
    expect(rows.saves.at(-1)).toEqual(healed);
    expect(neutron.calls.slice(before).filter((call) => call.method === 'PUT').map((call) => call.path)).toEqual([`/v2.0/ports/${mine}`]);
    expect(await ports.refresh(user, instance)).toEqual(healed);
  });

  test('of one port leaves the others as they were', async () => {
    const vifs = await build();
    for (const port of neutron.ports.values()) port['status'] = 'ACTIVE';
    const refreshed = await ports.refresh(user, instance, mine as PortId);
    expect(refreshed.map((vif) => vif.active)).toEqual([false, true]);
    expect(refreshed[0]).toEqual(vifs[0]);
  });

  test('is not wiped by an empty answer while the build runs', async () => {
    const vifs = await build();
    neutron.intercept = (call) => (call.method === 'GET' && call.path === '/v2.0/ports' ? { status: 200, headers: {}, body: { ports: [] } } : undefined);
    expect(await ports.refresh(user, instance)).toEqual(vifs);
    expect(rows.saves).toHaveLength(1);
  });

  test('does not lose a port that a list forgot but Neutron still has', async () => {
    const vifs = await build();
    instance.set('vm_state', 'active');
    neutron.intercept = (call) => (call.method === 'GET' && call.path === '/v2.0/ports' && 'device_id' in call.query ? { status: 200, headers: {}, body: { ports: [] } } : undefined);
    expect((await ports.refresh(user, instance)).map((vif) => vif.id)).toEqual(vifs.map((vif) => vif.id));
  });

  test.each(['../networks/x', `${mine}/../../networks`, 'x?y=z', ''])('a port id %j in a message leads to no other address', async (id) => {
    await build();
    neutron.calls.length = 0;
    await ports.refresh(user, instance, id as PortId);
    await ports.release(user, instance, listOf({ port_id: id }));
    expect(neutron.calls.length).toBeGreaterThan(0);
    for (const { path } of neutron.calls) expect(path).toMatch(/^\/v2\.0\/[a-z-]+(\/[^/?#]*)?$/);
  });

  test('drops a port that is gone', async () => {
    const vifs = await build();
    instance.set('vm_state', 'active');
    neutron.ports.delete(vifs[0]!.id);
    expect((await ports.refresh(user, instance)).map((vif) => vif.id)).toEqual([mine]);
  });

  test('is written by one at a time', async () => {
    const vifs = await build();
    let running = 0;
    let most = 0;
    const request = neutron.client.request.bind(neutron.client);
    neutron.client.request = async (...args) => {
      most = Math.max(most, (running += 1));
      await Promise.resolve();
      try {
        return await request<never>(...args);
      } finally {
        running -= 1;
      }
    };
    await Promise.all([ports.refresh(user, instance), ports.refresh(user, instance, mine as PortId), ports.refresh(user, instance)]);
    expect(most).toBe(1);
    expect(ports.cached(instance).map((vif) => vif.id)).toEqual(vifs.map((vif) => vif.id));
  });

  test('follows a rebind to another host, and a rebind that fails says so', async () => {
    await build();
    neutron.hosts.set('node2', 'tap');
    expect((await ports.rebind(user, instance, 'node2')).map((vif) => vif.type)).toEqual(['tap', 'tap']);
    expect([...neutron.ports.values()].map((port) => port['binding:host_id'])).toEqual(['node2', 'node2']);
    const before = neutron.calls.length;
    await ports.rebind(user, instance, 'node2');
    expect(neutron.calls.slice(before).some((call) => call.method === 'PUT')).toBe(false);
    expect(await faultOf(ports.rebind(user, instance, 'node3'))).toBe('PortBindingFailed');
  });
});
