import { describe, expect, test } from 'vitest';
import {
  createObject, flavorOf, guestNameOf, imageOf, isBootFromVolume, networkInfoOf, profileNamed, toNovaMicroTime, toNovaTime, type NovaObjectOf,
  type ObjectFields,
} from '../../../src/objects/index.js';

const zed = profileNamed('zed');
const instance = (fields: Partial<ObjectFields['Instance']>): NovaObjectOf<'Instance'> => createObject(zed, 'Instance', fields);
const mapping = (fields: Partial<ObjectFields['BlockDeviceMapping']>): NovaObjectOf<'BlockDeviceMapping'> => createObject(zed, 'BlockDeviceMapping', fields);

test('times are written as Nova writes them, in UTC', () => {
  const time = new Date('2026-11-23T05:32:37.987+01:00');
  expect(toNovaTime(time)).toBe('2026-11-23T04:32:37Z');
  expect(toNovaMicroTime(time)).toBe('2026-11-23T04:32:37.987000');
});

test('an instance without flavor says so', () => {
  expect(() => flavorOf(instance({}))).toThrowError(expect.objectContaining({ code: 'object-field-unset' }));
});

describe('network info', () => {
  const withCache = (json: string | null): NovaObjectOf<'Instance'> => instance({ info_cache: createObject(zed, 'InstanceInfoCache', { network_info: json }) });
  test.each([[null, 0], ['', 0], ['[]', 0], ['[{"id": "x"}]', 1]])('%j has %i vifs', (json, count) => {
    expect(networkInfoOf(withCache(json))).toHaveLength(count);
  });
  test('no cache at all is an empty one', () => expect(networkInfoOf(instance({}))).toEqual([]));
  test.each(['{', '{}', 'null'])('%s is refused', (json) => {
    expect(() => networkInfoOf(withCache(json))).toThrowError(expect.objectContaining({ code: 'object-malformed' }));
  });
});

test('the image of an existing instance comes from system_metadata', () => {
  const image = imageOf(instance({ system_metadata: {
    image_min_disk: '1', image_min_ram: '32', image_disk_format: 'raw', image_container_format: 'bare', image_base_image_ref: 'i', image_hw_disk_bus: 'virtio',
    owner_user_name: 'x',
  } }));
  expect(image).toEqual({ baseImageRef: 'i', minDiskGiB: 1, minRamMiB: 32, diskFormat: 'raw', containerFormat: 'bare', properties: { hw_disk_bus: 'virtio' } });
  expect(imageOf(instance({}))).toMatchObject({ baseImageRef: null, minDiskGiB: 0 });
});

test.each([
  ['a volume at boot index 0', [mapping({ boot_index: 0, destination_type: 'volume' })], 'image', true],
  ['a local root beside a data volume', [mapping({ boot_index: 1, destination_type: 'volume' }), mapping({ boot_index: 0, destination_type: 'local' })], '', false],
  ['no mappings and an image', [], 'image', false],
  ['no mappings and no image', [], '', true],
])('%s: boot from volume is told right', (_what, mappings, imageRef, expected) => {
  expect(isBootFromVolume(instance({ image_ref: imageRef }), mappings)).toBe(expected);
});

test('guests are named by the row id in hex, as in Nova', () => expect(guestNameOf(instance({ id: 0x2a }))).toBe('instance-0000002a'));
