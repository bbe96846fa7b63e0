import fc from 'fast-check';
import { expect, test } from 'vitest';
import { whyUnsavable, type SavableDevice, type SaveFamily } from '../../../../src/virt/index.js';

const families: readonly (SaveFamily | null)[] = ['structs', 'upb-json', 'kern-structs', null];
const on = (...models: string[]): SavableDevice[] => models.map((model, index) => ({ model, slot: index + 2 }));

test('a guest with one device of each type, or with bridges beside them, can be saved everywhere', () => {
  for (const family of families) expect(whyUnsavable(family, on('hostbridge', 'virtio-blk', 'virtio-net', 'ahci', 'e1000', 'fbuf', 'xhci', 'virtio-rnd', 'lpc', 'hostbridge')), String(family)).toBeNull();
});

test('a second device of a type can be saved by later releases only', () => {
  const guest: SavableDevice[] = [{ model: 'virtio-net', slot: 7 }, { model: 'virtio-blk', slot: 3 }, { model: 'virtio-net', slot: 5 }];
  const sentence = 'virtio-net in slot 7 would be lost: bhyve saves only the first virtio-net, which is in slot 5';
  expect(families.map((family) => whyUnsavable(family, guest))).toEqual([
    sentence, sentence, null, 'virtio-net in slot 7 would be lost: this bhyve has not shown that it saves more than the first virtio-net, which is in slot 5',
  ]);
});

test('a device without save code is named, and what becomes of it', () => {
  const guest = on('virtio-blk', 'nvme');
  const silent = 'nvme in slot 3 would be lost: bhyve leaves it out of a save without a word';
  expect(families.map((family) => whyUnsavable(family, guest))).toEqual([silent, silent, 'nvme in slot 3 cannot be saved: bhyve has no code for that', silent]);
  for (const model of ['virtio-scsi', 'virtio-console', 'virtio-9p', 'virtio-input', 'hda', 'uart', 'passthru', '']) {
    for (const family of families) expect(whyUnsavable(family, on(model)), `${model} for ${family}`).toContain(`${model} in slot 2`);
  }
});

test('a device without save code in any release is no hindrance once it came back in a self-test, but only the first of its type where bhyve saves one', () => {
  expect(families.map((family) => whyUnsavable(family, on('virtio-blk', 'nvme'), ['nvme']))).toEqual([null, null, null, null]);
  expect(whyUnsavable('kern-structs', on('nvme', 'nvme'), ['nvme'])).toBeNull();
  expect(whyUnsavable('structs', on('nvme', 'nvme'), ['nvme'])).toBe('nvme in slot 3 would be lost: bhyve saves only the first nvme, which is in slot 2');
  expect(whyUnsavable('kern-structs', on('nvme', 'hda'), ['nvme'])).toContain('hda in slot 3');
});

test('what is not known is as strict as the strictest, whatever the order of the devices', () => {
  const devices = fc.uniqueArray(fc.record({ model: fc.constantFrom('hostbridge', 'virtio-blk', 'virtio-net', 'ahci', 'nvme', 'lpc', 'fbuf'), slot: fc.nat(31) }), { selector: ({ slot }) => slot });
  fc.assert(fc.property(devices, (guest) => {
    const isRefused = (family: SaveFamily | null): boolean => whyUnsavable(family, guest) !== null;
    expect(isRefused(null)).toBe(isRefused('structs') || isRefused('kern-structs') || isRefused('upb-json'));
    for (const family of families) expect(whyUnsavable(family, [...guest].reverse())).toBe(whyUnsavable(family, guest));
  }));
});
