import { expect, test } from 'vitest';
import { localDisks, localDiskSteps, nameDisks, rootDeviceName, unsupportedDisks } from '../../../src/compute/local-disks.js';
import type { InstanceUuid } from '../../../src/lib/ids.js';
import { createObject, profileNamed, type NovaObjectOf } from '../../../src/objects/index.js';
import type { DiskBus, DiskFormat } from '../../../src/storage/index.js';
import { createCrash } from '../../sim/crash.js';
import { fakeStorage } from '../../sim/fake-node.js';
import { createWorld, remains } from '../../sim/world.js';

const zed = profileNamed('zed');
const GiB = 1024n ** 3n;
const flavor = (ephemeralGb: number, swap: number): NovaObjectOf<'Flavor'> => createObject(zed, 'Flavor', { vcpus: 1, memory_mb: 64, root_gb: 1, ephemeral_gb: ephemeralGb, swap });
const mapping = (fields: Record<string, unknown>): NovaObjectOf<'BlockDeviceMapping'> => createObject(zed, 'BlockDeviceMapping', {
  source_type: 'blank', destination_type: 'local', boot_index: -1, device_name: null, device_type: null, disk_bus: null, guest_format: null, volume_size: null, tag: null, ...fields,
});
const root = (): NovaObjectOf<'BlockDeviceMapping'> => mapping({ source_type: 'image', boot_index: 0 });
const summary = (disks: ReturnType<typeof localDisks>): unknown[] => disks.map(({ role, bytes, format, bus }) => [role, bytes, format, bus]);
const all = { formats: new Set<DiskFormat>(['swap', 'vfat', 'ext4']), buses: new Set<DiskBus>(['virtio', 'sata']) };

test('ephemeral disks come in the order of their mappings, sizes in GiB; swap comes last, in MiB', () => {
  const mappings = [root(), mapping({ guest_format: 'swap', volume_size: 64 }), mapping({ volume_size: 2, guest_format: 'ext4' }), mapping({ volume_size: 1, disk_bus: 'sata' })];
  expect(summary(localDisks(mappings, flavor(3, 64), null))).toEqual([['eph0', 2n * GiB, 'ext4', null], ['eph1', GiB, null, 'sata'], ['swap', 64n * 1024n ** 2n, 'swap', null]]);
});

test('a flavor without mappings, and a mapping without a size, take the flavor’s; without either there is no disk', () => {
  expect(summary(localDisks([root()], flavor(3, 64), 'vfat'))).toEqual([['eph0', 3n * GiB, 'vfat', null], ['swap', 64n * 1024n ** 2n, 'swap', null]]);
  expect(summary(localDisks([mapping({})], flavor(3, 0), null))).toEqual([['eph0', 3n * GiB, null, null]]);
  expect(localDisks([root()], flavor(0, 0), 'ext4')).toEqual([]);
});

test.each([
  ['a volume', [mapping({ destination_type: 'volume', source_type: 'volume' })], /volumes are not supported/],
  ['a bus that the host lacks', [mapping({ disk_bus: 'nvme' })], /bus nvme .*it has: virtio, sata/],
  ['a floppy', [mapping({ device_type: 'floppy' })], /type floppy/],
  ['a second image', [root(), mapping({ source_type: 'image', boot_index: 1 })], /second image/],
  ['a format without a tool', [mapping({ guest_format: 'ext3', volume_size: 1 })], /format ext3 .*it has: vfat, ext4/],
  ['a format that nobody makes', [mapping({ guest_format: 'ntfs', volume_size: 1 })], /format ntfs/],
])('%s is refused with a sentence', (_what, mappings, sentence) => {
  expect(unsupportedDisks(mappings, localDisks(mappings, flavor(0, 0), null), all.formats, all.buses)).toMatch(sentence);
});

test('what the host has is not refused', () => {
  const mappings = [root(), mapping({ disk_bus: 'sata', volume_size: 1, guest_format: 'ext4' }), mapping({ guest_format: 'swap', volume_size: 1 })];
  expect(unsupportedDisks(mappings, localDisks(mappings, flavor(0, 0), null), all.formats, all.buses)).toBeNull();
});

test('disks without a name get the next free one of their bus, and only those are saved', () => {
  const mappings = [root(), mapping({ volume_size: 1 }), mapping({ volume_size: 1, disk_bus: 'sata' }), mapping({ volume_size: 1, device_name: '/dev/vdb' }), mapping({ guest_format: 'swap', volume_size: 1 })];
  const disks = localDisks(mappings, flavor(0, 0), null);
  expect(nameDisks('/dev/vda', mappings[0], disks, 'virtio')).toEqual([mappings[0], mappings[1], mappings[2], mappings[4]]);
  expect(mappings.map((one) => one.get('device_name'))).toEqual(['/dev/vda', '/dev/vdc', '/dev/sda', '/dev/vdb', '/dev/vdd']);
  expect(nameDisks('/dev/vda', mappings[0], disks, 'virtio')).toEqual([]);
  expect([rootDeviceName('virtio', 'disk'), rootDeviceName('sata', 'disk'), rootDeviceName('nvme', 'disk'), rootDeviceName('virtio', 'cdrom')]).toEqual(['/dev/vda', '/dev/sda', '/dev/nvme0n1', '/dev/sda']);
});

test('the steps make and fill each disk, and take it away again', async () => {
  const world = createWorld();
  const storage = fakeStorage(world, createCrash(null));
  const uuid = '11111111-1111-4111-8111-111111111111' as InstanceUuid;
  const steps = localDiskSteps({ storage }, uuid, localDisks([mapping({ volume_size: 1, guest_format: 'ext4' }), mapping({ guest_format: 'swap', volume_size: 1 })], flavor(0, 0), null));
  expect(steps.map(({ name }) => name)).toEqual(['disk-eph0', 'disk-swap']);
  for (const step of steps) await step.act(new AbortController().signal);
  expect([...world.disks.get(uuid)!].map(([role, { format }]) => [role, format])).toEqual([['eph0', 'ext4'], ['swap', 'swap']]);
  for (const step of steps) await step.undo!();
  expect(remains(world, uuid)).toEqual([]);
});
