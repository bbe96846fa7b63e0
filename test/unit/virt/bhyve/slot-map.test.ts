import fc from 'fast-check';
import { expect, test } from 'vitest';
import { assignSlots, emptySlotMap, type DeviceKey, type SlotMap } from '../../../../src/virt/bhyve/slot-map.js';

const key = fc.integer({ min: 0, max: 40 }).map((n): DeviceKey => `nic:${n}`);
const devices = fc.uniqueArray(key, { maxLength: 28 });
const history = fc.array(devices, { minLength: 1, maxLength: 12 });

test('a new guest gets its disk first, then the config drive, then its interfaces', () => {
  expect(assignSlots(emptySlotMap, ['disk:root', 'cdrom:config', 'nic:a']).used).toEqual({ 'disk:root': 1, 'cdrom:config': 2, 'nic:a': 3 });
});

test('an interface that is detached and attached again finds its slot', () => {
  const first = assignSlots(emptySlotMap, ['disk:root', 'nic:a', 'nic:b']);
  const without = assignSlots(first, ['disk:root', 'nic:b']);
  const other = assignSlots(without, ['disk:root', 'nic:b', 'nic:c']);
  expect(other.used['nic:c']).toBe(4);
  expect(assignSlots(other, ['disk:root', 'nic:b', 'nic:c', 'nic:a']).used['nic:a']).toBe(first.used['nic:a']);
});

test('only when no unused slot is left does the slot that has been free for longest go to another device', () => {
  const many = (from: number, to: number): DeviceKey[] => Array.from({ length: to - from }, (_unused, at): DeviceKey => `nic:${from + at}`);
  const full = assignSlots(emptySlotMap, many(0, 28));
  const two = assignSlots(assignSlots(full, many(1, 28)), many(2, 28));
  expect(assignSlots(two, [...many(2, 28), 'nic:new']).used['nic:new']).toBe(full.used['nic:0']);
  expect(() => assignSlots(full, many(0, 29))).toThrow(/no PCI slot is left/);
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
      for (const slot of slots) expect(slot >= 1 && slot <= 28).toBe(true);
      const retired = next.retired.map(({ slot }) => slot);
      expect(retired.some((slot) => slots.includes(slot))).toBe(false);
      expect(new Set(retired).size).toBe(retired.length);
      expect(assignSlots(next, keys)).toEqual(next);
      map = next;
    }
  }));
});
