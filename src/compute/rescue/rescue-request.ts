/** What a rescue image asks for, and whether this host can give it. Pure. */
import { novaFaults, refuse } from '../../lib/nova-faults.js';
import type { NovaObjectOf } from '../../objects/index.js';
import type { DiskForm } from '../../storage/index.js';
import type { GuestDisk } from '../../virt/index.js';

export interface RescueAttachment extends Pick<GuestDisk, 'bus' | 'kind'> {
  /**
   * The image says how it wants to be attached ("stable device rescue"): then the server keeps all its disks. Otherwise the machine has the rescue
   * disk and, as the second, the server's root disk.
   */
  readonly keepsDisks: boolean;
}

/** The image that was asked for, else the one that the server was made of. Null for a server without any. */
export function rescueImageReference(instance: NovaObjectOf<'Instance'>, asked: string | null): string | null {
  const references = [asked, instance.get('system_metadata')['image_base_image_ref'], instance.get('image_ref')];
  return references.find((reference): reference is string => typeof reference === 'string' && reference !== '') ?? null;
}

const buses = ['virtio', 'sata', 'nvme'] as const;
const isBus = (text: string): text is GuestDisk['bus'] => (buses as readonly string[]).includes(text);

/** Refuses, with InstanceNotRescuable, devices and buses that bhyve has not. */
export function rescueAttachment(uuid: string, properties: Readonly<Record<string, string>>, diskFormat: string | null, form: DiskForm = 'raw'): RescueAttachment {
  const { hw_rescue_device: device, hw_rescue_bus: bus } = properties;
  const kind = device ?? (diskFormat === 'iso' ? 'cdrom' : 'disk');
  const refused = (what: string): Error => refuse(novaFaults.instanceNotRescuable(uuid, `${what} is not supported by this host`));
  if (kind !== 'disk' && kind !== 'cdrom') throw refused(`hw_rescue_device=${kind}`);
  const wanted = bus ?? (kind === 'cdrom' || form === 'qcow2' ? 'sata' : properties['bhyve_disk_bus'] ?? properties['hw_disk_bus'] ?? 'virtio');
  if (!isBus(wanted)) throw refused(bus === undefined ? `hw_disk_bus=${wanted}` : `hw_rescue_bus=${wanted}`);
  if (kind === 'cdrom' && wanted !== 'sata') throw refused(`a rescue CD on hw_rescue_bus=${wanted}`);
  if (form === 'qcow2' && wanted !== 'sata') throw refused(`hw_rescue_bus=${wanted} for a server on qcow2 disks, which are on sata,`);
  return { kind, bus: wanted, keepsDisks: device !== undefined || bus !== undefined };
}
