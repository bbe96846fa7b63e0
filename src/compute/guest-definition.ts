/** From Nova's instance, its disks and its plugged vifs to what the hypervisor driver wants. */
import { AgentError } from '../lib/errors.js';
import { parseInstanceUuid } from '../lib/ids.js';
import type { NovaObjectOf } from '../objects/index.js';
import type { PluggedVif } from '../network/index.js';
import type { DiskInfo } from '../storage/index.js';
import type { GuestDefinition } from '../virt/index.js';

export interface DefinitionInput {
  readonly instance: NovaObjectOf<'Instance'>;
  /** `instance-%08x` */
  readonly nameTemplate: string;
  readonly disks: readonly DiskInfo[];
  readonly plugged: readonly PluggedVif[];
  readonly configDrivePath: string | null;
  readonly hasVnc: boolean;
}

/** At most 20 characters of the instance's uuid: stable, and unique enough within a guest. */
const serialOf = (uuid: string, role: string): string => `${role}-${uuid.replaceAll('-', '')}`.slice(0, 20);

/** instance_name_template applied to the row's integer id; %d, %x and %0Nx are what Nova's operators use. */
export function guestName(template: string, id: number, uuid: string): string {
  const name = template.replace(/%\(uuid\)s/g, uuid).replace(/%(0\d+)?([dx])/g, (_match, width: string | undefined, kind: string) => {
    const digits = kind === 'x' ? id.toString(16) : String(id);
    return width === undefined ? digits : digits.padStart(Number(width), '0');
  });
  return name.replace(/[^A-Za-z0-9_.-]/g, '_').slice(0, 64);
}

export function guestDefinition(input: DefinitionInput): GuestDefinition {
  const { instance } = input;
  const uuid = parseInstanceUuid(instance.get('uuid'));
  const flavor = instance.get('flavor');
  if (input.disks.length === 0) throw new AgentError('disk-missing', 'the instance has no disks on this host', { details: { instance: uuid } });
  return {
    instance: uuid,
    name: guestName(input.nameTemplate, instance.get('id'), uuid),
    vcpus: flavor.get('vcpus'),
    memoryMiB: flavor.get('memory_mb'),
    disks: input.disks.map((disk) => ({ role: disk.role, path: disk.devicePath, serial: serialOf(uuid, disk.role), bus: 'virtio' })),
    configDrive: input.configDrivePath === null ? null : { path: input.configDrivePath },
    nics: input.plugged.map((vif) => ({ port: vif.port, tapName: vif.tapName, mac: vif.mac, mtu: vif.mtu, model: 'virtio' })),
    hasVnc: input.hasVnc,
  };
}
