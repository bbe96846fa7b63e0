/** What a fake bhyve writes when it saves a guest, in the form of one family; and what it is told to do instead. */
import type { SaveFamily } from '../../src/virt/saves/index.js';

export interface SavingHost {
  family: Exclude<SaveFamily, 'upb-json'>;
  /** How bhyve ends a save: 0 up to 14, 5 from 15.1 on. */
  exit: 0 | 5;
  /**
   * complete; refused: nothing is written, the guest goes on; fails: half the memory is written, then it goes on; cut: it ends with a description that is cut short;
   * short: with half the memory and a whole description;
   * stuck: half is written, and then nothing happens any more; dies: it is killed in the middle.
   */
  outcome: 'complete' | 'refused' | 'fails' | 'cut' | 'short' | 'stuck' | 'dies';
  /** What bhyvectl ends with, whatever becomes of the save. */
  requestCode: number;
  /** Milliseconds from the request to the outcome. */
  tookMs: number;
  /** taken; refused: bhyve ends with 1; crashes: it goes up and dies at once; cold: it forgets what it knew. */
  restore: 'taken' | 'refused' | 'crashes' | 'cold';
  /** A guest that has one of these models of devices is refused (ENOTSUP): the save fails, and it goes on. */
  readonly withoutCode: Set<string>;
  /** Files may be beside the first disk only (UPB's Capsicum). */
  isConfined: boolean;
  /** Of an NVMe controller only the PCI part is saved. */
  savesBareNvme: boolean;
}

export const goodSaves = (): SavingHost => ({ family: 'kern-structs', exit: 5, outcome: 'complete', requestCode: 64, tookMs: 3000, restore: 'taken', withoutCode: new Set(), savesBareNvme: false, isConfined: false });

const kernel = ['vhpet', 'vm', 'vioapic', 'vlapic', 'vmcx', 'vatpit', 'vatpic', 'vpmtmr', 'vrtc'];
const types13 = ['atkbdc', 'virtio-net', 'virtio-blk', 'virtio-rnd', 'lpc', 'fbuf', 'xhci', 'e1000', 'ahci', 'ahci-hd', 'ahci-cd'];
const partBytes = 64;
/** Registers and queues of a controller. */
const nvmeBytes = 1024;

export interface WrittenSave { readonly ram: Uint8Array; readonly kern: Uint8Array; readonly meta: string }

/** `memory`: what the guest remembers. */
export function saveOf(name: string, config: string, memory: string, { family, savesBareNvme }: Pick<SavingHost, 'family' | 'savesBareNvme'>): WrittenSave {
  const value = (key: string): string => new RegExp(`^${key.replaceAll('.', '\\.')}=(.*)$`, 'm').exec(config)?.[1] ?? '';
  const devices = [...config.matchAll(/^pci\.0\.(\d+)\.0\.device=(.+)$/gm)].map(([, slot, model]) => ({ slot: Number(slot), model: model! })).sort((a, b) => a.slot - b.slot);
  const memoryBytes = Number(value('memory.size').replace('M', '')) * 1024 * 1024;
  let offset = 0;
  const part = <T extends object>(fields: T, bytes = partBytes): T & { size: number; file_offset: number } => {
    const entry = { ...fields, size: bytes, file_offset: offset };
    offset += bytes;
    return entry;
  };
  const has = (type: string): boolean => type === 'atkbdc' || devices.some(({ model }) => model === type);
  const basic = { 'basic metadata': { ncpus: Number(value('cpus')), vmname: name, memsize: memoryBytes, memflags: 0 } };
  const meta = family === 'kern-structs'
    ? { ...basic, kern_structs: kernel.map((device) => part({ device })), devices: [...devices.map(({ slot, model }) => part({ device: `${model}@pci.0.${slot}.0` }, model === 'nvme' && !savesBareNvme ? nvmeBytes : partBytes)), part({ device: 'atkbdc' })] }
    : { ...basic, structs: kernel.map((name_, index) => part({ debug_name: name_, snapshot_req: index + 1 })), devices: types13.map((type) => part({ snapshot_req: type }, has(type) ? partBytes : 0)) };
  const ram = new Uint8Array(memoryBytes);
  ram.set(Buffer.from(`${memory}\n`));
  return { ram, kern: new Uint8Array(offset), meta: JSON.stringify(meta, null, 2) };
}

export const memoryIn = (ram: Uint8Array): string => Buffer.from(ram.subarray(0, 200)).toString().split('\n')[0] ?? '';
