/** From Nova's instance, its disks and its plugged vifs to what the hypervisor driver wants. */
import { AgentError } from '../lib/errors.js';
import { parseInstanceUuid } from '../lib/ids.js';
import type { NovaObjectOf } from '../objects/index.js';
import type { PluggedVif } from '../network/index.js';
import type { DiskInfo } from '../storage/index.js';
import type { GuestDefinition, GuestDisk, HostCapabilities } from '../virt/index.js';
import { machineShape, shapeFacts, type MachineShape } from './shape/index.js';

export interface DefinitionInput {
  readonly instance: NovaObjectOf<'Instance'>;
  /** `instance-%08x` */
  readonly nameTemplate: string;
  readonly disks: readonly DiskInfo[];
  readonly plugged: readonly PluggedVif[];
  readonly configDrivePath: string | null;
  /** Whether guests on this host have screens at all; the image may want none. */
  readonly hasVnc: boolean;
  readonly capabilities: Pick<HostCapabilities, 'deviceModels' | 'hasLibvdsk'>;
  /** How a rescue disk is attached (image properties hw_rescue_bus and hw_rescue_device of the rescue image); as the other disks if left out. */
  readonly rescue?: Pick<GuestDisk, 'bus' | 'kind'>;
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

function attachmentOf({ role, bus }: DiskInfo, shape: MachineShape, rescue: DefinitionInput['rescue']): Pick<GuestDisk, 'bus' | 'kind'> {
  if (role === 'rescue' && rescue !== undefined) return rescue;
  return { bus: bus ?? shape.diskBus, kind: role === 'root' ? shape.rootKind : 'disk' };
}

/** What the row, the disks and the ports say now; the driver keeps the slots that it once chose. */
export function guestDefinition(input: DefinitionInput): GuestDefinition {
  const { instance } = input;
  const uuid = parseInstanceUuid(instance.get('uuid'));
  const flavor = instance.get('flavor');
  const shape = machineShape(shapeFacts(instance, input.capabilities));
  if (input.disks.length === 0) throw new AgentError('disk-missing', 'the instance has no disks on this host', { details: { instance: uuid } });
  if (!input.capabilities.hasLibvdsk && input.disks.some(({ form }) => form === 'qcow2')) {
    // It would see the file instead of the disk in it, and write into it.
    throw new AgentError('host-unusable', "the server's disks are qcow2 files, and the bhyve of this host has no libvdsk to open them", { details: { instance: uuid } });
  }
  return {
    instance: uuid,
    name: guestName(input.nameTemplate, instance.get('id'), uuid),
    vcpus: flavor.get('vcpus'),
    topology: shape.topology,
    memoryMiB: flavor.get('memory_mb'),
    disks: input.disks.map((disk) => ({ role: disk.role, path: disk.devicePath, serial: serialOf(uuid, disk.role), ...attachmentOf(disk, shape, input.rescue) })),
    configDrive: input.configDrivePath === null ? null : { path: input.configDrivePath },
    nics: input.plugged.map((vif) => ({ port: vif.port, tapName: vif.tapName, mac: vif.mac, mtu: vif.mtu, model: shape.nicModel })),
    hasVnc: input.hasVnc && shape.hasScreen,
    hasTablet: shape.hasTablet,
    hasRng: shape.hasRng,
    clock: shape.clock,
    limits: shape.limits,
  };
}
