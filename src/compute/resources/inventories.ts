/** The inventories of our provider as they should be (nova-contract 8). Pure. */
import type { Inventory } from '../../openstack/index.js';
import type { HostTotals, Reserved } from './usage.js';

/** Null: not set by the operator. */
export interface Ratios {
  readonly cpu: number | null;
  readonly ram: number | null;
  readonly disk: number | null;
}

export type Inventories = Readonly<Record<string, Inventory>>;

export interface InventoryWish {
  readonly totals: HostTotals;
  readonly reserved: Reserved;
  /** `*_allocation_ratio`: wins over all. */
  readonly ratios: Ratios;
  /** `initial_*_allocation_ratio` or the release's default: for a class that Placement does not have yet. */
  readonly initialRatios: { readonly [Class in keyof Ratios]: number };
  /** The largest guest that bhyve can make here. */
  readonly maxVcpusPerGuest: number;
  /** What the operator's provider.yaml adds: classes of its own. */
  readonly additional?: Inventories;
}

const isOperators = (resourceClass: string): boolean => resourceClass.startsWith('CUSTOM_');

/**
 * Ratio: the option, else what Placement has (an operator may have set it there), else the initial one. A class without
 * anything in it is left out. Classes of the operator (CUSTOM_) are those of provider.yaml, or stay as they are; others that are not ours go.
 */
export function wantedInventories(wish: InventoryWish, stored: Inventories): Inventories {
  const { totals, reserved } = wish;
  const inventory = (name: string, total: number, kept: number, kind: keyof Ratios, max = total): readonly (readonly [string, Inventory])[] => {
    if (total <= 0) return [];
    const ratio = wish.ratios[kind] ?? stored[name]?.allocation_ratio ?? wish.initialRatios[kind];
    return [[name, { total, reserved: Math.min(kept, total), min_unit: 1, max_unit: Math.max(1, Math.min(max, total)), step_size: 1, allocation_ratio: ratio }]];
  };
  return Object.fromEntries([
    ...Object.entries(stored).filter(([name]) => isOperators(name)),
    ...Object.entries(wish.additional ?? {}),
    ...inventory('VCPU', totals.vcpus, reserved.vcpus, 'cpu', wish.maxVcpusPerGuest),
    ...inventory('MEMORY_MB', totals.memoryMiB, reserved.memoryMiB, 'ram'),
    ...inventory('DISK_GB', totals.diskGiB, Math.ceil(reserved.diskMiB / 1024), 'disk'),
  ]);
}

/** Whether Placement has these already. */
export function sameInventories(left: Inventories, right: Inventories): boolean {
  const names = new Set([...Object.keys(left), ...Object.keys(right)]);
  return [...names].every((name) => {
    const [a, b] = [left[name], right[name]];
    return a !== undefined && b !== undefined && a.total === b.total && a.reserved === b.reserved && a.min_unit === b.min_unit && a.max_unit === b.max_unit
      && a.step_size === b.step_size && a.allocation_ratio === b.allocation_ratio;
  });
}
