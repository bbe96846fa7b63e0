import { beforeEach, expect, test } from 'vitest';
import { parsePortId } from '../../../../src/lib/ids.js';
import { wireFaultOf } from '../../../../src/lib/errors.js';
import { createPlugger, type L2Agent, type Plugger, type PluggerOptions, type PortSegment, type Vif } from '../../../../src/network/index.js';
import { createBhyveHost, type BhyveHost } from '../../../fakes/bhyve-host.js';
import { instanceA, instanceB } from '../../../fakes/guest-definition.js';
import { recordingLog } from '../../../fakes/recording-log.js';
import { createVirtualClock, type VirtualClock } from '../../../fakes/virtual-clock.js';

const portA = parsePortId('1a2b3c4d-5e6f-4a1b-8c9d-0e1f2a3b4c5d');
const portB = parsePortId('2a2b3c4d-5e6f-4a1b-8c9d-0e1f2a3b4c5d');
const tapA = 'tap1a2b3c4d-5e';
const never = new AbortController().signal;

let clock: VirtualClock;
let host: BhyveHost;
let segments: Map<string, Partial<PortSegment>>;
let told: string[];
let plugger: Plugger;

const vif = (changes: Partial<Vif> = {}): Vif => ({
  id: portA, address: 'fa:16:3e:aa:bb:cc', type: 'ovs', devname: tapA, vnic_type: 'normal', active: false, details: {}, profile: {}, preserve_on_delete: false,
  delegate_create: true, ovs_interfaceid: null, qbh_params: null, qbg_params: null, meta: {},
  network: { id: 'n', bridge: 'br-int', label: 'net', subnets: [], meta: { mtu: 1450 } }, ...changes,
});
const l2: L2Agent = {
  run: async () => undefined,
  segmentOf: async (port) => {
    const found = segments.get(port);
    return found === undefined ? null : {
      port, networkId: 'n', mac: 'fa:16:3e:aa:bb:cc', isAdminUp: true, networkType: 'flat', physicalNetwork: 'physnet1', segmentationId: null, mtu: 1500, ...found,
    };
  },
  deviceUp: async (port) => void told.push(`up ${port}`),
  deviceDown: async (port) => void told.push(`down ${port}`),
};
const newPlugger = (changes: Partial<PluggerOptions> = {}): Plugger => createPlugger({
  host, l2, clock, log: recordingLog().log, bridgeMappings: { physnet1: 'br-physnet1' }, interfaceMappings: { physnet1: 'ix0' }, foreignTapTimeoutMs: 10_000, ...changes,
});

beforeEach(() => {
  clock = createVirtualClock();
  host = createBhyveHost(clock);
  host.ifconfig.add('ix0', 'ether', { isUp: true });
  segments = new Map([[portA, {}], [portB, {}]]);
  told = [];
  plugger = newPlugger();
});

test('a flat port gets a marked tap on the mapped bridge, which is made with its interface, and Neutron is told', async () => {
  expect(await plugger.plug(instanceA, vif(), never)).toEqual({ port: portA, tapName: tapA, mac: 'fa:16:3e:aa:bb:cc', mtu: 1500, isOurs: true });
  expect(host.ifconfig.interfaces.get('br-physnet1')).toMatchObject({ members: ['ix0', tapA], isUp: true });
  expect(host.ifconfig.interfaces.get(tapA)).toMatchObject({ isUp: true, mtu: 1500, description: `nova-bhyve ${instanceA} ${portA}`, groups: ['tap', 'novabhyve'] });
  expect(told).toEqual([`up ${portA}`]);
  expect(await plugger.listOwned()).toEqual([{ tapName: tapA, instance: instanceA, port: portA }]);
});

test('plugging twice changes nothing', async () => {
  await plugger.plug(instanceA, vif(), never);
  const before = JSON.stringify([...host.ifconfig.interfaces]);
  await plugger.plug(instanceA, vif(), never);
  expect(JSON.stringify([...host.ifconfig.interfaces])).toBe(before);
});

test('an operator’s bridge is used as it is, and never removed', async () => {
  host.ifconfig.add('br-physnet1', 'bridge');
  await plugger.plug(instanceA, vif(), never);
  await plugger.unplug(instanceA, portA);
  expect(host.ifconfig.names()).toEqual(['ix0', 'br-physnet1']);
  expect(host.ifconfig.interfaces.get('br-physnet1')?.members).toEqual([]);
});

test('a VLAN port gets a vlan interface and a bridge of its own; they go with the last tap', async () => {
  segments.set(portA, { networkType: 'vlan', segmentationId: 101 });
  segments.set(portB, { networkType: 'vlan', segmentationId: 101 });
  await plugger.plug(instanceA, vif(), never);
  await plugger.plug(instanceB, vif({ id: portB }), never);
  expect(host.ifconfig.interfaces.get('br-physnet1.101')?.members).toEqual(['ix0.101', tapA, 'tap2a2b3c4d-5e']);
  expect(host.ifconfig.interfaces.get('ix0.101')).toMatchObject({ vlan: { id: 101, parent: 'ix0' }, isUp: true });
  await plugger.unplug(instanceA, portA);
  expect(host.ifconfig.names()).toContain('br-physnet1.101');
  await plugger.unplug(instanceB, portB);
  expect(host.ifconfig.names()).toEqual(['ix0']);
});

test('a VLAN that the operator has configured already is shared, not made again nor removed', async () => {
  host.ifconfig.add('vlan7', 'vlan', { vlan: { id: 101, parent: 'ix0' } });
  segments.set(portA, { networkType: 'vlan', segmentationId: 101 });
  await plugger.plug(instanceA, vif(), never);
  expect(host.ifconfig.interfaces.get('br-physnet1.101')?.members).toEqual(['vlan7', tapA]);
  await plugger.unplug(instanceA, portA);
  expect(host.ifconfig.names()).toEqual(['ix0', 'vlan7']);
});

test('names that would not fit become short ones, the same each time', async () => {
  host.ifconfig.add('a-long-name-if0', 'ether');
  plugger = newPlugger({ bridgeMappings: {}, interfaceMappings: { 'a physical network with a long name': 'a-long-name-if0' } });
  segments.set(portA, { networkType: 'vlan', segmentationId: 4000, physicalNetwork: 'a physical network with a long name' });
  await plugger.plug(instanceA, vif(), never);
  const names = host.ifconfig.names();
  for (const name of names) expect(name.length).toBeLessThanOrEqual(15);
  await plugger.plug(instanceA, vif(), never);
  expect(host.ifconfig.names()).toEqual(names);
});

test('the guest gets the smaller MTU of network and bridge, the tap that of the bridge', async () => {
  host.ifconfig.add('br-physnet1', 'bridge', { mtu: 9000, members: ['ix0'] });
  expect((await plugger.plug(instanceA, vif(), never)).mtu).toBe(1500);
  expect(host.ifconfig.interfaces.get(tapA)?.mtu).toBe(9000);
});

test('a port that is switched off has a tap without a way to the network, and is reported down', async () => {
  segments.set(portA, { isAdminUp: false });
  await plugger.plug(instanceA, vif(), never);
  expect(host.ifconfig.interfaces.get('br-physnet1')?.members).toEqual(['ix0']);
  expect(told).toEqual([`down ${portA}`]);
});

test.each([
  ['an unknown port', (): unknown => segments.clear(), {}, /does not know the port/],
  ['a tunnel network', (): unknown => segments.set(portA, { networkType: 'vxlan' }), {}, /type vxlan cannot be wired/],
  ['a physical network without a bridge', (): unknown => segments.set(portA, { physicalNetwork: 'other' }), {}, /bridge_mappings/],
  ['a VLAN without an interface', (): unknown => segments.set(portA, { physicalNetwork: 'other', networkType: 'vlan', segmentationId: 3 }), {}, /interface_mappings/],
  ['an uplink that is missing', (): unknown => host.ifconfig.interfaces.delete('ix0'), {}, /ix0 .* does not exist/],
  ['an uplink with a smaller MTU', (): unknown => segments.set(portA, { mtu: 9000 }), {}, /has MTU 1500, the network wants 9000/],
  ['a binding that failed', (): unknown => undefined, { type: 'binding_failed' }, /has not bound/],
  ['another vif type', (): unknown => undefined, { type: 'vhostuser' }, /vif_type vhostuser cannot be plugged/],
] as const)('%s is refused with what to do, in Nova’s words, and leaves no tap', async (_what, prepare, changes, message) => {
  prepare();
  const error: unknown = await plugger.plug(instanceA, vif(changes), never).catch((reason: unknown) => reason);
  expect(error).toMatchObject({ code: 'vif-plug-failed', message: expect.stringMatching(message) as string });
  expect(wireFaultOf(error)?.className).toBe('VirtualInterfaceCreateException');
  expect(host.ifconfig.names().filter((name) => name.startsWith('tap'))).toEqual([]);
  expect(told).toEqual([]);
});

test('an interface that carries our name but not our mark is refused and left alone', async () => {
  host.ifconfig.add(tapA, 'tap', { description: 'made by hand' });
  await expect(plugger.plug(instanceA, vif(), never)).rejects.toThrow(/did not make/);
  await plugger.unplug(instanceA, portA);
  expect(host.ifconfig.interfaces.get(tapA)?.description).toBe('made by hand');
  expect(await plugger.listOwned()).toEqual([]);
});

test('a failed rename leaves no numbered tap behind', async () => {
  const create = `ifconfig tap create description nova-bhyve ${instanceA} ${portA} group novabhyve mtu 1500 name ${tapA}`;
  host.ifconfig.add('br-physnet1', 'bridge');
  const run = host.run.bind(host);
  host.run = async (tool, args, options) => {
    // Somebody takes the name between our look and our rename.
    if (`${tool} ${args.join(' ')}` === create) host.ifconfig.add(tapA, 'tap');
    return run(tool, args, options);
  };
  await expect(plugger.plug(instanceA, vif(), never)).rejects.toThrow(/appeared while it was made/);
  expect(host.ifconfig.names()).toEqual(['ix0', 'br-physnet1', tapA]);
});

test('a port that moved to another instance here keeps its tap under the new owner', async () => {
  await plugger.plug(instanceA, vif(), never);
  await plugger.plug(instanceB, vif(), never);
  expect(await plugger.listOwned()).toEqual([{ tapName: tapA, instance: instanceB, port: portA }]);
  await plugger.unplug(instanceA, portA);
  expect(host.ifconfig.names()).toContain(tapA);
});

test('a tap that bhyve holds open is not destroyed: that would block', async () => {
  await plugger.plug(instanceA, vif(), never);
  host.ifconfig.interfaces.get(tapA)!.openedBy = 4711;
  await expect(plugger.unplug(instanceA, portA)).rejects.toMatchObject({ code: 'tap-busy', retry: 'later' });
  expect(host.calls.filter((call) => call === `ifconfig ${tapA} destroy`)).toEqual([]);
});

test('unplugging twice is fine, and a deaf Neutron does not stop it', async () => {
  plugger = newPlugger({ l2: { ...l2, deviceDown: () => Promise.reject(new Error('no answer')) } });
  await plugger.plug(instanceA, vif(), never);
  await plugger.unplug(instanceA, portA);
  await plugger.unplug(instanceA, portA);
  expect(host.ifconfig.names()).toEqual(['ix0', 'br-physnet1']);
});

test('a foreign agent’s tap is waited for, used, and never touched', async () => {
  plugger = newPlugger({ l2: null });
  clock.after(3000, () => host.ifconfig.add(tapA, 'tap', { mtu: 1400 }));
  expect(await plugger.plug(instanceA, vif({ type: 'bridge' }), never)).toEqual({ port: portA, tapName: tapA, mac: 'fa:16:3e:aa:bb:cc', mtu: 1450, isOurs: false });
  expect(clock.sleptMs).toBeLessThan(4000);
  const before = JSON.stringify(host.ifconfig.interfaces.get(tapA));
  await plugger.unplug(instanceA, portA);
  expect(JSON.stringify(host.ifconfig.interfaces.get(tapA))).toBe(before);
});

test('a foreign tap that never comes fails after the limit and points at the other agent', async () => {
  await expect(plugger.plug(instanceA, vif({ type: 'tap' }), never)).rejects.toThrow(/did not make tap1a2b3c4d-5e within 10 s/);
  expect(clock.monotonicMs()).toBeGreaterThanOrEqual(10_000);
});

test('an aborted plug ends with the reason of the abort, not with a plug failure', async () => {
  const abort = new AbortController();
  abort.abort(new Error('the build was cancelled'));
  await expect(plugger.plug(instanceA, vif({ type: 'tap' }), abort.signal)).rejects.toThrow('the build was cancelled');
});
