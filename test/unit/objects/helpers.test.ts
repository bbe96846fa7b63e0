import { describe, expect, test } from 'vitest';
import {
  createObject, flavorOf, isBootFromVolume, networkInfoOf, profileNamed, toNovaMicroTime, toNovaTime, type NovaObjectOf,
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
  const withCache = (json: string | null): NovaObjectOf<'InstanceInfoCache'> => createObject(zed, 'InstanceInfoCache', { network_info: json });
  test.each([[null, 0], ['', 0], ['[]', 0], ['[{"id": "x"}]', 1]])('%j has %i vifs', (json, count) => {
    expect(networkInfoOf(withCache(json))).toHaveLength(count);
  });
  test('no cache at all is an empty one', () => expect([undefined, null, createObject(zed, 'InstanceInfoCache', {})].map(networkInfoOf)).toEqual([[], [], []]));
  test.each(['{', '{}', 'null'])('%s is refused', (json) => {
    expect(() => networkInfoOf(withCache(json))).toThrowError(expect.objectContaining({ code: 'object-malformed' }));
  });
});

test.each([
  ['a volume at boot index 0', [mapping({ boot_index: 0, destination_type: 'volume' })], 'image', true],
  ['a local root beside a data volume', [mapping({ boot_index: 1, destination_type: 'volume' }), mapping({ boot_index: 0, destination_type: 'local' })], '', false],
  ['no mappings and an image', [], 'image', false],
  ['no mappings and no image', [], '', true],
])('%s: boot from volume is told right', (_what, mappings, imageRef, expected) => {
  expect(isBootFromVolume(instance({ image_ref: imageRef }), mappings)).toBe(expected);
});
