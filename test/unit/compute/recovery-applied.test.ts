/** The recovery table of nova-contract section 3, row by row, through the start-up of the service. */
import { describe, expect, test } from 'vitest';
import { AgentError } from '../../../src/lib/errors.js';
import type { ComputeOptions } from '../../../src/compute/index.js';
import { createTestNode, providerUuid, putGuest, wireObject, type TestNode } from '../../contract/support/compute-node.js';
import type { Vif } from '../../../src/network/index.js';

type Data = Record<string, unknown>;
type GuestBefore = 'none' | 'running' | 'paused' | 'stopped' | 'suspended';

const uuid = '11111111-1111-4111-8111-111111111111';
const port = '22222222-2222-4222-8222-222222222222';
const network = '33333333-3333-4333-8333-333333333333';
const vif = {
  id: port, address: 'fa:16:3e:00:00:77', type: 'ovs', devname: 'tap22222222-22', vnic_type: 'normal', active: true, details: {}, profile: {}, preserve_on_delete: false, delegate_create: true,
  ovs_interfaceid: port, qbh_params: null, qbg_params: null, meta: {}, network: { id: network, bridge: 'br-int', label: 'flat0', subnets: [], meta: { mtu: 1500 } },
} as unknown as Vif;

async function before(row: Data, guest: GuestBefore, options: Partial<ComputeOptions> = {}): Promise<TestNode> {
  const node = await createTestNode({ options, isAudited: false });
  node.rpc.addInstance({
    uuid, id: 7, host: 'fakea', node: 'fakea', vm_state: 'active', task_state: null, power_state: 1, image_ref: 'i', config_drive: '', hostname: 'h', availability_zone: 'nova',
    flavor: wireObject('Flavor', '1.2', { vcpus: 1, memory_mb: 64, root_gb: 1, ephemeral_gb: 0, swap: 0, extra_specs: {} }), numa_topology: null, pci_requests: null,
    info_cache: wireObject('InstanceInfoCache', '1.5', { instance_uuid: uuid, network_info: JSON.stringify([vif]) }), ...row,
  });
  node.rpc.infoCaches.push({ instance_uuid: uuid, network_info: JSON.stringify([vif]) });
  node.neutron.addNetwork(network, { tenant_id: 'p1' });
  node.neutron.addPort(port, network, {
    mac_address: vif.address, tenant_id: 'p1', status: 'ACTIVE', device_id: uuid, device_owner: 'compute:nova', 'binding:host_id': 'fakea', 'binding:vif_type': 'ovs',
  });
  node.placement.allocate(uuid, { [providerUuid]: { resources: { VCPU: 1 } } });
  await node.placement.createProvider(providerUuid, 'fakea');
  if (guest !== 'none') putGuest(node, uuid, { isRunning: !['stopped', 'suspended'].includes(guest), isPaused: guest === 'paused', isSaved: guest === 'suspended', vifs: [vif] });
  return node;
}

const rowOf = (node: TestNode): Data => node.rpc.instances[0] ?? {};
const traces = (node: TestNode): unknown => ({
  guest: node.guest(uuid) === undefined ? 'none' : node.guest(uuid)?.isRunning === true ? 'running' : 'stopped', taps: node.taps.size, disks: node.world.disks.size,
  ports: node.neutron.ports.size, isAllocated: node.placement.consumers.has(uuid),
});
const whole = (guest: GuestBefore): unknown => ({ guest, taps: guest === 'running' ? 1 : 0, disks: 1, ports: 1, isAllocated: true });
/** Off, with its memory on disk; its tap stays. */
const saved = { guest: 'stopped', taps: 1, disks: 1, ports: 1, isAllocated: true };
const nothing = { guest: 'none', taps: 0, disks: 0, ports: 0, isAllocated: false };

interface Case {
  readonly name: string;
  readonly row: Data;
  readonly guest: GuestBefore;
  readonly options?: Partial<ComputeOptions>;
  readonly then: Data;
  readonly leaves: unknown;
  /** How often the guest was started in all; the first time was before the restart. */
  readonly starts?: number;
}

const cases: readonly Case[] = [
  { name: 'soft-deleted: left alone', row: { vm_state: 'soft-delete', power_state: 4 }, guest: 'stopped', then: { vm_state: 'soft-delete', task_state: null }, leaves: whole('stopped') },
  { name: 'in error: left alone', row: { vm_state: 'error', power_state: 4 }, guest: 'stopped', then: { vm_state: 'error', power_state: 4 }, leaves: whole('stopped') },
  { name: 'in error with a task that a reboot left: left alone', row: { vm_state: 'error', task_state: 'rebooting_hard' }, guest: 'stopped', then: { vm_state: 'error', task_state: 'rebooting_hard' }, leaves: whole('stopped') },
  { name: 'in error while it was deleted: deleted', row: { vm_state: 'error', task_state: 'deleting' }, guest: 'stopped', then: { vm_state: 'deleted', deleted: true }, leaves: nothing },
  { name: 'deleted, but the row is still there: the rest is done', row: { vm_state: 'deleted' }, guest: 'none', then: { vm_state: 'deleted', deleted: true }, leaves: nothing },
  { name: 'deleting: deleted', row: { task_state: 'deleting' }, guest: 'running', then: { vm_state: 'deleted', deleted: true, task_state: null }, leaves: nothing },
  { name: 'spawning: error, and what was made is gone', row: { vm_state: 'building', task_state: 'spawning' }, guest: 'stopped', then: { vm_state: 'error', task_state: null }, leaves: { guest: 'none', taps: 0, disks: 0, ports: 1, isAllocated: true } },
  { name: 'building between two tasks: error', row: { vm_state: 'building' }, guest: 'none', then: { vm_state: 'error', task_state: null }, leaves: { guest: 'none', taps: 0, disks: 0, ports: 1, isAllocated: true } },
  ...['rebuilding', 'rebuild_block_device_mapping', 'rebuild_spawning'].map((task): Case => ({
    name: `${task}: error, and the disk stays`, row: { task_state: task }, guest: 'stopped', then: { vm_state: 'error', task_state: null }, leaves: whole('stopped') })),
  ...['image_snapshot_pending', 'image_snapshot', 'image_pending_upload', 'image_uploading', 'resize_prep'].map((task): Case => ({
    name: `${task}: the task is over, the server goes on`, row: { task_state: task }, guest: 'running', then: { vm_state: 'active', task_state: null }, leaves: whole('running'), starts: 1 })),
  { name: 'reboot_pending and running: rebooted softly', row: { task_state: 'reboot_pending' }, guest: 'running', then: { vm_state: 'active', task_state: null, power_state: 1 }, leaves: whole('running'), starts: 2 },
  { name: 'reboot_pending, but the guest is off: rebooted hard', row: { task_state: 'reboot_pending' }, guest: 'stopped', then: { vm_state: 'active', task_state: null, power_state: 1 }, leaves: whole('running'), starts: 2 },
  { name: 'reboot_pending_hard of a stopped server: rebooted hard', row: { vm_state: 'stopped', task_state: 'reboot_pending_hard', power_state: 4 }, guest: 'stopped', then: { vm_state: 'active', task_state: null, power_state: 1 }, leaves: whole('running'), starts: 2 },
  ...['rebooting', 'rebooting_hard', 'reboot_started', 'reboot_started_hard'].flatMap((task): Case[] => [
    { name: `${task}, guest off: rebooted hard`, row: { task_state: task }, guest: 'stopped', then: { vm_state: 'active', task_state: null, power_state: 1 }, leaves: whole('running'), starts: 2 },
    { name: `${task}, guest runs: it was through`, row: { task_state: task }, guest: 'running', then: { vm_state: 'active', task_state: null }, leaves: whole('running'), starts: 1 },
  ]),
  { name: 'pausing, guest runs: it never was', row: { task_state: 'pausing' }, guest: 'running', then: { vm_state: 'active', task_state: null }, leaves: whole('running'), starts: 1 },
  { name: 'pausing, and the guest is paused: paused', row: { task_state: 'pausing' }, guest: 'paused', then: { vm_state: 'paused', task_state: null, power_state: 3 }, leaves: whole('running'), starts: 1 },
  { name: 'unpausing, and the guest is paused: unpaused', row: { vm_state: 'paused', task_state: 'unpausing', power_state: 3 }, guest: 'paused', then: { vm_state: 'active', task_state: null, power_state: 1 }, leaves: whole('running'), starts: 1 },
  { name: 'unpausing, guest runs: it was through', row: { vm_state: 'paused', task_state: 'unpausing', power_state: 3 }, guest: 'running', then: { vm_state: 'active', task_state: null }, leaves: whole('running'), starts: 1 },
  { name: 'paused: left paused', row: { vm_state: 'paused', power_state: 3 }, guest: 'paused', options: { resumeGuestsOnHostBoot: true }, then: { vm_state: 'paused', task_state: null, power_state: 3 }, leaves: whole('running'), starts: 1 },
  { name: 'paused by somebody else: left to them, whatever the operator wants', row: {}, guest: 'paused', options: { resumeGuestsOnHostBoot: true }, then: { vm_state: 'active', task_state: null }, leaves: whole('running'), starts: 1 },
  { name: 'suspending, guest runs: suspended', row: { task_state: 'suspending' }, guest: 'running', then: { vm_state: 'suspended', task_state: null, power_state: 7 }, leaves: saved, starts: 1 },
  { name: 'suspending, and it is saved: suspended', row: { task_state: 'suspending' }, guest: 'suspended', then: { vm_state: 'suspended', task_state: null, power_state: 7 }, leaves: saved, starts: 1 },
  { name: 'suspending, guest off: the task is over', row: { task_state: 'suspending' }, guest: 'stopped', then: { vm_state: 'active', task_state: null }, leaves: whole('stopped') },
  { name: 'resuming: resumed', row: { vm_state: 'suspended', task_state: 'resuming', power_state: 7 }, guest: 'suspended', then: { vm_state: 'active', task_state: null, power_state: 1 }, leaves: whole('running'), starts: 1 },
  { name: 'resuming, guest runs: it was through', row: { vm_state: 'suspended', task_state: 'resuming', power_state: 7 }, guest: 'running', then: { vm_state: 'active', task_state: null, power_state: 1 }, leaves: whole('running'), starts: 1 },
  { name: 'suspended: left suspended, whatever the operator wants', row: { vm_state: 'suspended', power_state: 7 }, guest: 'suspended', options: { resumeGuestsOnHostBoot: true }, then: { vm_state: 'suspended', task_state: null, power_state: 7 }, leaves: saved, starts: 1 },
  { name: 'soft-deleted while it was deleted: deleted', row: { vm_state: 'soft-delete', task_state: 'deleting', power_state: 4 }, guest: 'stopped', then: { vm_state: 'deleted', deleted: true }, leaves: nothing },
  { name: 'powering-off: stopped', row: { task_state: 'powering-off' }, guest: 'running', then: { vm_state: 'stopped', task_state: null, power_state: 4 }, leaves: whole('stopped') },
  { name: 'powering-off, and it is off: stopped', row: { task_state: 'powering-off' }, guest: 'stopped', then: { vm_state: 'stopped', task_state: null, power_state: 4 }, leaves: whole('stopped') },
  { name: 'powering-on: started', row: { vm_state: 'stopped', task_state: 'powering-on', power_state: 4 }, guest: 'stopped', then: { vm_state: 'active', task_state: null, power_state: 1 }, leaves: whole('running'), starts: 2 },
  { name: 'resize_migrating: runs again', row: { task_state: 'resize_migrating' }, guest: 'stopped', then: { vm_state: 'active', task_state: null }, leaves: whole('running'), starts: 2 },
  { name: 'resize_migrating of a server that was stopped: stays off', row: { vm_state: 'stopped', task_state: 'resize_migrating', system_metadata: { old_vm_state: 'stopped' }, power_state: 4 }, guest: 'stopped', then: { vm_state: 'stopped', task_state: null }, leaves: whole('stopped') },
  { name: 'rescued before the host rebooted, and the operator wants guests back: started, and still rescued', row: { vm_state: 'rescued' }, guest: 'stopped', options: { resumeGuestsOnHostBoot: true }, then: { vm_state: 'rescued', task_state: null, power_state: 1 }, leaves: whole('running'), starts: 2 },
  { name: 'migrating: the task is over', row: { task_state: 'migrating' }, guest: 'running', then: { vm_state: 'active', task_state: null }, leaves: whole('running'), starts: 1 },
  { name: 'ran before the host rebooted: off, for the power sync to say so', row: {}, guest: 'stopped', then: { vm_state: 'active', task_state: null }, leaves: whole('stopped') },
  { name: 'ran before the host rebooted, and the operator wants guests back: started', row: {}, guest: 'stopped', options: { resumeGuestsOnHostBoot: true }, then: { vm_state: 'active', task_state: null, power_state: 1 }, leaves: whole('running'), starts: 2 },
  { name: 'was stopped before the host rebooted: stays off, whatever the operator wants', row: { vm_state: 'stopped', power_state: 4 }, guest: 'stopped', options: { resumeGuestsOnHostBoot: true }, then: { vm_state: 'stopped', power_state: 4 }, leaves: whole('stopped') },
  { name: 'runs: left running', row: {}, guest: 'running', then: { vm_state: 'active', task_state: null, power_state: 1 }, leaves: whole('running'), starts: 1 },
];

describe('a server that the start finds', () => {
  test.each(cases)('$name', async ({ row, guest, options, then, leaves, starts }) => {
    const node = await before(row, guest, options);
    await node.join();
    expect(rowOf(node)).toMatchObject(then);
    expect(traces(node)).toEqual(leaves);
    if (starts !== undefined) expect(node.guest(uuid)?.starts).toBe(starts);
    expect(node.deps.journal.unfinished()).toEqual([]);
    expect(node.log.lines().filter((line) => Number(line['level']) >= 50).map((line) => line['msg'])).toEqual([]);
  });
});

describe('the start', () => {
  test('leaves servers of other hosts alone, even if the conductor lists them', async () => {
    const node = await before({ task_state: 'deleting' }, 'running');
    node.rpc.overrides.set('InstanceList.get_by_host', () => wireObject('InstanceList', '2.6', { objects: [wireObject('Instance', '2.7', { ...rowOf(node), host: 'another' })] }));
    await node.join();
    expect(traces(node)).toEqual(whole('running'));
    expect(rowOf(node)['task_state']).toBe('deleting');
  });

  test('goes on although one server cannot be recovered', async () => {
    const node = await before({ task_state: 'powering-off' }, 'running');
    const other = node.rpc.addInstance({ uuid: '44444444-4444-4444-8444-444444444444', host: 'fakea', node: 'fakea', vm_state: 'building', task_state: 'networking', image_ref: 'i', flavor: rowOf(node)['flavor'] });
    node.deps.driver.stop = () => Promise.reject(new AgentError('guest-stop-failed', 'it would not'));
    await node.join();
    expect(other).toMatchObject({ vm_state: 'error', task_state: null });
    expect(node.log.lines().some((line) => line['msg'] === 'recovery of an instance failed')).toBe(true);
    expect(node.rpc.services[0]).toBeDefined();
    expect(node.rpc.computeNodes).toHaveLength(1);
  });

  test('sets a server to error whose deletion fails, and keeps its row', async () => {
    const node = await before({ task_state: 'deleting' }, 'running');
    node.placement.before = (request) => { if (request.startsWith('deleteAllocations')) throw new AgentError('http-unreachable', 'Placement is away'); };
    await node.join();
    expect(rowOf(node)).toMatchObject({ vm_state: 'error' });
    expect(rowOf(node)['deleted']).not.toBe(true);
    expect(node.placement.consumers.has(uuid)).toBe(true);
  });

  test('sets a server to error whose guest could not be started again after a host reboot', async () => {
    const node = await before({}, 'stopped', { resumeGuestsOnHostBoot: true });
    node.deps.driver.start = () => Promise.reject(new AgentError('guest-start-failed', 'no memory'));
    await node.join();
    expect(rowOf(node)).toMatchObject({ vm_state: 'error', task_state: null });
  });

  test('puts the taps of running guests back on their bridges, and those of stopped ones not', async () => {
    for (const guest of ['running', 'stopped'] as const) {
      const node = await before({ ...(guest === 'stopped' ? { vm_state: 'stopped', power_state: 4 } : {}) }, guest);
      const plugged: string[] = [];
      const plug = node.deps.plugger.plug.bind(node.deps.plugger);
      Object.assign(node.deps.plugger, { plug: (...args: Parameters<typeof plug>) => { plugged.push(args[1].id); return plug(...args); } });
      await node.join();
      expect([guest, plugged]).toEqual([guest, guest === 'running' ? [port] : []]);
    }
  });

  test('keeps a running guest whose port cannot be plugged now', async () => {
    const node = await before({}, 'running');
    Object.assign(node.deps.plugger, { plug: () => Promise.reject(new AgentError('vif-plug-failed', 'Neutron is away')) });
    await node.join();
    expect(rowOf(node)).toMatchObject({ vm_state: 'active', task_state: null });
    expect(node.guest(uuid)).toMatchObject({ isRunning: true, starts: 1 });
    expect(node.log.lines().some((line) => line['msg'] === 'port of a running guest not plugged again')).toBe(true);
  });

  test('removes a guest that was evacuated meanwhile, before anything else could start it', async () => {
    const node = await before({ task_state: 'powering-on', vm_state: 'stopped' }, 'stopped', { resumeGuestsOnHostBoot: true });
    node.rpc.migrations.push({ id: 3, uuid: '55555555-5555-4555-8555-555555555555', instance_uuid: uuid, source_compute: 'fakea', dest_compute: 'other', status: 'done', migration_type: 'evacuation' });
    rowOf(node)['host'] = 'other';
    await node.join();
    expect(node.rpc.migrations[0]).toMatchObject({ status: 'completed' });
    expect(traces(node)).toEqual({ guest: 'none', taps: 0, disks: 0, ports: 1, isAllocated: false });
    expect(rowOf(node)).toMatchObject({ host: 'other', task_state: 'powering-on' });
  });

  test('marks a build that died before its claim: only the allocation knew of this host', async () => {
    const node = await before({ host: null, node: null, vm_state: 'building', task_state: 'scheduling' }, 'none');
    await node.join();
    expect(rowOf(node)).toMatchObject({ vm_state: 'error', task_state: null, host: null });
  });

  test('tells the schedulers who is here, then registers, then reports its resources', async () => {
    const node = await before({}, 'running');
    rowOf(node)['numa_topology'] = null;
    node.rpc.services.length = 0;
    await node.join();
    const told = node.sent().filter((one) => one.method === 'update_instance_info' || ['Service', 'ComputeNode'].includes(String((one.args['objinst'] as Data | undefined)?.['nova_object.name'])))
      .map((one) => (one.method === 'object_action' ? `${String((one.args['objinst'] as Data)['nova_object.name'])}.${String(one.args['objmethod'])}` : one.method));
    expect(told.slice(0, 3)).toEqual(['update_instance_info', 'Service.create', 'ComputeNode.create']);
    expect(node.rpc.services).toMatchObject([{ host: 'fakea', binary: 'nova-compute', topic: 'compute', version: node.rpc.serviceVersion }]);
  });
});
