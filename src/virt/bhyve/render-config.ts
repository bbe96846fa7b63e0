/**
 * The one place that turns a machine spec into bhyve's `-k` file. One `name=value` a line; `%` is written `%%` because bhyve
 * expands `%(name)`; an empty value is fatal to bhyve and a newline would smuggle in a key, so both are refused (bhyve-facts 2.2).
 * Unknown names are ignored by bhyve without a word, which is why golden files in test/samples/bhyve-config pin every line.
 *
 * Releases differ in one key: up to 14 the boot ROM hangs on the LPC bridge (`lpc.bootrom`), from 15 on it is `bootrom`. arm64 has no
 * LPC bridge, framebuffer, USB tablet, SMBIOS or ACPI tables; its console is the top-level key `console`.
 */
import { AgentError } from '../../lib/errors.js';
import { unreachable } from '../../lib/assert.js';
import type { GuestDisk, GuestNic, HostCapabilities } from '../types.js';
import type { MachineSpec } from './machine-spec.js';
import { fixedSlots } from './slot-map.js';

export interface RenderPaths {
  readonly deviceRoot: string;
  /** Firmware image; shared, read-only. */
  readonly firmwareCode: string;
  /** The guest's own variable store; null if the firmware has none. */
  readonly firmwareVars: string | null;
}

type Line = readonly [name: string, value: string];

/** Serial number that Linux shows in /dev/disk/by-id; all three models keep 20 characters. */
export const diskSerial = (serial: string): string => serial.slice(0, 20);

/** Text of bhyve.conf. AgentError `bad-guest-definition` for a value that bhyve would misread. */
export function renderConfig(
  spec: MachineSpec,
  capabilities: Pick<HostCapabilities, 'architecture' | 'bootromKey' | 'hasFramebuffer'>,
  paths: RenderPaths,
): string {
  const lines = [...common(spec), ...platform(spec, capabilities, paths), ...movableDevices(spec)];
  return lines.map(renderLine).join('');
}

function renderLine([name, value]: Line): string {
  if (!/^[A-Za-z0-9_.]+$/.test(name)) throw new AgentError('bad-guest-definition', `bhyve has no option named ${JSON.stringify(name)}`);
  if (value === '') throw new AgentError('bad-guest-definition', `the value of ${name} is empty`);
  // eslint-disable-next-line no-control-regex -- control characters are what we look for
  if (/[\x00-\x1f\x7f]/.test(value)) throw new AgentError('bad-guest-definition', `the value of ${name} holds a control character`);
  return `${name}=${value.replaceAll('%', '%%')}\n`;
}

function common({ definition }: MachineSpec): Line[] {
  return [
    ['name', definition.instance],
    ['uuid', definition.instance],
    ['cpus', String(definition.vcpus)],
    ['sockets', String(definition.topology.sockets)],
    ['cores', String(definition.topology.cores)],
    ['threads', String(definition.topology.threads)],
    ['memory.size', `${definition.memoryMiB}M`],
    ['pci.0.0.0.device', 'hostbridge'],
  ];
}

function platform(
  spec: MachineSpec, capabilities: Pick<HostCapabilities, 'architecture' | 'bootromKey' | 'hasFramebuffer'>, paths: RenderPaths,
): Line[] {
  const console = `${paths.deviceRoot}/nmdm${spec.consoleUnit}A`;
  switch (capabilities.architecture) {
    case 'arm64':
      return [['bootrom', paths.firmwareCode], ['console', console]];
    case 'amd64':
      return [
        ...amd64Machine(spec),
        ...bootRom(capabilities.bootromKey, paths),
        [`pci.0.${fixedSlots.lpc}.0.device`, 'lpc'],
        ['lpc.com1.path', console],
        ...(capabilities.hasFramebuffer ? display(spec) : []),
      ];
    default:
      return unreachable(capabilities.architecture);
  }
}

/** Every default that differs between releases is spelled out, so that one file means the same machine on all of them. */
function amd64Machine({ definition }: MachineSpec): Line[] {
  return [
    // false by default on 13: without tables a guest finds neither its CPUs nor the power button.
    ['acpi_tables', 'true'],
    ['rtc.use_localtime', String(definition.clock === 'localtime')],
    // Without these an idle or spinning vCPU burns a whole host CPU.
    ['x86.vmexit_on_hlt', 'true'],
    ['x86.vmexit_on_pause', 'true'],
    // Guests probe registers that bhyve does not know; a strict bhyve would abort (seen as exit 134).
    ['x86.strictmsr', 'false'],
    // cloud-init recognises an OpenStack guest by these two.
    ['system.manufacturer', 'OpenStack Foundation'],
    ['system.product_name', 'OpenStack Nova'],
    ['system.family_name', 'Virtual Machine'],
    ['system.serial_number', definition.instance],
  ];
}

function bootRom(key: HostCapabilities['bootromKey'], paths: RenderPaths): Line[] {
  const prefix = key === 'lpc' ? 'lpc.' : '';
  return [
    [`${prefix}bootrom`, paths.firmwareCode],
    ...(paths.firmwareVars === null ? [] : [[`${prefix}bootvars`, paths.firmwareVars] as const]),
  ];
}

function display({ vnc, definition }: MachineSpec): Line[] {
  if (vnc === null) return [];
  const address = vnc.address.includes(':') ? `[${vnc.address}]` : vnc.address;
  return [
    [`pci.0.${fixedSlots.framebuffer}.0.device`, 'fbuf'],
    [`pci.0.${fixedSlots.framebuffer}.0.rfb`, `${address}:${vnc.port}`],
    ...(vnc.password === undefined ? [] : [[`pci.0.${fixedSlots.framebuffer}.0.password`, vnc.password] as const]),
    ...(definition.hasTablet ? tablet : []),
  ];
}

const screenLine = /^pci\.0\.\d+\.0\.(?:rfb|password)=.*\n/gm;

/** The lines about who may look at the screen, and where. */
export const screenLinesOf = (config: string): string => (config.match(screenLine) ?? []).join('');

/** A configuration with other such lines in their place; without any in it it stays as it is. */
export function withScreenLines(config: string, lines: string): string {
  let isFirst = true;
  return config.replace(screenLine, () => {
    const put = isFirst ? lines : '';
    isFirst = false;
    return put;
  });
}

/** As it may leave this host, in the save of a guest whose next run has another password. */
export const withoutScreenPassword = (config: string): string => config.replace(/^pci\.0\.\d+\.0\.password=.*\n/gm, '');

/** USB slots count from 1. */
const tablet: readonly Line[] = [[`pci.0.${fixedSlots.tablet}.0.device`, 'xhci'], [`pci.0.${fixedSlots.tablet}.0.slot.1.device`, 'tablet']];

function movableDevices({ definition, slots }: MachineSpec): Line[] {
  const at = (key: string): string => {
    const slot = slots.used[key];
    if (slot === undefined) throw new AgentError('bad-guest-definition', `${key} has no PCI slot`);
    return `pci.0.${slot}.0`;
  };
  return [
    ...definition.disks.flatMap((disk) => (disk.kind === 'cdrom' ? cdrom(at(`disk:${disk.role}`), disk.path) : hardDisk(at(`disk:${disk.role}`), disk))),
    ...(definition.configDrive === null ? [] : cdrom(at('cdrom:config'), definition.configDrive.path)),
    ...definition.nics.flatMap((nic) => networkCard(at(`nic:${nic.port}`), nic)),
    ...(definition.hasRng ? [[`${at('rng:0')}.device`, 'virtio-rnd'] as const] : []),
  ];
}

function hardDisk(device: string, { path, serial, bus }: GuestDisk): Line[] {
  const options = (node: string): Line[] => [[`${node}.path`, path], [`${node}.ser`, diskSerial(serial)]];
  switch (bus) {
    case 'virtio': return [[`${device}.device`, 'virtio-blk'], ...options(device)];
    case 'nvme': return [[`${device}.device`, 'nvme'], ...options(device)];
    // `ahci-hd` is an alias of the command line only; in a file the base device with a typed port is wanted.
    case 'sata': return [[`${device}.device`, 'ahci'], [`${device}.port.0.type`, 'hd'], ...options(`${device}.port.0`)];
    default: return unreachable(bus);
  }
}

/** Only virtio can tell the guest its MTU; for e1000 it is in the config drive and in DHCP alone. */
function networkCard(device: string, nic: GuestNic): Line[] {
  const common: Line[] = [[`${device}.backend`, nic.tapName], [`${device}.mac`, nic.mac]];
  switch (nic.model) {
    case 'virtio': return [[`${device}.device`, 'virtio-net'], ...common, [`${device}.mtu`, String(nic.mtu)]];
    case 'e1000': return [[`${device}.device`, 'e1000'], ...common];
    default: return unreachable(nic.model);
  }
}

/** An AHCI controller of its own for each CD. */
function cdrom(device: string, path: string): Line[] {
  return [[`${device}.device`, 'ahci'], [`${device}.port.0.type`, 'cd'], [`${device}.port.0.path`, path], [`${device}.port.0.ro`, 'true']];
}
