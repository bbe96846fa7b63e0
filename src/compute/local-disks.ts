/**
 * The disks of an instance besides its root: ephemeral and swap, as its block device mappings say (nova-api makes a mapping of each that the
 * flavor has). Sizes of ephemeral disks are in GiB, of swap in MiB, as in Nova.
 */
import type { InstanceUuid } from '../lib/ids.js';
import type { Step } from '../journal/index.js';
import type { NovaObjectOf } from '../objects/index.js';
import { diskFormats, isDiskBus, type DiskBus, type DiskFormat, type DiskInfo, type DiskRole } from '../storage/index.js';
import type { ComputeDeps } from './deps.js';

type Mapping = NovaObjectOf<'BlockDeviceMapping'>;
type Flavor = NovaObjectOf<'Flavor'>;

const GiB = 1024n ** 3n;
const MiB = 1024n ** 2n;

export interface LocalDisk {
  readonly role: DiskRole;
  readonly bytes: bigint;
  /** Null: begins empty. */
  readonly format: string | null;
  /** Null: the machine's. */
  readonly bus: DiskBus | null;
  /** Null: the flavor alone asked for it. */
  readonly mapping: Mapping | null;
}

const isBlank = (mapping: Mapping): boolean => mapping.maybe('source_type') === 'blank' && mapping.maybe('destination_type') === 'local';
const isSwap = (mapping: Mapping): boolean => isBlank(mapping) && mapping.maybe('guest_format') === 'swap';
const isEphemeral = (mapping: Mapping): boolean => isBlank(mapping) && mapping.maybe('guest_format') !== 'swap';
const busOf = (mapping: Mapping | null): DiskBus | null => {
  const bus = mapping?.maybe('disk_bus') ?? null;
  return isDiskBus(bus) ? bus : null;
};

/** The mapping of a root disk on this host, if it is one. */
export const rootMapping = (mappings: readonly Mapping[]): Mapping | undefined =>
  mappings.find((mapping) => mapping.maybe('boot_index') === 0 && mapping.maybe('destination_type') === 'local');

/** The bus that a user chose for the root disk. */
export const rootBus = (mappings: readonly Mapping[]): DiskBus | null => busOf(rootMapping(mappings) ?? null);

/** What the API calls the root disk. */
export const rootDeviceName = (bus: DiskBus, kind: 'disk' | 'cdrom'): string =>
  kind === 'cdrom' || bus === 'sata' ? '/dev/sda' : bus === 'nvme' ? '/dev/nvme0n1' : '/dev/vda';

/** Ephemerals in the order of their mappings, then swap. `defaultFormat` is `default_ephemeral_format`. */
export function localDisks(mappings: readonly Mapping[], flavor: Flavor, defaultFormat: string | null): readonly LocalDisk[] {
  const [ephemerals, [swap]] = [mappings.filter(isEphemeral), mappings.filter(isSwap)];
  const disk = (role: DiskRole, bytes: bigint, format: string | null, mapping: Mapping | null): readonly LocalDisk[] =>
    bytes <= 0n ? [] : [{ role, bytes, format, bus: busOf(mapping), mapping }];
  const ephemeral = (at: number, mapping: Mapping | null): readonly LocalDisk[] => {
    const gib = mapping?.maybe('volume_size') ?? flavor.get('ephemeral_gb');
    return disk(`eph${at}`, BigInt(gib) * GiB, mapping?.maybe('guest_format') ?? defaultFormat, mapping);
  };
  return [
    ...(ephemerals.length === 0 ? ephemeral(0, null) : ephemerals.flatMap((mapping, at) => ephemeral(at, mapping))),
    ...disk('swap', BigInt(swap?.maybe('volume_size') ?? flavor.get('swap')) * MiB, 'swap', swap ?? null),
  ];
}

/** A format that this host can write. */
export const isFillable = (format: string | null, formats: ReadonlySet<DiskFormat>): format is DiskFormat =>
  format !== null && (diskFormats as readonly string[]).includes(format) && formats.has(format as DiskFormat);

/** A sentence about the first mapping that this host cannot serve; null if it can serve all. */
export function unsupportedDisks(mappings: readonly Mapping[], disks: readonly LocalDisk[], formats: ReadonlySet<DiskFormat>, buses: ReadonlySet<DiskBus>): string | null {
  for (const mapping of mappings) {
    const [destination, source] = [mapping.maybe('destination_type'), mapping.maybe('source_type')];
    if (destination === 'volume') return 'volumes are not supported by this host yet; boot from an image';
    const bus = mapping.maybe('disk_bus') ?? null;
    if (bus !== null && !(isDiskBus(bus) && buses.has(bus))) return `a disk on bus ${bus} is not supported by this host (it has: ${[...buses].join(', ')})`;
    const type = mapping.maybe('device_type') ?? null;
    if (type !== null && type !== 'disk' && !(type === 'cdrom' && source === 'image')) return `a device of type ${type} is not supported by this host`;
    if (source !== 'blank' && mapping.maybe('boot_index') !== 0 && destination === 'local') return 'a second image disk is not supported by this host';
  }
  const unknown = disks.find(({ format }) => format !== null && !isFillable(format, formats));
  return unknown === undefined ? null : `a disk of format ${String(unknown.format)} is not supported by this host (it has: ${[...formats].filter((format) => format !== 'swap').join(', ') || 'none'})`;
}

/** Makes and fills each disk, and tells `onMade` of it. For disks that no guest has seen: what is there is written over. */
export const localDiskSteps = (
  { storage }: Pick<ComputeDeps, 'storage'>, instance: InstanceUuid, disks: readonly LocalDisk[], onMade: (disk: DiskInfo) => void = () => undefined,
): readonly Step[] =>
  disks.map(({ role, bytes, format, bus }): Step => ({
    name: `disk-${role}`,
    look: async () => 'not-done', // idempotent, and an interrupted filling shows in nothing
    act: async () => {
      onMade(await storage.createBlankDisk(instance, role, bytes, bus));
      if (isFillable(format, storage.formats)) await storage.fillDisk(instance, role, format);
    },
    undo: () => storage.buryDisk(instance, role),
  }));

/**
 * Gives disks without a name the next free ones, as Nova does: root, ephemerals, swap. The guest's own names may differ; these are what the
 * API shows. Returns the mappings that were changed.
 */
export function nameDisks(rootName: string, root: Mapping | undefined, disks: readonly LocalDisk[], machineBus: DiskBus): readonly Mapping[] {
  const named = [...(root === undefined ? [] : [root]), ...disks.flatMap(({ mapping }) => (mapping === null ? [] : [mapping]))];
  const taken = new Set([rootName, ...named.flatMap((mapping) => mapping.maybe('device_name') ?? [])]);
  const next = (bus: DiskBus): string => {
    for (let at = 0; ; at += 1) {
      const name = bus === 'nvme' ? `/dev/nvme${at}n1` : `/dev/${bus === 'sata' ? 'sd' : 'vd'}${String.fromCharCode(97 + at)}`;
      if (taken.has(name)) continue;
      taken.add(name);
      return name;
    }
  };
  return named.filter((mapping) => (mapping.maybe('device_name') ?? null) === null).map((mapping) => {
    mapping.set('device_name', mapping === root ? rootName : next(busOf(mapping) ?? machineBus));
    return mapping;
  });
}
