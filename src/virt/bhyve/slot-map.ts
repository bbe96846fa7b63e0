/**
 * Which PCI slot each device of a guest sits in. Snapshots, UEFI boot entries and the guest's own interface names all key on the PCI
 * address, so a slot that was once given to a device is never given to it differently. Function 0 of bus 0 only: 27 movable devices
 * are more than Nova attaches, and a multi-function slot whose function 0 goes away would hide the others from the guest.
 *
 * A freed slot stays reserved for the device that left it (a detached port that comes back finds its old name); another device
 * gets it only when no slot that was never used is left, and then the one that has been free for longest.
 *
 * What boots: bhyve has no boot menu, and `bootindex` (14 and newer) reaches the firmware only through the `qemu` flavour of fw_cfg, which brings
 * other ACPI tables with it. So we rely on one thing that holds for all releases: firmware without stored boot entries tries its devices in
 * the order of their PCI slots. Slot 1 is kept for the rescue disk, below everything else; and a rescued guest has a variable store of its own, that
 * begins empty, so that no boot entry of the guest's own system goes before it (define-guest.ts). The guest's other devices stay where they are.
 */
import { AgentError } from '../../lib/errors.js';

/** What sits in a slot: `disk:root`, `cdrom:config`, `nic:PORT-ID`, `rng:0`. Fixed devices are not in the map. */
export type DeviceKey = `disk:${string}` | `cdrom:${string}` | `nic:${string}` | `rng:${string}`;

export interface SlotMap {
  /** Slots in use, by device key. */
  readonly used: Readonly<Record<string, number>>;
  /** Slots of devices that left, oldest first. */
  readonly retired: readonly { readonly key: string; readonly slot: number }[];
}

/** Slots that never move and are the same in every guest. 30 and 29 stay free in a guest without a framebuffer. */
export const fixedSlots = { hostbridge: 0, framebuffer: 29, tablet: 30, lpc: 31 } as const;

/** Devices whose slot is kept for them in every guest. */
const reserved: Readonly<Record<string, number>> = { 'disk:rescue': 1 };
const firstMovable = 2;
const lastMovable = 28;

export const emptySlotMap: SlotMap = { used: {}, retired: [] };

/**
 * The map for exactly the devices in `keys` (in their order, which matters for new ones only). Devices known to `before` keep
 * their slots. AgentError `too-many-devices` when all 27 movable slots are taken.
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

/** Takes the slot that is reserved for it, a never-used slot, or removes the oldest entry of `retired` and takes its slot. */
function freeSlot(used: Readonly<Record<string, number>>, retired: { key: string; slot: number }[], key: string): number {
  const taken = new Set<number>([...Object.values(used), ...retired.map(({ slot }) => slot)]);
  const own = reserved[key];
  if (own !== undefined) {
    if (!taken.has(own)) return own;
    throw new AgentError('too-many-devices', `slot ${own}, which ${key} needs, is taken: this guest was made by an agent that did not keep it free`);
  }
  for (let slot = firstMovable; slot <= lastMovable; slot += 1) if (!taken.has(slot)) return slot;
  const oldest = retired.shift();
  if (oldest !== undefined) return oldest.slot;
  throw new AgentError('too-many-devices', `no PCI slot is left for ${key}: a guest can have ${lastMovable - firstMovable + 1} disks and interfaces`);
}
