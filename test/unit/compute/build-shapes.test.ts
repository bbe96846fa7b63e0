import { beforeEach, expect, test } from 'vitest';
import type { InstanceUuid } from '../../../src/lib/ids.js';
import type { WireMessage } from '../../../src/rpc/index.js';
import type { DiskInfo } from '../../../src/storage/index.js';
import { wireObject, type TestNode } from '../../contract/support/compute-node.js';
import { scene, type Scene } from '../../contract/support/scene.js';

type Data = Record<string, unknown>;
let play: Scene;
let node: TestNode;
let uuid: string;

beforeEach(async () => {
  play = await scene('create', { guest: 'none' });
  node = play.node;
  uuid = String(play.row['uuid']);
});

const row = (): Data => node.rpc.instances[0] ?? {};
const args = (): Data => play.message['args'] as Data;
const dataOf = (object: unknown): Data => (object as Data)['nova_object.data'] as Data;

/** The recorded build of a server with other system_metadata and mappings. */
function build(systemMetadata: Data, mappings: readonly Data[] = []): WireMessage {
  const instance = structuredClone(args()['instance']) as Data;
  dataOf(instance)['system_metadata'] = { ...(dataOf(instance)['system_metadata'] as Data), ...systemMetadata };
  Object.assign(row(), { system_metadata: dataOf(instance)['system_metadata'] });
  const blank = { instance_uuid: uuid, source_type: 'blank', destination_type: 'local', boot_index: -1, guest_format: null, disk_bus: null, device_type: null, device_name: null, volume_size: 1, tag: null };
  const rows = mappings.map((mapping, at) => ({ ...blank, id: 900 + at, ...mapping }));
  node.rpc.blockDevices.push(...rows);
  const list = wireObject('BlockDeviceMappingList', '1.18', { objects: rows.map((mapping) => wireObject('BlockDeviceMapping', '1.21', mapping)) });
  return { ...play.message, args: { ...args(), instance, block_device_mapping: mappings.length === 0 ? args()['block_device_mapping'] : list } };
}

test('the machine, its names for disks and its tags follow the request, and the tags are in the row', async () => {
  await node.receive(build({ image_hw_disk_bus: 'sata', image_hw_vif_model: 'e1000', image_hw_video_model: 'none' }, [
    { source_type: 'image', boot_index: 0, volume_size: null, tag: 'system' }, { disk_bus: 'nvme', guest_format: 'ext4' }, { guest_format: 'swap', volume_size: 64 },
  ]));
  await node.settled();
  expect(row()).toMatchObject({ vm_state: 'active', task_state: null, root_device_name: '/dev/sda' });
  const { definition } = node.guest(uuid)!;
  expect(definition.disks.map(({ role, bus, kind }) => [role, bus, kind])).toEqual([['root', 'sata', 'disk'], ['eph0', 'nvme', 'disk'], ['swap', 'sata', 'disk']]);
  expect(definition).toMatchObject({ hasVnc: false, nics: definition.nics.map(() => expect.objectContaining({ model: 'e1000' }) as unknown) });
  expect([...node.world.disks.get(definition.instance)!].map(([role, { format }]) => [role, format])).toEqual([['root', undefined], ['eph0', 'ext4'], ['swap', 'swap']]);
  expect(node.rpc.blockDevices.filter(({ id }) => Number(id) >= 900).map((mapping) => mapping['device_name'])).toEqual(['/dev/sda', '/dev/nvme0n1', '/dev/sdb']);
  const devices = dataOf(row()['device_metadata'])['devices'] as Data[];
  expect(devices.map((device) => [device['nova_object.name'], dataOf(device)['tags']])).toEqual([['DiskMetadata', ['system']]]);
});

/** A build on a host that makes qcow2 disks, with or without a bhyve that opens them. */
async function buildOnQcow2(systemMetadata: Data, hasLibvdsk: boolean): Promise<void> {
  play = await scene('create', { guest: 'none' });
  node = play.node;
  const before = { ...node.deps.storage };
  const asFile = (disk: DiskInfo): DiskInfo => ({ ...disk, form: 'qcow2', bus: 'sata' });
  Object.assign(node.deps.storage, {
    formOf: async () => 'qcow2', disks: async (instance: InstanceUuid) => (await before.disks(instance)).map(asFile),
    createDiskFromImage: async (...args: Parameters<typeof before.createDiskFromImage>) => asFile(await before.createDiskFromImage(...args)),
  });
  Object.assign(node.deps.driver, { capabilities: { ...node.deps.driver.capabilities, hasLibvdsk } });
  await node.receive(build(systemMetadata));
  await node.settled();
}

test('a server on qcow2 disks is on SATA, and is not made on a host whose bhyve would not open them', async () => {
  await buildOnQcow2({}, true);
  expect(row()).toMatchObject({ vm_state: 'active', root_device_name: '/dev/sda' });
  expect(node.guest(uuid)!.definition.disks.map(({ bus }) => bus)).toEqual(['sata']);
  await buildOnQcow2({}, false);
  expect([node.guest(uuid), node.world.disks.size]).toEqual([undefined, 0]); // and is tried on another host
  await buildOnQcow2({ image_hw_disk_bus: 'virtio' }, true);
  expect(String(node.rpc.faults[0]?.['message'])).toMatch(/hw_disk_bus=virtio is not supported by this host \(it has: sata\)/);
  expect([node.world.disks.size, node.world.folders.size]).toEqual([0, 0]);
});

test('a flavor that wants servers which can be suspended is refused a single NVMe disk too, before anything is made', async () => {
  const message = build({}, [{ source_type: 'image', boot_index: 0, volume_size: null }, { disk_bus: 'nvme' }]);
  const flavor = (dataOf((message.args as Data)['instance'])['flavor'] as Data);
  dataOf(flavor)['extra_specs'] = { 'trait:CUSTOM_BHYVE_SAVE_RESTORE': 'required' };
  await node.receive(message);
  await node.settled();
  expect(row()).toMatchObject({ vm_state: 'error', task_state: null, host: null });
  expect(String(node.rpc.faults[0]?.['message'])).toMatch(/does not save NVMe disks/);
  expect([node.world.disks.size, node.world.folders.size]).toEqual([0, 0]);
});

test.each([
  [{ image_hw_disk_bus: 'ide' }, [], /image property hw_disk_bus=ide is not supported by this host \(it has: virtio, sata, nvme\)/],
  [{ image_hw_of_tomorrow: 'x' }, [], /hw_of_tomorrow=x/],
  [{}, [{ guest_format: 'ntfs' }], /a disk of format ntfs is not supported/],
] as const)('%j with %j is refused before anything is made, with a sentence as its fault', async (metadata, mappings, sentence) => {
  await node.receive(build(metadata, mappings));
  await node.settled();
  expect(row()).toMatchObject({ vm_state: 'error', task_state: null, host: null });
  expect(String(node.rpc.faults[0]?.['message'])).toMatch(sentence);
  expect([node.world.disks.size, node.world.folders.size, node.taps.size, node.neutron.ports.size]).toEqual([0, 0, 0, 0]);
});

test('a server that is made of a checkpoint\'s image is none itself: its next snapshot is a snapshot', async () => {
  await node.receive(build({ image_bhyve_checkpoint: 'disk', image_bhyve_checkpoint_store: 'glance', image_bhyve_checkpoint_id: uuid, image_hw_disk_bus: 'sata' }));
  await node.settled();
  expect(row()).toMatchObject({ vm_state: 'active', system_metadata: { image_hw_disk_bus: 'sata' } });
  expect(Object.keys(row()['system_metadata'] as Data).filter((key) => key.includes('checkpoint'))).toEqual([]);
});
