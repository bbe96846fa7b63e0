import { pino } from 'pino';
import { beforeEach, describe, expect, test } from 'vitest';
import { createResourceTracker, type ResourceOptions, type ResourceTracker } from '../../../../src/compute/resources/index.js';
import { createConductor, type Conductor } from '../../../../src/conductor/index.js';
import { AgentError } from '../../../../src/lib/errors.js';
import { parseInstanceUuid } from '../../../../src/lib/ids.js';
import type { NovaObjectOf } from '../../../../src/objects/index.js';
import { adminContext } from '../../../../src/rpc/context.js';
import type { HostCapabilities, HostInventory } from '../../../../src/virt/index.js';
import { FakeConductorRpc } from '../../../fakes/conductor-rpc.js';
import { FakePlacement } from '../../../fakes/placement.js';
import { createVirtualClock } from '../../../fakes/virtual-clock.js';

const UUID = '39d89b30-c0da-4c84-af73-c87eff3724c3';
const context = adminContext({ requestId: 'req-1' });
const flavorWire = (fields: Record<string, unknown> = {}): unknown => ({
  'nova_object.name': 'Flavor', 'nova_object.namespace': 'nova', 'nova_object.version': '1.2',
  'nova_object.data': { vcpus: 1, memory_mb: 64, root_gb: 1, ephemeral_gb: 0, swap: 0, ...fields },
});
const requestsWire = (requests: unknown[]): unknown => ({
  'nova_object.name': 'InstancePCIRequests', 'nova_object.namespace': 'nova', 'nova_object.version': '1.1', 'nova_object.data': { requests },
});
const options: ResourceOptions = {
  host: 'h1', node: 'n1', hostIp: '10.0.0.1', reserved: { vcpus: 0, memoryMiB: 512, diskMiB: 0 }, ratios: { cpu: null, ram: null, disk: null },
  initialRatios: { cpu: null, ram: null, disk: null }, associationRefreshMs: 300_000, excludedImageTypes: [],
};

let rpc: FakeConductorRpc;
let placement: FakePlacement;
let conductor: Conductor;
let inventory: HostInventory;
let tracker: ResourceTracker;

async function make(release = 'zed', changed: Partial<ResourceOptions> = {}): Promise<void> {
  rpc.useRelease(release);
  const clock = createVirtualClock();
  const log = pino({ level: 'silent' });
  conductor = createConductor({ rpc, clock, log, retryForMs: 0 });
  await conductor.negotiate();
  rpc.sent.length = 0;
  const capabilities = { maxVcpusPerGuest: 16 } as HostCapabilities;
  tracker = createResourceTracker({
    conductor, placement, clock, log, uuid: UUID, options: { ...options, ...changed },
    driver: { capabilities, inventory: async () => inventory }, storage: { usage: async () => ({ totalBytes: 100n << 30n, availableBytes: 60n << 30n, usedBytes: 40n << 30n }) },
  });
}

const row = () => rpc.computeNodes.find((node) => node['uuid'] === UUID)!;
const startup = (): Promise<void> => tracker.audit(context, { startup: true });
const later = (): Promise<void> => tracker.audit(context, { startup: false });
const here = (fields: Record<string, unknown> = {}): Record<string, unknown> => rpc.addInstance({
  host: 'h1', node: 'n1', vm_state: 'active', flavor: flavorWire(), numa_topology: null, pci_requests: requestsWire([]), image_ref: 'i', ...fields,
});
/** An instance as a build brings it: no host yet. */
async function fresh(fields: Record<string, unknown> = {}): Promise<{ row: Record<string, unknown>; instance: NovaObjectOf<'Instance'> }> {
  const added = here({ host: null, node: null, vm_state: 'building', ...fields });
  return { row: added, instance: await conductor.instances.byUuid(context, parseInstanceUuid(added['uuid'])) };
}

beforeEach(async () => {
  rpc = new FakeConductorRpc();
  placement = new FakePlacement();
  for (const trait of ['COMPUTE_NODE', 'COMPUTE_STATUS_DISABLED', 'HW_ARCH_X86_64', 'OWNER_NOVA']) placement.knownTraitNames.add(trait);
  inventory = {
    vcpus: 8, memoryMiB: 16384, memoryUsedMiB: 3000, hypervisorVersion: 13002000, hypervisorHostname: 'n1', cpuInfo: '{"arch":"x86_64"}', supportedArchitectures: ['x86_64', 'i686'],
    traits: ['HW_ARCH_X86_64'],
  };
  rpc.services.push({ id: 3, host: 'h1', binary: 'nova-compute', topic: 'compute', disabled: false, version: 64, report_count: 0 });
  await make();
});

describe('the first audit', () => {
  test('creates the node record with our uuid, and the provider', async () => {
    await startup();
    expect(row()).toMatchObject({
      uuid: UUID, host: 'h1', hypervisor_hostname: 'n1', hypervisor_type: 'bhyve', hypervisor_version: 13002000, vcpus: 8, vcpus_used: 0, memory_mb: 16384, memory_mb_used: 512,
      local_gb: 100, local_gb_used: 0, free_ram_mb: 15872, free_disk_gb: 100, disk_available_least: 60, running_vms: 0, current_workload: 0, metrics: '[]', numa_topology: null,
      host_ip: '10.0.0.1', stats: { failed_builds: '0' }, cpu_allocation_ratio: 16, ram_allocation_ratio: 1.5, disk_allocation_ratio: 1, service_id: null,
    });
    const specs = (row()['supported_hv_specs'] as { 'nova_object.data': unknown }[]).map((spec) => spec['nova_object.data']);
    expect(specs).toEqual([{ arch: 'x86_64', hv_type: 'bhyve', vm_mode: 'hvm' }, { arch: 'i686', hv_type: 'bhyve', vm_mode: 'hvm' }]);
    expect(placement.providers.get(UUID)).toMatchObject({ name: 'n1', inventories: { MEMORY_MB: { reserved: 512, allocation_ratio: 1.5 } } });
    expect(tracker.providerUuid).toBe(UUID);
  });

  test('on a later release ties the record to the service and marks the owner', async () => {
    await make('2026.2');
    await startup();
    expect(row()).toMatchObject({ service_id: 3, cpu_allocation_ratio: 4, ram_allocation_ratio: 1 });
    expect(placement.providers.get(UUID)!.traits).toContain('OWNER_NOVA');
  });

  test.each([
    ['Placement is away', () => { placement.before = () => { throw new AgentError('http-unreachable', 'x', { retry: 'later' }); }; }, 'http-unreachable'],
    ['the conductor is away', () => rpc.beSilent('InstanceList.get_by_host_and_node', 'before', 99), 'rpc-timeout'],
    ['the host has another name', () => { inventory = { ...inventory, hypervisorHostname: 'n2' }; }, 'node-renamed'],
  ])('fails the start when %s; a later one is logged and repeated', async (_what, breakIt, code) => {
    breakIt();
    await expect(startup()).rejects.toMatchObject({ code });
    await later();
  });

  test('restores a deleted record and takes over one of another host', async () => {
    await make('2025.1');
    rpc.computeNodes.push({ id: 9, uuid: UUID, host: 'h0', hypervisor_hostname: 'n1', deleted: true, deleted_at: 'x', supported_hv_specs: [], stats: {} });
    await startup();
    expect(rpc.computeNodes).toHaveLength(1);
    expect(row()).toMatchObject({ id: 9, host: 'h1', deleted: false, deleted_at: null, vcpus: 8 });
  });

  test('refuses a record of our name with another uuid', async () => {
    rpc.computeNodes.push({ id: 9, uuid: 'bbbbbbbb-0000-4000-8000-000000000002', host: 'h1', hypervisor_hostname: 'n1', deleted: false });
    await expect(startup()).rejects.toMatchObject({ code: 'node-identity-conflict' });
  });
});

describe('an audit', () => {
  test('counts the instances of this host and node that hold resources', async () => {
    here();
    here({ vm_state: 'error', flavor: flavorWire({ vcpus: 3, memory_mb: 1000, root_gb: 20, swap: 1024 }) });
    here({ vm_state: 'deleted' });
    here({ host: 'h2', node: 'n2' });
    await startup();
    expect(row()).toMatchObject({ vcpus_used: 4, memory_mb_used: 1576, local_gb_used: 22, running_vms: 2, stats: { num_instances: '2', num_vm_active: '1', num_vm_error: '1' } });
  });

  test('saves nothing when nothing changed', async () => {
    here();
    await startup();
    rpc.sent.length = 0;
    placement.requests.length = 0;
    await later();
    expect(rpc.sentAs('ComputeNode.save')).toEqual([]);
    expect(placement.writes()).toEqual([]);
  });

  test('saves only what changed', async () => {
    await startup();
    rpc.sent.length = 0;
    inventory = { ...inventory, cpuInfo: '{}' };
    await later();
    expect((rpc.sentAs('ComputeNode.save')[0]!.args['objinst'] as Record<string, unknown>)['nova_object.changes']).toEqual(['cpu_info']);
  });

  test('is not stopped by an instance whose record is incomplete', async () => {
    here({ flavor: null });
    here();
    await startup();
    expect(row()).toMatchObject({ running_vms: 1 });
  });

  test('corrects numbers that a lost save left behind', async () => {
    await startup();
    Object.assign(row(), { vcpus_used: 77, stats: { failed_builds: '5' } });
    await later();
    expect(row()).toMatchObject({ vcpus_used: 0, stats: { failed_builds: '0' } });
  });

  test('sets the operator\'s ratios in the record and in Placement, and 0 means not set', async () => {
    await make('zed', { ratios: { cpu: 2, ram: 0, disk: null } });
    await startup();
    await later();
    expect(row()).toMatchObject({ cpu_allocation_ratio: 2, ram_allocation_ratio: 1.5 });
    expect(placement.providers.get(UUID)!.inventories).toMatchObject({ VCPU: { allocation_ratio: 2 }, MEMORY_MB: { allocation_ratio: 1.5 } });
  });

  test('mirrors the service\'s disabled flag', async () => {
    await startup();
    rpc.services[0]!['disabled'] = true;
    await later();
    expect(placement.providers.get(UUID)!.traits).toContain('COMPUTE_STATUS_DISABLED');
    rpc.services[0]!['disabled'] = false;
    await later();
    expect(placement.providers.get(UUID)!.traits).not.toContain('COMPUTE_STATUS_DISABLED');
  });

  test('goes on without the service record', async () => {
    rpc.services.length = 0;
    await startup();
    expect(row()).toBeDefined();
  });

  test('gives instances from before 2023.2 their compute_id; older releases know none', async () => {
    const one = here({ compute_id: null });
    await make('2025.1');
    await startup();
    expect(one['compute_id']).toBe(row()['id']);
    delete one['compute_id'];
    await make('zed');
    await later();
    expect(one).not.toHaveProperty('compute_id');
  });

  test('marks a migration that its instance has forgotten, and no other', async () => {
    const migrationContext = { 'nova_object.name': 'MigrationContext', 'nova_object.namespace': 'nova', 'nova_object.version': '1.2', 'nova_object.data': { migration_id: 8 } };
    const one = here({ vm_state: 'resized', host: 'h2', node: 'n2', migration_context: migrationContext, old_flavor: flavorWire({ vcpus: 2 }), new_flavor: flavorWire() });
    const base = { source_compute: 'h1', source_node: 'n1', dest_compute: 'h2', dest_node: 'n2', instance_uuid: one['uuid'], status: 'finished', migration_type: 'resize', updated_at: null };
    rpc.migrations.push({ ...base, id: 7, uuid: 'aaaaaaaa-0000-4000-8000-000000000007', created_at: '2026-11-23T04:00:00Z' });
    await startup();
    expect(rpc.migrations[0]!['status']).toBe('error');
    rpc.migrations.push({ ...base, id: 8, uuid: 'aaaaaaaa-0000-4000-8000-000000000008', created_at: '2026-11-23T04:01:00Z' });
    await later();
    expect(rpc.migrations[1]!['status']).toBe('finished');
    expect(row()['vcpus_used']).toBe(2);
  });
});

describe('orphans', () => {
  const orphan = { id: 50, uuid: 'cccccccc-0000-4000-8000-000000000003', host: 'h1', hypervisor_hostname: 'old', deleted: false };
  beforeEach(async () => {
    rpc.computeNodes.push({ ...orphan });
    await placement.createProvider(orphan.uuid, 'old');
    placement.allocate('gone', { [orphan.uuid]: { resources: { VCPU: 1 } } });
  });

  test('go, with their provider', async () => {
    await startup();
    expect(rpc.computeNodes[0]!['deleted']).toBe(true);
    expect(placement.providers.has(orphan.uuid)).toBe(false);
  });

  test('stay when they have instances: that is an accident, not a left-over', async () => {
    here({ node: 'old' });
    await startup();
    expect(rpc.computeNodes[0]!['deleted']).toBe(false);
    expect(placement.providers.has(orphan.uuid)).toBe(true);
  });
});

describe('allocations on our provider', () => {
  test('of deleted instances go, all others stay', async () => {
    await startup();
    const deleted = here({ host: 'h1', deleted: true });
    const hidden = here({ deleted: true, hidden: true });
    const scheduled = here({ host: null, node: null });
    const elsewhere = here({ host: 'h2', node: 'n2' });
    const running = here();
    rpc.migrations.push({ id: 1, uuid: 'dddddddd-0000-4000-8000-000000000004', source_compute: 'h1', dest_compute: 'h2', status: 'migrating', instance_uuid: elsewhere['uuid'] });
    const unknown = 'eeeeeeee-0000-4000-8000-000000000005';
    const consumers = [deleted, hidden, scheduled, elsewhere, running].map((one) => String(one['uuid']));
    for (const consumer of [...consumers, unknown, 'dddddddd-0000-4000-8000-000000000004']) placement.allocate(consumer, { [UUID]: { resources: { VCPU: 1 } } });
    await later();
    expect([...placement.consumers.keys()].sort()).toEqual([...consumers.slice(1), unknown, 'dddddddd-0000-4000-8000-000000000004'].sort());
  });

  test('of a confirmed move from here go; those of other moves are given back or kept by somebody', async () => {
    await startup();
    const gone = here({ host: 'h2', node: 'n2' });
    const move = (uuid: string, fields: Record<string, unknown>): string => {
      rpc.migrations.push({ id: rpc.migrations.length + 1, uuid, instance_uuid: gone['uuid'], source_compute: 'h1', source_node: 'n1', dest_compute: 'h2', dest_node: 'n2', ...fields });
      placement.allocate(uuid, { [UUID]: { resources: { VCPU: 1 } } });
      return uuid;
    };
    move('dddddddd-0000-4000-8000-000000000001', { status: 'confirmed' });
    const kept = [
      move('dddddddd-0000-4000-8000-000000000002', { status: 'reverted' }), move('dddddddd-0000-4000-8000-000000000003', { status: 'confirmed', source_compute: 'h2', dest_compute: 'h1' }),
      move('dddddddd-0000-4000-8000-000000000004', { status: 'finished' }), move('dddddddd-0000-4000-8000-000000000005', { status: 'error' }),
    ];
    await later();
    expect([...placement.consumers.keys()].sort()).toEqual(kept);
  });

  test('of one bad consumer do not keep the others from being checked', async () => {
    await startup();
    const [first, second] = [here({ deleted: true }), here({ deleted: true })];
    for (const one of [first, second]) placement.allocate(String(one['uuid']), { [UUID]: { resources: { VCPU: 1 } } });
    placement.before = (request) => {
      if (request === `removeAllocations ${String(first['uuid'])}`) throw new AgentError('http-server-error', 'x');
    };
    await later();
    expect([...placement.consumers.keys()]).toEqual([first['uuid']]);
  });
});

describe('a claim', () => {
  test('gives the instance its place and counts it', async () => {
    await startup();
    const { row: taken, instance } = await fresh();
    await tracker.claim(context, instance, { node: 'n1' });
    expect(taken).toMatchObject({ host: 'h1', node: 'n1', launched_on: 'h1' });
    expect(taken).not.toHaveProperty('compute_id');
    expect(row()).toMatchObject({ vcpus_used: 1, memory_mb_used: 576, running_vms: 1, stats: { num_instances: '1', num_vm_building: '1' } });
    rpc.sent.length = 0;
    await later();
    expect(rpc.sentAs('ComputeNode.save')).toEqual([]);
  });

  test('names the compute_id together with the node where the release has it', async () => {
    await make('2025.1');
    await startup();
    const { row: taken, instance } = await fresh();
    await tracker.claim(context, instance, { node: null });
    expect(taken).toMatchObject({ node: 'n1', compute_id: row()['id'] });
    await tracker.abortClaim(context, instance);
    expect(taken).toMatchObject({ node: null, compute_id: null });
  });

  test.each([
    ['another node', {}, 'n2'],
    ['NUMA wishes', { numa_topology: { 'nova_object.name': 'InstanceNUMATopology', 'nova_object.namespace': 'nova', 'nova_object.version': '1.3', 'nova_object.data': { cells: [] } } }, 'n1'],
    ['PCI wishes', { pci_requests: requestsWire([{}]) }, 'n1'],
  ])('with %s is refused, and nothing is taken', async (_what, fields, node) => {
    await startup();
    const { row: refused, instance } = await fresh(fields);
    await expect(tracker.claim(context, instance, { node })).rejects.toMatchObject({ wire: { className: 'ComputeResourcesUnavailable' } });
    expect(refused['host']).toBeNull();
    expect(row()['running_vms']).toBe(0);
  });

  test('before the first audit is refused', async () => {
    const { instance } = await fresh();
    await expect(tracker.claim(context, instance, { node: 'n1' })).rejects.toMatchObject({ wire: { className: 'ComputeResourcesUnavailable' } });
  });

  test('whose instance is gone takes nothing', async () => {
    await startup();
    const { instance } = await fresh();
    rpc.instances.length = 0;
    await expect(tracker.claim(context, instance, { node: 'n1' })).rejects.toMatchObject({ className: 'InstanceNotFound' });
    expect(row()['running_vms']).toBe(0);
  });

  test('stands although the node record could not be saved, and the next audit saves it', async () => {
    await startup();
    const { row: taken, instance } = await fresh();
    rpc.beSilent('ComputeNode.save', 'before');
    await tracker.claim(context, instance, { node: 'n1' });
    expect(taken['host']).toBe('h1');
    expect(row()['running_vms']).toBe(0);
    await later();
    expect(row()['running_vms']).toBe(1);
  });

  test('waits for the audit that is under way, so that the audit cannot forget it', async () => {
    await startup();
    const { instance } = await fresh();
    let goOn = (): void => undefined;
    const held = new Promise<void>((resolve) => { goOn = resolve; });
    const { migrations } = conductor;
    const inProgressAndError = migrations.inProgressAndError.bind(migrations);
    // Here the audit has listed the instances already.
    Object.assign(migrations, {
      inProgressAndError: async (...args: Parameters<typeof inProgressAndError>) => {
        await held;
        return inProgressAndError(...args);
      },
    });
    const auditing = later();
    await new Promise((resolve) => setImmediate(resolve));
    const claiming = tracker.claim(context, instance, { node: 'n1' });
    await new Promise((resolve) => setImmediate(resolve));
    goOn();
    await Promise.all([auditing, claiming]);
    expect(row()['running_vms']).toBe(1);
  });

  test('that is aborted gives all back, and so does one that was never made', async () => {
    await startup();
    const { row: taken, instance } = await fresh();
    await tracker.claim(context, instance, { node: 'n1' });
    await tracker.abortClaim(context, instance);
    expect(taken).toMatchObject({ host: null, node: null, launched_on: null });
    expect(row()).toMatchObject({ vcpus_used: 0, running_vms: 0 });
    await tracker.abortClaim(context, instance);
    expect(row()['running_vms']).toBe(0);
  });
});

describe('afterwards', () => {
  test('a released instance is not counted, and its row is left to the caller', async () => {
    const one = here();
    await startup();
    const instance = await conductor.instances.byUuid(context, parseInstanceUuid(one['uuid']));
    await tracker.release(context, instance);
    expect(row()['running_vms']).toBe(0);
    expect(one['host']).toBe('h1');
    await tracker.release(context, instance);
  });

  test('an instance in a new state is counted under it, an unknown one not at all', async () => {
    const one = here();
    await startup();
    const instance = await conductor.instances.byUuid(context, parseInstanceUuid(one['uuid']));
    instance.set('vm_state', 'stopped');
    await tracker.update(context, instance);
    expect(row()['stats']).toMatchObject({ num_vm_stopped: '1' });
    expect(row()['stats']).not.toHaveProperty('num_vm_active');
    await tracker.update(context, (await fresh()).instance);
    expect(row()['running_vms']).toBe(1);
  });

  test('failed builds are counted until one succeeds', async () => {
    await startup();
    await tracker.recordBuildFailure();
    await tracker.recordBuildFailure();
    await later();
    expect(row()['stats']).toEqual({ failed_builds: '2' });
    await tracker.recordBuildSuccess();
    await later();
    expect(row()['stats']).toEqual({ failed_builds: '0' });
  });

  test('the host can be disabled at once', async () => {
    await startup();
    await tracker.setHostEnabled(false);
    expect(placement.providers.get(UUID)!.traits).toContain('COMPUTE_STATUS_DISABLED');
  });
});
