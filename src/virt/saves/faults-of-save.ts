import { barePciBytes, kernelStructs, keyboard, modelOfType, nvmeInterruptBytes, oldKernelStruct, statelessModel } from './formats.js';
import { kernelKey } from './parse-save-meta.js';
import type { SaveExpectation, SaveMeta, SaveSizes, StateNode } from './types.js';

/** One entry as the checks see it. */
interface Entry {
  /** `devices[3]` */
  readonly path: string;
  readonly name: string;
  readonly isEmpty: boolean;
}

/**
 * What is wrong with a save; [] = complete, and restorable as far as description and sizes can show: it is of this guest, FILE holds all memory, FILE.kern
 * exactly what is described, every struct of the kernel is there, and every device of the configuration. Sentences for a human, with the
 * path of an entry that is wrong. Contents and checksums are not looked at: no stock format has any.
 */
export function faultsOfSave(meta: SaveMeta, expected: SaveExpectation, sizes: SaveSizes): readonly string[] {
  return [...identityFaults(meta, expected), ...memoryFaults(meta, sizes), ...layoutFaults(meta, sizes), ...kernelFaults(meta), ...deviceFaults(meta, expected), ...bareControllers(meta, expected)];
}

function identityFaults(meta: SaveMeta, expected: SaveExpectation): string[] {
  const faults: string[] = [];
  if (meta.guestName !== expected.guestName) faults.push(`it is of the guest ${meta.guestName}, not of ${expected.guestName}`);
  if (meta.vcpus !== expected.vcpus) faults.push(`it has ${meta.vcpus} vCPUs, the guest ${expected.vcpus}`);
  if (meta.memoryBytes !== expected.memoryBytes) faults.push(`it has ${meta.memoryBytes} bytes of memory, the guest ${expected.memoryBytes}`);
  return faults;
}

function memoryFaults({ memoryBytes }: SaveMeta, { ramBytes }: SaveSizes): string[] {
  if (ramBytes === null) return ['the file with the memory is missing'];
  return ramBytes === memoryBytes ? [] : [`the file with the memory has ${ramBytes} bytes instead of ${memoryBytes}`];
}

/** bhyve writes one part behind the other, the kernel's first; on restore it asserts that they lie inside the file, and does not check more. */
function layoutFaults(meta: SaveMeta, { kernelBytes }: SaveSizes): string[] {
  if (meta.family === 'upb-json') return []; // the state is in the description; a branch that writes FILE.kern as well says nothing of its size
  const faults: string[] = [];
  let end = 0n;
  for (const [key, parts] of [[kernelKey(meta.family), meta.kernel], ['devices', meta.devices]] as const) {
    for (const [index, { bytes, offset }] of parts.entries()) {
      if (offset !== end) faults.push(`${key}[${index}].file_offset is ${offset}, where the one before ends at ${end}`);
      end = offset! + bytes!;
    }
  }
  if (kernelBytes === null) faults.push('the file with the state (.kern) is missing');
  else if (kernelBytes !== end) faults.push(`the file with the state (.kern) has ${kernelBytes} bytes, the description ends at ${end}`);
  return faults;
}

function entriesOf(meta: SaveMeta, kind: 'kernel' | 'devices'): Entry[] {
  const key = kind === 'kernel' ? kernelKey(meta.family) : 'devices';
  const group = membersOf(meta.state).get(kind);
  const states = [...membersOf(group ?? null).values()];
  return meta[kind].map(({ name, bytes }, index) => ({
    path: `${key}[${index}]`, name, isEmpty: bytes === null ? membersOf(states[index] ?? null).size === 0 : bytes === 0n,
  }));
}

const membersOf = (node: StateNode | null): ReadonlyMap<string, StateNode> => (node?.kind === 'group' ? node.members : new Map<string, StateNode>());

function kernelFaults(meta: SaveMeta): string[] {
  const entries = entriesOf(meta, 'kernel');
  const names = new Set(entries.map(({ name }) => name));
  const known = meta.family === 'structs' ? [...kernelStructs, oldKernelStruct] : kernelStructs;
  return [
    ...kernelStructs.filter((name) => !names.has(name)).map((name) => `${kernelKey(meta.family)}: the kernel struct ${name} is missing`),
    ...repeated(entries),
    // Seen on 13.2 with vmx: "Kernel struct size was 0 for: vmx", and the restore ends there.
    ...entries.filter(({ name, isEmpty }) => isEmpty && known.includes(name)).map(({ name }) => `this host's bhyve cannot restore it: kernel struct ${name} is empty`),
  ];
}

const repeated = (entries: readonly Entry[]): string[] =>
  entries.filter(({ name }, index) => entries.findIndex((other) => other.name === name) !== index).map(({ path, name }) => `${path}: ${name} is there twice`);

function deviceFaults(meta: SaveMeta, expected: SaveExpectation): string[] {
  const entries = entriesOf(meta, 'devices');
  switch (meta.family) {
    case 'kern-structs': return faultsByAddress(entries, expected);
    case 'structs': return [...repeated(entries), ...faultsByType(entries, expected), ...tooFew(entries, expected)];
    case 'upb-json': return [...faultsByType(entries, expected), ...tooFew(entries, expected)];
  }
}

/** One entry per PCI device, named by its address, and the keyboard. bhyve does not restore a save in which a device is missing. */
function faultsByAddress(entries: readonly Entry[], { devices }: SaveExpectation): string[] {
  const wanted = [...devices.map(({ model, slot }) => `${model}@pci.0.${slot}.0`), keyboard];
  return [
    ...repeated(entries),
    ...wanted.filter((name) => !entries.some((entry) => entry.name === name)).map((name) => `devices: ${name} is missing`),
    ...entries.filter(({ name, isEmpty }) => isEmpty && wanted.includes(name)).map(({ path, name }) => `${path}: ${name} is empty`),
    ...entries.filter(({ name }) => !wanted.includes(name)).map(({ path, name }) => `${path}: ${name} is in the save, but not in the guest`),
  ];
}

/** Entries by type: what the guest has is not empty, what it has not is (FreeBSD 13 lists every type that it knows). */
function faultsByType(entries: readonly Entry[], { devices }: SaveExpectation): string[] {
  const wanted = new Set([...devices.map(({ model }) => model), keyboard]);
  const saved = entries.filter(({ isEmpty }) => !isEmpty);
  return [
    ...[...wanted].filter((model) => model !== statelessModel && !saved.some(({ name }) => modelOfType(name) === model))
      .map((model) => `devices: there is nothing of ${model}`),
    ...saved.filter(({ name }) => !wanted.has(modelOfType(name))).map(({ path, name }) => `${path}: ${name} is in the save, but not in the guest`),
  ];
}

/** FreeBSD 13 saves the first device of a type; a branch that saves them all repeats the type. */
function tooFew(entries: readonly Entry[], { devices }: SaveExpectation): string[] {
  const count = (model: string): number => entries.filter(({ name, isEmpty }) => !isEmpty && modelOfType(name) === model).length;
  return [...new Set(devices.map(({ model }) => model))].flatMap((model) => {
    const wanted = devices.filter((device) => device.model === model).length;
    return count(model) > 0 && count(model) < wanted ? [`devices: ${count(model)} of ${wanted} ${model} saved`] : [];
  });
}

/**
 * An NVMe controller of which nothing but its PCI part is saved comes back as after a reset, and what the guest had given it to do is lost. Formats with sizes
 * only: in the others an entry without members is found anyway.
 */
function bareControllers({ devices }: SaveMeta, expected: SaveExpectation): string[] {
  if (!expected.devices.some(({ model }) => model === 'nvme')) return [];
  const bare = (devices.find(({ name }) => name.startsWith(`${statelessModel}@`))?.bytes ?? barePciBytes) + nvmeInterruptBytes;
  return devices.flatMap(({ name, bytes }, index) =>
    (bytes !== null && bytes !== 0n && bytes <= bare && name.split('@')[0] === 'nvme' ? [`devices[${index}]: ${name} has ${bytes} bytes, no more than its PCI part`] : []));
}
