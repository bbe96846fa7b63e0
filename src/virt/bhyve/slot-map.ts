/**
 * Which PCI slot each device of a guest sits in. Snapshots, UEFI boot entries and the guest's own interface names all key on the PCI
 * address, so a slot that was once given to a device is never given to it differently. Function 0 of bus 0 only: 28 movable devices
 * are more than Nova attaches, and a multi-function slot whose function 0 goes away would hide the others from the guest.
 *
 * A freed slot stays reserved for the device that left it (a detached port that comes back finds its old name); another device
 * gets it only when no slot that was never used is left, and then the one that has been free for longest.
 */
import { AgentError } from '../../lib/errors.js';

/** What sits in a slot: `disk:root`, `cdrom:config`, `nic:PORT-ID`. Fixed devices are not in the map. */
export type DeviceKey = `disk:${string}` | `cdrom:${string}` | `nic:${string}`;

export interface SlotMap {
  /** Slots in use, by device key. */
  readonly used: Readonly<Record<string, number>>;
  /** Slots of devices that left, oldest first. */
  readonly retired: readonly { readonly key: string; readonly slot: number }[];
}

/** Slots that never move and are the same in every guest. 30 and 29 stay free in a guest without a framebuffer. */
export const fixedSlots = { hostbridge: 0, framebuffer: 29, tablet: 30, lpc: 31 } as const;

const firstMovable = 1;
const lastMovable = 28;

export const emptySlotMap: SlotMap = { used: {}, retired: [] };

/**
 * The map for exactly the devices in `keys` (in their order, which matters for new ones only). Devices known to `before` keep
 * their slots. AgentError `too-many-devices` when all 28 movable slots are taken.
 */
export function assignSlots(before: SlotMap, keys: readonly DeviceKey[]): SlotMap {
  const used: Record<string, number> = {};
  const wanted = new Set<string>(keys);
  const left = Object.entries(before.used).filter(([key]) => !wanted.has(key)).map(([key, slot]) => ({ key, slot }));
  const retired = [...before.retired, ...left].filter(({ key }) => !wanted.has(key));
  const known = new Map([...before.retired.map(({ key, slot }) => [key, slot] as const), ...Object.entries(before.used)]);
  for (const key of keys) {
    const slot = known.get(key);
    if (slot !== undefined) used[key] = slot;
  }
  for (const key of keys) used[key] ??= freeSlot(used, retired, key);
  return { used, retired };
}

/** Takes a never-used slot, or removes the oldest entry of `retired` and takes its slot. */
function freeSlot(used: Readonly<Record<string, number>>, retired: { key: string; slot: number }[], key: string): number {
  const taken = new Set([...Object.values(used), ...retired.map(({ slot }) => slot)]);
  for (let slot = firstMovable; slot <= lastMovable; slot += 1) if (!taken.has(slot)) return slot;
  const oldest = retired.shift();
  if (oldest !== undefined) return oldest.slot;
  throw new AgentError('too-many-devices', `no PCI slot is left for ${key}: a guest can have ${lastMovable} disks and interfaces`);
}
