/**
 * A save, in bhyve's order: three files (two of UPB's), the guest stopped, memory, kernel structs, devices, `.meta`; then the VM is destroyed, or
 * goes on. `.meta` is a buffered stream in life: here too it stays empty until everything else is written, and is cut where the save failed.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { Machine } from './bhyve-machine.js';
import type { Plan } from './bhyve-plan.js';
import { checkpointDisks } from './libvdsk.js';
import { writeMemory } from './machine-memory.js';
import { hasAhciPorts, readState } from './machine-state.js';
import { type SaveFaults, readSaveFaults } from './save-faults.js';
import { absentTypes, deviceEntries, kernelEntries } from './save-layout.js';
import { type MetaEntry, metaText } from './save-meta.js';
import type { SaveRequest } from './save-socket.js';
import { err, strerror } from './tool.js';

const NAME_MAX = 255;

interface SaveFiles {
  readonly memory: FileHandle;
  /** Undefined where the state is in `.meta`. */
  readonly kernel: FileHandle | undefined;
  readonly meta: FileHandle;
}

/** A save that cannot go on: bhyve's own words, then the guest is resumed. */
class SaveFailure extends Error {}

/** True if the guest was to be suspended and everything is written: its VM is to be destroyed. Otherwise it runs on when this returns. */
export async function saveGuest(plan: Plan, machine: Machine, folder: string, request: SaveRequest): Promise<boolean> {
  const save = plan.node.facts.save!;
  const path = request.folder === undefined ? resolve(request.filename) : join(request.folder, basename(request.filename));
  if ((request.folder === undefined ? path : basename(path)).length + '.kern'.length > NAME_MAX) {
    err('Filename exceeds maximum length.\nFailed to construct kernel data filename.\n');
    return false;
  }
  const opened: FileHandle[] = [];
  let isDone = false;
  try {
    refuseBeyondSandbox(plan, path);
    const files = await openFiles(plan, path, opened);
    await machine.command('stop');
    err(absentTypes(save, plan.devices, 'pause'));
    if (request.disks !== undefined) await checkpointDisks(plan, machine, request.disks, basename(path)).catch((error: Error) => Promise.reject(new SaveFailure(`${error.message}\n`)));
    await writeAll(plan, machine, `${folder}/state`, files);
    isDone = request.suspend;
  } catch (error) {
    err(error instanceof SaveFailure ? error.message : `stand-in: the save failed: ${String(error)}\n`);
  } finally {
    if (!isDone) err(absentTypes(save, plan.devices, 'resume'));
    for (const file of opened) await file.close();
  }
  if (!isDone) await machine.command('cont');
  return isDone;
}

/** UPB's Capsicum: openat below the folder of the first disk, and nothing else. */
function refuseBeyondSandbox(plan: Plan, path: string): void {
  if (plan.node.facts.save!.sandbox !== 'first-disk') return;
  const disk = plan.devices.map(({ bus, slot, func }) => `pci.${bus}.${slot}.${func}`)
    .flatMap((at) => plan.config.expanded(`${at}.path`) ?? plan.config.expanded(`${at}.port.0.path`) ?? [])[0];
  if (disk === undefined || !path.startsWith(`${dirname(disk)}/`)) throw new SaveFailure('Failed to create checkpoint file: Not permitted in capability mode\n');
}

async function openFiles(plan: Plan, path: string, opened: FileHandle[]): Promise<SaveFiles> {
  const create = async (name: string, mode: number, complaint: string): Promise<FileHandle> => {
    try {
      const file = await open(name, 'w', mode);
      opened.push(file);
      return file;
    } catch (error) {
      throw new SaveFailure(`${complaint}: ${strerror(error)}\n`);
    }
  };
  const { family } = plan.node.facts.save!;
  const kernel = family === 'upb-json' ? undefined : await create(`${path}.kern`, 0o700, 'Failed to open kernel data snapshot file.');
  const memory = await create(path, 0o700, 'Failed to create checkpoint file');
  const meta = await create(`${path}.meta`, family === 'kern-structs' ? 0o700 : 0o666, 'Failed to open vm metadata snapshot file.');
  return { memory, kernel, meta };
}

async function writeAll(plan: Plan, machine: Machine, scratch: string, files: SaveFiles): Promise<void> {
  const save = plan.node.facts.save!;
  const faults = readSaveFaults(plan.node);
  const bytes = plan.memoryMiB * 2 ** 20;
  try {
    await writeMemory(machine.pid, files.memory, bytes, faults);
  } catch (error) {
    plan.say('\r\n');
    const reason = strerror(error);
    throw new SaveFailure(`Failed to write in file: ${reason}\nvm_snapshot_mem: Could not write lowmem\r\nCould not write guest memory to file: ${reason}\n`);
  }
  plan.say('\r\n');
  const kernel = kernelEntries(save, plan.cpus);
  const devices: MetaEntry[] = deviceEntries(save, plan.devices, { hasAhciPorts: await hasAhciPorts(machine), unsavableModel: faults.unsavableModel });
  const failing = devices.at(-1)!;
  err(absentTypes(save, plan.devices, 'snapshot', failing.errno === undefined ? undefined : failing.name));
  if (failing.errno === undefined) {
    const lpc = devices.findIndex(({ name }) => name === 'lpc' || name.startsWith('lpc@'));
    devices[lpc] = { ...devices[lpc]!, extra: await readState(machine, scratch) };
  }
  if (files.kernel !== undefined) await writeKernel(files.kernel, [...kernel, ...devices]);
  const text = metaText(save, { name: plan.name, cpus: plan.cpus, bytes, flags: memoryFlags(plan) }, kernel, devices);
  await writeMeta(files.meta, text, faults);
  if (failing.errno !== undefined) {
    const end = save.lineEnd;
    throw new SaveFailure(`Failed to snapshot ${failing.name}; ret=${failing.errno}${end}Failed to snapshot device state.\n`);
  }
}

/** VM_MEM_F_INCORE and VM_MEM_F_WIRED of vmmapi. */
const memoryFlags = ({ config }: Plan): number => (config.boolean('memory.guest_in_core', false) ? 1 : 0) | (config.boolean('memory.wired', false) ? 2 : 0);

/** Entries one behind the other. What bhyve would have in them does not matter to anybody: they are holes, and QEMU's state is behind one of them. */
async function writeKernel(file: FileHandle, entries: readonly MetaEntry[]): Promise<void> {
  let at = 0;
  try {
    for (const { bytes, extra } of entries) {
      at += bytes;
      if (extra === undefined) continue;
      await file.write(extra, 0, extra.length, at);
      at += extra.length;
    }
    await file.truncate(at);
  } catch (error) {
    throw new SaveFailure(`Failed to write all snapshotted data.: ${strerror(error)}\nFailed to snapshot device state.\n`);
  }
}

/** A buffered stream that nobody asks how it went: a full disk makes it short, and bhyve goes on as if it were not. */
async function writeMeta(file: FileHandle, text: string, faults: SaveFaults): Promise<void> {
  await file.write(faults.metaBytes === undefined ? text : text.slice(0, faults.metaBytes)).catch(() => undefined);
}
