/**
 * Virtual machines as the vmm kernel module keeps them: an entry in DEV/vmm and what is known of it in NODE/run/vmm/NAME.json. The
 * entry outlives bhyve. Busy means: a bhyve runs it, or one ended without saying goodbye (killed, aborted).
 */
import { createConnection } from 'node:net';
import { existsSync, lstatSync, mkdirSync, readdirSync, rmSync, rmdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { isAlive, readState, type StandInNode, withLock, writeState } from './lab-node.js';

export interface VmState {
  readonly memoryMiB: number | null;
  readonly cpus: number;
  /** bhyve that has it, or had it when it was killed; null after a clean end. */
  readonly pid: number | null;
  readonly qemuPid: number | null;
  /** Control socket of that bhyve. */
  readonly control: string | null;
  /** vm_suspend was called; a second time is an error until bhyve takes the VM anew. */
  readonly isSuspended: boolean;
}

const fileOf = (name: string): string => join('vmm', `${Buffer.from(name).toString('hex').slice(0, 200)}.json`);
const entryOf = (node: StandInNode, name: string): string => join(node.dev, 'vmm', name);

export const vmExists = (node: StandInNode, name: string): boolean => name !== '' && existsSync(entryOf(node, name)) && !lstatSync(entryOf(node, name)).isDirectory();

export const readVm = (node: StandInNode, name: string): VmState =>
  readState<VmState>(node, fileOf(name), { memoryMiB: null, cpus: 1, pid: null, qemuPid: null, control: null, isSuspended: false });

export function writeVm(node: StandInNode, name: string, change: Partial<VmState>): void {
  writeState(node, fileOf(name), { ...readVm(node, name), ...change });
}

/** vm_create: names as the kernel takes them. */
export function createVm(node: StandInNode, name: string): 'created' | 'exists' | 'bad-name' {
  if (name.length > 229 || name === '' || /[\s]|^\.\.?$|(^|\/)\.\.(\/|$)/.test(name)) return 'bad-name';
  if (vmExists(node, name)) return 'exists';
  mkdirSync(dirname(entryOf(node, name)), { recursive: true });
  writeFileSync(entryOf(node, name), '', { mode: 0o600 });
  writeVm(node, name, { memoryMiB: null, cpus: 1, pid: null, qemuPid: null, control: null, isSuspended: false });
  return 'created';
}

/** Removes the entry; /dev/vmm itself goes with the last one. */
export function removeVm(node: StandInNode, name: string): void {
  rmSync(entryOf(node, name), { force: true });
  rmSync(join(node.run, fileOf(name)), { force: true });
  const top = join(node.dev, 'vmm');
  for (let folder = dirname(entryOf(node, name)); folder.length >= top.length && existsSync(folder) && readdirSync(folder).length === 0; folder = dirname(folder)) rmdirSync(folder);
}

export const isRunning = (vm: VmState): boolean => vm.pid !== null && isAlive(vm.pid);

/** Takes a VM for this process: a new one, or one that was left in good order. */
export function takeVm(node: StandInNode, name: string, memoryMiB: number, cpus: number): 'ok' | 'busy' | 'bad-name' | 'other-memory' {
  return withLock(node, 'vmm', () => {
    if (createVm(node, name) === 'bad-name') return 'bad-name';
    const vm = readVm(node, name);
    if (vm.pid !== null) return 'busy';
    if (vm.memoryMiB !== null && vm.memoryMiB !== memoryMiB) return 'other-memory';
    writeVm(node, name, { memoryMiB, cpus, pid: process.pid, qemuPid: null, control: null, isSuspended: false });
    return 'ok';
  });
}

export type Order = 'poweroff' | 'reset' | 'destroy' | 'nmi';

/** Tells the bhyve of a VM to do something; resolves when it has taken the order, or at once if it is gone. */
export async function order(vm: VmState, what: Order): Promise<void> {
  const { control } = vm;
  if (control === null || !isRunning(vm)) return;
  await new Promise<void>((resolve) => {
    const socket = createConnection(control, () => socket.write(`${what}\n`));
    socket.setTimeout(5000, () => socket.destroy());
    socket.on('data', () => socket.end());
    socket.on('error', () => resolve());
    socket.on('close', () => resolve());
  });
}
