import { describe, expect, test } from 'vitest';
import { faultsOfSave, parseSaveMeta, type SavableDevice, type SaveExpectation, type SaveMeta } from '../../../../src/virt/index.js';
import { recordedSave, recordedSaves, type RecordedSave } from '../../../fakes/recorded-saves.js';
import { renderSaveMeta, type WrittenSave } from '../../../fakes/save-meta.js';

const expectationOf = (devices: readonly SavableDevice[]): SaveExpectation => ({ guestName: 'vm1', vcpus: 1, memoryBytes: 64n * 1024n ** 2n, devices });
const faultsOfRecorded = (save: RecordedSave, devices = save.devices!): readonly string[] => faultsOfSave(parseSaveMeta(save.text), expectationOf(devices), save.sizes!);

describe('saves of a real 13.2', () => {
  test('are put together again to the byte from what was recorded of them', () => {
    expect(recordedSaves.length).toBe(21);
    expect(recordedSaves.filter(({ text, metaBytes }) => metaBytes !== null && text.length !== metaBytes).map(({ name }) => name)).toEqual([]);
    const shown = recordedSave('stock', 'ck');
    expect(shown.isShownInFull).toBe(true);
    const { kernel, devices } = parseSaveMeta(shown.text);
    const bytesOf = (parts: SaveMeta['kernel']): WrittenSave['kernel'] => parts.map(({ name, bytes }) => ({ name, bytes: bytes! }));
    expect(renderSaveMeta({ family: 'structs', vcpus: 1, guestName: 'vm1', memoryBytes: 67108864n, kernel: bytesOf(kernel), devices: bytesOf(devices) })).toBe(shown.text);
  });

  test('are good where each device is the only one of its type and bhyve does not write an empty vmx', () => {
    for (const name of ['none', 'blknet', 'e1000', 'rnd', 'fbuf', 'wired', 'ck']) expect(faultsOfRecorded(recordedSave('without vmx', name)), name).toEqual([]);
  });

  test('cannot be restored by the stock bhyve, because of its empty vmx', () => {
    for (const name of ['none', 'blknet']) expect(faultsOfRecorded(recordedSave('stock', name)), name).toEqual(['this host\'s bhyve cannot restore it: kernel struct vmx is empty']);
  });

  test('lack the second device of a type', () => {
    expect(faultsOfRecorded(recordedSave('without vmx', 'twoblk'))).toEqual(['devices: 1 of 2 virtio-blk saved']);
    expect(faultsOfRecorded(recordedSave('without vmx', 'twonet'))).toEqual(['devices: 1 of 2 virtio-net saved']);
  });

  test('lack what bhyve does not know how to save', () => {
    expect(faultsOfRecorded(recordedSave('without vmx', 'nvme'))).toEqual(['devices: there is nothing of nvme']);
    expect(faultsOfRecorded(recordedSave('without vmx', '9p'))).toEqual(['devices: there is nothing of virtio-9p']);
    expect(faultsOfRecorded(recordedSave('without vmx', 'console'))).toEqual(['devices: there is nothing of virtio-console']);
  });

  test('may have an AHCI controller under the name of one of its ports', () => {
    const { text, sizes } = recordedSave('without vmx', 'rnd');
    const meta = parseSaveMeta(text.replace('"virtio-rnd"', '"spare"').replace('"ahci-hd"', '"virtio-rnd"').replace('"spare"', '"ahci-hd"'));
    const guest = [{ model: 'ahci', slot: 2 }, { model: 'lpc', slot: 31 }];
    expect(faultsOfSave(meta, expectationOf(guest), sizes!)).toEqual([]);
    expect(faultsOfSave(meta, expectationOf([...guest, { model: 'ahci', slot: 3 }]), sizes!)).toEqual(['devices: 1 of 2 ahci saved']);
    expect(faultsOfSave(meta, expectationOf(guest.slice(1)), sizes!)).toEqual(['devices[3]: ahci-hd is in the save, but not in the guest']);
  });

  test('that bhyve gave up are cut short for ever', () => {
    for (const [host, name] of [['stock', 'ahcihd'], ['without vmx', 'ahcihd'], ['without vmx', 'ahci']] as const) {
      const save = recordedSave(host, name);
      expect(save.devices, 'the guest went on').toBeNull();
      expect(() => parseSaveMeta(save.text)).toThrow('devices is cut short');
    }
  });
});

const memoryBytes = 5n * 1024n ** 3n;
const devices: readonly SavableDevice[] = [
  { model: 'hostbridge', slot: 0 }, { model: 'virtio-blk', slot: 3 }, { model: 'virtio-blk', slot: 4 }, { model: 'virtio-net', slot: 16 }, { model: 'lpc', slot: 31 },
];
const expected: SaveExpectation = { guestName: 'vm1', vcpus: 2, memoryBytes, devices };
const later: WrittenSave = {
  family: 'kern-structs', vcpus: 2, guestName: 'vm1', memoryBytes,
  kernel: ['vhpet', 'vm', 'vioapic', 'vlapic', 'vmcx', 'vatpit', 'vatpic', 'vpmtmr', 'vrtc'].map((name, index) => ({ name, bytes: BigInt(index + 4) })),
  devices: [...devices.map(({ model, slot }) => `${model}@pci.0.${slot}.0`), 'atkbdc'].map((name) => ({ name, bytes: 512n })),
};
const end = (save: WrittenSave): bigint => [...save.kernel, ...save.devices].reduce((sum, { bytes }) => sum + bytes, 0n);
const faultsOf = (changes: Partial<WrittenSave>, sizes: { ramBytes?: bigint | null; kernelBytes?: bigint | null } = {}): readonly string[] => {
  const save = { ...later, ...changes };
  return faultsOfSave(parseSaveMeta(renderSaveMeta(save)), expected, { ramBytes: memoryBytes, kernelBytes: end(save), ...sizes });
};

describe('a save of a later release', () => {
  test('is good with every device by its address, two of a type as well', () => {
    expect(faultsOf({})).toEqual([]);
  });

  test('is of this guest, or is refused', () => {
    expect(faultsOf({ guestName: 'other' })).toEqual(['it is of the guest other, not of vm1']);
    expect(faultsOf({ vcpus: 4 })).toEqual(['it has 4 vCPUs, the guest 2']);
    expect(faultsOf({ memoryBytes: 1024n }, { ramBytes: 1024n })).toEqual(['it has 1024 bytes of memory, the guest 5368709120']);
  });

  test('needs both files, with exactly what is described', () => {
    expect(faultsOf({}, { ramBytes: null, kernelBytes: null })).toEqual(['the file with the memory is missing', 'the file with the state (.kern) is missing']);
    expect(faultsOf({}, { ramBytes: memoryBytes - 1n })).toEqual(['the file with the memory has 5368709119 bytes instead of 5368709120']);
    expect(faultsOf({}, { kernelBytes: end(later) - 1n })).toEqual([`the file with the state (.kern) has ${end(later) - 1n} bytes, the description ends at ${end(later)}`]);
  });

  test('names a device that is missing, empty, double, or of another guest', () => {
    const without = (name: string): WrittenSave['devices'] => later.devices.filter((part) => part.name !== name);
    expect(faultsOf({ devices: without('virtio-blk@pci.0.4.0') })).toEqual(['devices: virtio-blk@pci.0.4.0 is missing']);
    expect(faultsOf({ devices: without('atkbdc') })).toEqual(['devices: atkbdc is missing']);
    expect(faultsOf({ devices: later.devices.map((part, index) => (index === 3 ? { ...part, bytes: 0n } : part)) })).toEqual(['devices[3]: virtio-net@pci.0.16.0 is empty']);
    expect(faultsOf({ devices: [...later.devices, { name: 'nvme@pci.0.5.0', bytes: 1n }] })).toEqual(['devices[6]: nvme@pci.0.5.0 is in the save, but not in the guest']);
    expect(faultsOf({ devices: [...later.devices, later.devices[1]!] })).toEqual(['devices[6]: virtio-blk@pci.0.3.0 is there twice']);
  });

  test('has more of an NVMe controller than of any PCI device: its bare part comes back as after a reset', () => {
    const guest = [...devices, { model: 'nvme', slot: 6 }];
    const faultsWith = (bytes: bigint, bridge = 508n): readonly string[] => {
      const saved = later.devices.map((part) => (part.name.startsWith('hostbridge@') ? { ...part, bytes: bridge } : part));
      const save = { ...later, devices: [...saved.slice(0, -1), { name: 'nvme@pci.0.6.0', bytes }, saved.at(-1)!] };
      return faultsOfSave(parseSaveMeta(renderSaveMeta(save)), { ...expected, devices: guest }, { ramBytes: memoryBytes, kernelBytes: end(save) });
    };
    expect(faultsWith(508n + 272n)).toEqual(['devices[5]: nvme@pci.0.6.0 has 780 bytes, no more than its PCI part']);
    expect(faultsWith(508n + 272n + 1n)).toEqual([]);
    expect(faultsWith(781n, 600n), 'a bhyve whose PCI part is larger').toEqual(['devices[5]: nvme@pci.0.6.0 has 781 bytes, no more than its PCI part']);
    expect(faultsWith(0n)).toEqual(['devices[5]: nvme@pci.0.6.0 is empty']);
  });

  test('names a struct of the kernel that is missing, empty or double', () => {
    expect(faultsOf({ kernel: later.kernel.slice(1) })).toEqual(['kern_structs: the kernel struct vhpet is missing']);
    expect(faultsOf({ kernel: later.kernel.map((part) => (part.name === 'vrtc' ? { ...part, bytes: 0n } : part)) })).toEqual(['this host\'s bhyve cannot restore it: kernel struct vrtc is empty']);
    expect(faultsOf({ kernel: [...later.kernel, later.kernel[0]!] })).toEqual(['kern_structs[9]: vhpet is there twice']);
  });

  test('has its parts one behind the other: neither gaps nor overlaps', () => {
    const moved = (from: string, to: string): readonly string[] =>
      faultsOfSave(parseSaveMeta(renderSaveMeta(later).replace(`"file_offset": ${from}\n`, `"file_offset": ${to}\n`)), expected, { ramBytes: memoryBytes, kernelBytes: end(later) });
    expect(moved('4', '5')).toEqual(['kern_structs[1].file_offset is 5, where the one before ends at 4', 'kern_structs[2].file_offset is 9, where the one before ends at 10']);
    expect(moved('72', '71')).toEqual(['devices[0].file_offset is 71, where the one before ends at 72', 'devices[1].file_offset is 584, where the one before ends at 583']);
    expect(moved('0', '1')).toContain('kern_structs[0].file_offset is 1, where the one before ends at 0');
  });
});
