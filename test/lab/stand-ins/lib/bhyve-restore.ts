/**
 * `bhyve -r FILE`, from where the devices are made: memory, devices, kernel structs, with bhyve's checks and words in bhyve's order; the lines on
 * stdout are its progress. Every failure is an exit of 1, except those that nobody thought of (139, 134, 65). A machine that comes through runs.
 */
import { readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Machine } from './bhyve-machine.js';
import { Abort, type Plan } from './bhyve-plan.js';
import { readMemory } from './machine-memory.js';
import { loadState, resetDevices } from './machine-state.js';
import type { SaveFacts } from './profiles.js';
import { readSaveFaults } from './save-faults.js';
import { type PlacedPart, type SavedFiles, findPart, partsOf } from './save-files.js';
import { absentTypes, kernelEntries, lostDevices, nameOf, savedTypes } from './save-layout.js';
import { Exit, err } from './tool.js';

/** What the lab adds to the state of an LPC bridge begins after bhyve's own. */
const LPC_BYTES = 620;

/** Restores a machine that was started with `-incoming defer` and lets it run. */
export async function restoreGuest(plan: Plan, machine: Machine, saved: SavedFiles, folder: string): Promise<void> {
  const save = plan.node.facts.save!;
  const progress = (text: string): void => plan.say(`${text}${save.lineEnd}`);
  progress('Pausing pci devs...');
  err(absentTypes(save, plan.devices, 'pause'));
  progress('Restoring vm mem...');
  await restoreMemory(plan, machine, saved);
  progress('Restoring pci devs...');
  const lpc = save.family === 'kern-structs' ? restoreNamedDevices(plan, saved) : restoreTypedDevices(plan, saved);
  progress('Restoring kernel structs...');
  if (save.family === 'kern-structs') restoreNamedStructs(plan, saved);
  else restoreTypedStructs(plan, saved);
  if (readSaveFaults(plan.node).isRestoreRefused) throw refusal(save.family);
  await loadState(machine, engineState(saved, lpc), `${folder}/state`);
  await resetDevices(machine, lostDevices(save, plan.devices));
  progress('Resuming pci devs...');
  err(absentTypes(save, plan.devices, 'resume'));
  await machine.command('cont');
}

/** The kernel does not take the last struct. */
const refusal = (family: SaveFacts['family']): Exit =>
  family === 'kern-structs' ? new Exit(65, 'bhyve: Failed to restore vrtc: Invalid argument\n') : new Exit(1, 'vm_restore_kern_struct: Failed to restore struct: vrtc\r\nFailed to restore kernel structs.\n');

async function restoreMemory(plan: Plan, machine: Machine, saved: SavedFiles): Promise<void> {
  const bytes = plan.memoryMiB * 2 ** 20;
  if (saved.memoryBytes !== bytes) throw new Exit(1, `vm_snapshot_mem: mem size mismatch: ${bytes} vs ${saved.memoryBytes}\r\nFailed to restore VM memory.\n`);
  const source = await open(saved.file, 'r');
  try {
    await readMemory(machine.pid, source, bytes);
  } finally {
    await source.close();
  }
  plan.say('\r\n');
}

/** An offset outside the file is an assertion of bhyve's. */
function checkPlace(saved: SavedFiles, part: PlacedPart): void {
  if (part.params !== undefined || part.offset + part.bytes <= saved.kernelBytes) return;
  throw new Abort('Assertion failed: ((uint64_t)file_offset + size <= rstate->kdata_len), function lookup_check_dev, file /usr/src/usr.sbin/bhyve/snapshot.c, line 482.\n');
}

/** 13 and UPB: the eleven types. What the save lacks is skipped; what the configuration lacks is a null pointer. The state of the LPC bridge. */
function restoreTypedDevices(plan: Plan, saved: SavedFiles): PlacedPart | undefined {
  const parts = partsOf(saved, 'devices') ?? [];
  for (const type of savedTypes) {
    const part = findPart(parts, 'snapshot_req', type);
    if (part === undefined) {
      err(`Failed to lookup dev: ${type}\r\nContinuing the restore/migration process\r\n`);
      continue;
    }
    checkPlace(saved, part);
    if (isUnused(part)) err(`vm_restore_user_dev: Device size is 0. Assuming ${type} is not used\r\n`);
    else if (type !== 'atkbdc' && !plan.devices.some(({ model }) => model === type)) throw new Abort(`pci_snapshot: no such name: ${type}\r\n`, 'SIGSEGV');
  }
  return findPart(parts, 'snapshot_req', 'lpc');
}

/** UPB has no sizes: a type without a device has no members. */
const isUnused = ({ bytes, params }: PlacedPart): boolean => (Array.isArray(params) ? Object.keys((params[0] ?? {}) as object).length === 0 : bytes === 0);

/** 14 and 15: every device of the configuration must be there. */
function restoreNamedDevices(plan: Plan, saved: SavedFiles): PlacedPart | undefined {
  const parts = partsOf(saved, 'devices');
  const failure = (words: string): Exit => new Exit(1, `${words}Failed to restore PCI device state.\n`);
  for (const name of [...plan.devices.map(nameOf), 'atkbdc']) {
    if (parts === undefined) throw failure(`Failed to find 'devices' object.\nFailed to lookup dev: ${name}\n`);
    const isOther = parts.some((part) => part['device'] === undefined);
    const part = findPart(parts, 'device', name);
    if (part === undefined) throw failure(`${isOther ? "Missing key: 'device'" : ''}Failed to lookup dev: ${name}\n`);
    checkPlace(saved, part);
    if (part.bytes === 0) throw failure(`Restore device size is 0: ${name}\n`);
  }
  return findPart(parts ?? [], 'device', nameOf(plan.devices.find(({ model }) => model === 'lpc')!));
}

function restoreTypedStructs(plan: Plan, saved: SavedFiles): void {
  const parts = partsOf(saved, 'structs');
  const failure = (words: string): Exit => new Exit(1, `${words}Failed to restore kernel structs.\n`);
  for (const { name } of kernelEntries(plan.node.facts.save!, plan.cpus)) {
    if (parts === undefined) throw failure(`Failed to find 'structs' object.\nvm_restore_kern_struct: Failed to lookup struct ${name}\r\n`);
    const part = findPart(parts, 'debug_name', name);
    if (part === undefined) throw failure(`vm_restore_kern_struct: Failed to lookup struct ${name}\r\n`);
    if (isUnused(part)) throw failure(`vm_restore_kern_struct: Kernel struct size was 0 for: ${name}\r\n`);
  }
}

function restoreNamedStructs(plan: Plan, saved: SavedFiles): void {
  for (const { name } of kernelEntries(plan.node.facts.save!, plan.cpus)) {
    const part = findPart(partsOf(saved, 'kern_structs') ?? [], 'device', name);
    if (part === undefined) throw new Exit(65, `bhyve: Cannot find kern struct ${name}\n`);
    if (part.bytes === 0) throw new Exit(65, `bhyve: data with zero size for ${name}\n`);
  }
}

/** QEMU's part of the save. A save of a real host has none. */
function engineState(saved: SavedFiles, lpc: PlacedPart | undefined): Buffer {
  const [first] = (Array.isArray(lpc?.params) ? lpc.params : []) as { readonly engine$b64?: string }[];
  if (first?.engine$b64 !== undefined) return Buffer.from(first.engine$b64, 'base64');
  if (lpc === undefined || lpc.bytes <= LPC_BYTES) throw new Exit(70, 'stand-in: this save was not made in a lab\n');
  return readFileSync(`${saved.file}.kern`).subarray(lpc.offset + LPC_BYTES, lpc.offset + lpc.bytes);
}
