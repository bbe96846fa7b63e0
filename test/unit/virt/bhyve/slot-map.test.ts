import fc from 'fast-check';
import { expect, test } from 'vitest';
import { assignSlots, emptySlotMap, type DeviceKey, type SlotMap } from '../../../../src/virt/bhyve/slot-map.js';

const key = fc.integer({ min: 0, max: 40 }).map((n): DeviceKey => `nic:${n}`);
const devices = fc.uniqueArray(key, { maxLength: 27 });
const history = fc.array(devices, { minLength: 1, maxLength: 12 });

test('a new guest gets its disk first, then the config drive, then its interfaces', () => {
  expect(assignSlots(emptySlotMap, ['disk:root', 'cdrom:config', 'nic:a']).used).toEqual({ 'disk:root': 2, 'cdrom:config': 3, 'nic:a': 4 });
});

test('an interface that is detached and attached again finds its slot', () => {
  const first = assignSlots(emptySlotMap, ['disk:root', 'nic:a', 'nic:b']);
  const without = assignSlots(first, ['disk:root', 'nic:b']);
  const other = assignSlots(without, ['disk:root', 'nic:b', 'nic:c']);
  expect(other.used['nic:c']).toBe(5);
  expect(assignSlots(other, ['disk:root', 'nic:b', 'nic:c', 'nic:a']).used['nic:a']).toBe(first.used['nic:a']);
});

test('a rescue disk comes before all other devices and moves none of them, however often the guest is rescued', () => {
  const plain = assignSlots(emptySlotMap, ['disk:root', 'disk:eph0', 'nic:a']);
  const rescued = assignSlots(plain, ['disk:root', 'disk:eph0', 'disk:rescue', 'nic:a']);
  expect(rescued.used).toEqual({ ...plain.used, 'disk:rescue': 1 });
  expect(Math.min(...Object.values(plain.used))).toBeGreaterThan(1);
  const again = assignSlots(assignSlots(rescued, ['disk:root', 'disk:eph0', 'nic:a', 'nic:b']), ['disk:root', 'disk:eph0', 'disk:rescue', 'nic:a', 'nic:b']);
  expect(again.used).toEqual({ ...plain.used, 'disk:rescue': 1, 'nic:b': 5 });
});

test('a guest whose first slot was given away by an older agent cannot be rescued, and its devices stay', () => {
  const old: SlotMap = { used: { 'disk:root': 1, 'nic:a': 2 }, retired: [] };
  expect(() => assignSlots(old, ['disk:root', 'disk:rescue', 'nic:a'])).toThrow(/slot 1, which disk:rescue needs/);
  expect(assignSlots(old, ['disk:root', 'nic:a'])).toEqual(old);
});

test('only when no unused slot is left does the slot that has been free for longest go to another device', () => {
  const many = (from: number, to: number): DeviceKey[] => Array.from({ length: to - from }, (_unused, at): DeviceKey => `nic:${from + at}`);
  const full = assignSlots(emptySlotMap, many(0, 27));
  const two = assignSlots(assignSlots(full, many(1, 27)), many(2, 27));
  expect(assignSlots(two, [...many(2, 27), 'nic:new']).used['nic:new']).toBe(full.used['nic:0']);
  expect(() => assignSlots(full, many(0, 28))).toThrow(/no PCI slot is left/);
});

test('whatever is attached and detached: a device keeps its slot while it stays, no two share one, fixed slots are left alone', () => {
  fc.assert(fc.property(history, (steps) => {
    let map: SlotMap = emptySlotMap;
    for (const keys of steps) {
      const next = assignSlots(map, keys);
      expect(Object.keys(next.used).sort()).toEqual([...keys].sort());
      for (const name of keys) if (map.used[name] !== undefined) expect(next.used[name]).toBe(map.used[name]);
      const slots = Object.values(next.used);
      expect(new Set(slots).size).toBe(slots.length);
      for (const slot of slots) expect(slot >= 2 && slot <= 28).toBe(true);
      const retired = next.retired.map(({ slot }) => slot);
      expect(retired.some((slot) => slots.includes(slot))).toBe(false);
      expect(new Set(retired).size).toBe(retired.length);
      expect(assignSlots(next, keys)).toEqual(next);
      map = next;
    }
  }));
});
