/**
 * What a saved guest consists of, by the kind of bhyve: which kernel structs and devices are listed in which order, how large they are, and which
 * devices are lost. Sizes are those of a 13.2 with one vCPU (transcripts guest_snapshot_*); what was not seen there is of the same order.
 */
import type { SaveFacts } from './profiles.js';

export interface PciDevice { readonly model: string; readonly bus: number; readonly slot: number; readonly func: number }

/** One entry of `.meta`. */
export interface SaveEntry {
  readonly name: string;
  /** Number of a kernel struct in 13's ioctl; absent for devices. */
  readonly request?: number;
  /** 0: not there, and listed all the same. */
  readonly bytes: number;
  /** bhyve cannot save it: errno of FreeBSD. The save fails at this entry. */
  readonly errno?: number;
}

const structs: readonly (readonly [name: string, request: number, bytes: (cpus: number) => number])[] = [
  ['vhpet', 5, () => 284], ['vm', 2, (cpus) => 32 + 184 * cpus], ['vmx', 0, () => 0], ['vioapic', 1, () => 388], ['vlapic', 3, (cpus) => 4169 * cpus], ['vmcx', 6, (cpus) => 772 * cpus],
  ['vatpit', 8, () => 172], ['vatpic', 7, () => 118], ['vpmtmr', 9, () => 4], ['vrtc', 10, () => 140],
];

export const kernelEntries = (save: SaveFacts, cpus: number): SaveEntry[] =>
  structs.filter(([name]) => name !== 'vmx' || save.hasVmx).map(([name, request, bytes]) => ({ name, request, bytes: bytes(cpus) }));

/** The types that 13 saves, the first device of each. Devices never have the last two names: a configuration knows no aliases. */
export const savedTypes: readonly string[] = ['atkbdc', 'virtio-net', 'virtio-blk', 'virtio-rnd', 'lpc', 'fbuf', 'xhci', 'e1000', 'ahci', 'ahci-hd', 'ahci-cd'];
const pausedTypes: readonly string[] = ['virtio-net', 'virtio-blk', 'ahci', 'ahci-hd', 'ahci-cd'];

const deviceBytes: Readonly<Record<string, number>> = { atkbdc: 141, hostbridge: 508, 'virtio-net': 613, 'virtio-blk': 619, 'virtio-rnd': 538, lpc: 620, xhci: 1077, e1000: 2190, ahci: 1612, nvme: 3964 };
/** Models with code for saving in 14 and 15. */
const savableModels: readonly string[] = ['hostbridge', 'lpc', 'virtio-blk', 'virtio-net', 'virtio-rnd', 'ahci', 'e1000', 'fbuf', 'xhci'];
const [EFAULT, ENOTSUP] = [14, 45];

/** What is true of a guest at the moment of a save. */
export interface Moment {
  /** The guest has set up its AHCI ports; before that bhyve finds no address to save and gives up (seen with a ROM that has no driver). */
  readonly hasAhciPorts: boolean;
  /** A model that has no code for saving today, whatever it has in life. */
  readonly unsavableModel?: string | undefined;
}

/** `type@pci.B.S.F` */
export const nameOf = ({ model, bus, slot, func }: PciDevice): string => `${model}@pci.${bus}.${slot}.${func}`;

const isOfTypeList = (save: SaveFacts): boolean => save.family !== 'kern-structs';

/** The devices of `.meta` in their order, up to and with the first that cannot be saved. */
export function deviceEntries(save: SaveFacts, devices: readonly PciDevice[], moment: Moment): SaveEntry[] {
  const entry = (name: string, model: string): SaveEntry => {
    const bytes = model === 'fbuf' ? save.screenBytes : (deviceBytes[model] ?? 0);
    if (model === moment.unsavableModel) return { name, bytes: 0, errno: ENOTSUP };
    if (model === 'ahci' && !moment.hasAhciPorts) return { name, bytes: 0, errno: EFAULT };
    return isOfTypeList(save) || model === 'atkbdc' || savableModels.includes(model) || (model === 'nvme' && save.savesNvme) ? { name, bytes } : { name, bytes: 0, errno: ENOTSUP };
  };
  const has = (type: string): boolean => type === 'atkbdc' || devices.some(({ model }) => model === type);
  const all = isOfTypeList(save)
    ? savedTypes.map((type) => (has(type) ? entry(type, type) : { name: type, bytes: 0 }))
    : [...devices.map((device) => entry(nameOf(device), device.model)), entry('atkbdc', 'atkbdc')];
  const failing = all.findIndex(({ errno }) => errno !== undefined);
  return failing < 0 ? all : all.slice(0, failing + 1);
}

/** Devices whose state is in no entry: after a restore they are as after a reset. A host bridge has no state. */
export function lostDevices(save: SaveFacts, devices: readonly PciDevice[]): PciDevice[] {
  if (!isOfTypeList(save)) return [];
  return devices.filter(({ model }, index) => model !== 'hostbridge' && (!savedTypes.includes(model) || devices.findIndex((other) => other.model === model) < index));
}

/** What 13 says on stderr about types that a guest has no device of, while it pauses, saves or resumes; `upTo` is the type at which a save failed. */
export function absentTypes(save: SaveFacts, devices: readonly PciDevice[], what: 'pause' | 'snapshot' | 'resume', upTo?: string): string {
  if (!isOfTypeList(save)) return '';
  const asked = what === 'snapshot' ? savedTypes.slice(0, upTo === undefined ? undefined : savedTypes.indexOf(upTo)) : pausedTypes;
  const absent = asked.filter((type) => type !== 'atkbdc' && !devices.some(({ model }) => model === type));
  return absent.map((type) => `pci_${what}: no such name: ${type}${what === 'snapshot' ? '\r' : ''}\n`).join('');
}
