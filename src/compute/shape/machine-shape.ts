/**
 * What machine a guest is, derived from its flavor and its image's properties and nothing else. Pure; the same for the build and for
 * every later start. Whether this host can give it was asked before (unsupported.ts).
 */
import { flavorOf, type NovaObjectOf } from '../../objects/index.js';
import { noLimits, type DiskBus, type GuestLimits, type GuestTopology, type HostCapabilities, type NicModel } from '../../virt/index.js';
import { isTrue } from './boolean.js';
import { imagePropertiesOf, type ImageProperties } from './image-properties.js';
import { guestLimits } from './limits.js';
import { chooseTopology } from './topology.js';

export interface MachineShape {
  readonly topology: GuestTopology;
  readonly diskBus: DiskBus;
  /** An ISO image is the guest's CD, not a disk that it can write to. */
  readonly rootKind: 'disk' | 'cdrom';
  readonly nicModel: NicModel;
  readonly hasScreen: boolean;
  readonly hasTablet: boolean;
  readonly hasRng: boolean;
  /** Windows takes the hardware clock for local time. */
  readonly clock: 'utc' | 'localtime';
  readonly limits: GuestLimits;
}

export interface ShapeFacts {
  readonly vcpus: number;
  readonly extraSpecs: Readonly<Record<string, string>>;
  readonly properties: ImageProperties;
  readonly capabilities: Pick<HostCapabilities, 'deviceModels'>;
}

export function shapeFacts(instance: NovaObjectOf<'Instance'>, capabilities: ShapeFacts['capabilities']): ShapeFacts {
  const flavor = flavorOf(instance);
  return { vcpus: flavor.get('vcpus'), extraSpecs: flavor.maybe('extra_specs') ?? {}, properties: imagePropertiesOf(instance), capabilities };
}

const isOneOf = <T extends string>(value: string | undefined, known: readonly T[]): value is T => known.includes(value as T);

/** Values that are not known here were refused before the build; a guest that carries one all the same gets the default. */
export function machineShape(facts: ShapeFacts): MachineShape {
  const { vcpus, extraSpecs, properties, capabilities } = facts;
  const topology = chooseTopology(facts);
  const limits = guestLimits(extraSpecs, vcpus);
  const [bus, nic] = [(properties['bhyve_disk_bus'] ?? properties['hw_disk_bus'])?.toLowerCase(), properties['hw_vif_model']?.toLowerCase()];
  return {
    topology: typeof topology === 'string' ? { sockets: vcpus, cores: 1, threads: 1 } : topology,
    diskBus: isOneOf(bus, ['virtio', 'sata', 'nvme']) ? bus : capabilities.deviceModels.has('virtio-blk') ? 'virtio' : 'sata',
    rootKind: properties['disk_format'] === 'iso' ? 'cdrom' : 'disk',
    nicModel: isOneOf(nic, ['virtio', 'e1000']) ? nic : 'virtio',
    hasScreen: properties['hw_video_model']?.toLowerCase() !== 'none',
    hasTablet: (properties['hw_pointer_model'] ?? 'usbtablet') === 'usbtablet',
    clock: properties['os_type'] === 'windows' ? 'localtime' : 'utc',
    limits: typeof limits === 'string' ? noLimits : limits,
    hasRng: capabilities.deviceModels.has('virtio-rnd') && isTrue(extraSpecs['hw_rng:allowed'] ?? 'true'),
  };
}
