/**
 * Device tags (nova-contract 13): which of the guest's devices carries which tag, at the PCI address that it keeps. Saved in the row for the
 * metadata service, and told in the config drive.
 */
import { createObject, type NovaObject, type NovaObjectOf, type ReleaseProfile } from '../objects/index.js';
import type { DiskRole } from '../storage/index.js';
import type { GuestDefinition } from '../virt/index.js';

export interface Tags {
  /** By port. */
  readonly nics: ReadonlyMap<string, string>;
  readonly disks: ReadonlyMap<DiskRole, string>;
}

/** The object for Instance.device_metadata; null when nothing is tagged. `slots` are the driver's, e.g. `0:5:0`. */
export function deviceMetadata(
  profile: ReleaseProfile, definition: GuestDefinition, slots: Readonly<Record<string, string>>, tags: Tags,
): NovaObjectOf<'InstanceDeviceMetadata'> | null {
  const busOf = (key: string): NovaObject => createObject(profile, 'PCIDeviceBus', { address: pciAddress(slots[key] ?? '') });
  const devices: NovaObject[] = [
    ...definition.nics.flatMap(({ port, mac }) => {
      const tag = tags.nics.get(port);
      return tag === undefined ? [] : [createObject(profile, 'NetworkInterfaceMetadata', { mac, bus: busOf(`nic:${port}`), tags: [tag] })];
    }),
    ...definition.disks.flatMap(({ role, serial }) => {
      const tag = tags.disks.get(role);
      return tag === undefined ? [] : [createObject(profile, 'DiskMetadata', { serial, bus: busOf(`disk:${role}`), tags: [tag] })];
    }),
  ];
  return devices.length === 0 ? null : createObject(profile, 'InstanceDeviceMetadata', { devices });
}

/** `0:10:0` → `0000:00:0a.0`, as the guest's lspci shows it. */
function pciAddress(slot: string): string {
  const [bus = 0, device = 0, func = 0] = slot.split(':').map(Number);
  const hex = (value: number): string => value.toString(16).padStart(2, '0');
  return `0000:${hex(bus)}:${hex(device)}.${func}`;
}
