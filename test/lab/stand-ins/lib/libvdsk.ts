/**
 * libvdsk, the disk library of FreeBSD-UPB (master of 2021), on QEMU: which files are qcow2 to it and which of those it opens, and the checkpoints of its branch
 * `bhyve_checkpoint`, of which only the wiki's page is known. Opening follows its qcow.c; what is not known of the branch and was chosen: the overlay of an
 * external checkpoint lies beside its disk, the saved memory in bhyve's working directory, and deleting a checkpoint leaves that where it is.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, existsSync, openSync, readSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { BhyveConfig, ConfigTree } from './bhyve-config.js';
import type { Machine } from './bhyve-machine.js';
import type { Plan } from './bhyve-plan.js';
import { err } from './tool.js';

const qemuImg = (...args: string[]): string => execFileSync('qemu-img', args, { stdio: ['ignore', 'pipe', 'pipe'] }).toString();

function head(file: string): Buffer {
  const fd = openSync(file, 'r');
  try {
    const buffer = Buffer.alloc(65_536);
    return buffer.subarray(0, readSync(fd, buffer, 0, buffer.length, 0));
  } finally {
    closeSync(fd);
  }
}

/**
 * By its first octets, whatever the guest or its owner meant; then with all files below it. Throws what `failure` makes of libvdsk's words for one that it does not open:
 * features beyond dirty and corrupt (read in version 2 too), other cluster sizes in the chain, a backing file that is not there, seen from bhyve's working directory.
 */
export function isQcow2(file: string, failure: (words: string) => Error): boolean {
  const header = head(file);
  if (header.length < 104 || header.toString('latin1', 0, 4) !== 'QFI\xfb') return false;
  if ((header.readBigUInt64BE(72) & ~3n) !== 0n) throw failure('unsupported features\nExit err_out\r\n');
  const [offset, length] = [Number(header.readBigUInt64BE(8)), header.readUInt32BE(16)];
  if (length === 0) return true;
  const name = header.toString('utf8', offset, offset + length);
  // QEMU looks for a relative name beside the file: where that is another file, there is no base to libvdsk.
  const isSeen = existsSync(resolve(name)) && resolve(name) === resolve(dirname(file), name);
  if (!isSeen || !isQcow2(resolve(name), failure)) throw failure('There is no qc->base\nExit err_l1_out\r\n');
  if (head(resolve(name)).readUInt32BE(20) !== header.readUInt32BE(20)) throw failure('all disks must share clustersize\nExit err_base_out\r\n');
  return true;
}

interface Inserted { readonly file: string; readonly 'node-name': string }

/** What each qcow2 drive writes to now. */
async function inserted({ qcowDisks }: Plan, machine: Machine): Promise<{ readonly drive: string; readonly file: string; readonly node: string }[]> {
  const blocks = (await machine.command('query-block')) as { readonly device: string; readonly inserted?: Inserted }[];
  return qcowDisks.map(({ drive }) => {
    const { file, 'node-name': node } = blocks.find(({ device }) => device === drive)!.inserted!;
    return { drive, file, node };
  });
}

/** Disks of a stopped machine. Fails in words before anything is changed if a disk is not on an AHCI controller, or not qcow2, or an overlay's name is taken. */
export async function checkpointDisks(plan: Plan, machine: Machine, kind: 'internal' | 'external' | 'delete', name: string): Promise<void> {
  const others = plan.devices.filter(({ model }) => model === 'virtio-blk' || model === 'nvme');
  if (others.length > 0 || plan.qcowDisks.length === 0 || !plan.qcowDisks.every(({ isAhci }) => isAhci)) throw new Error('libvdsk: checkpoints are of qcow2 disks on AHCI controllers');
  const disks = await inserted(plan, machine);
  if (kind !== 'external') {
    for (const { drive } of disks) await machine.command('blockdev-snapshot-internal-sync', { device: drive, name });
    return;
  }
  const overlays = disks.map(({ file }) => join(dirname(file), name));
  if (new Set(overlays).size < overlays.length || overlays.some((file) => existsSync(file))) throw new Error(`libvdsk: ${name}: File exists`);
  for (const [index, { file, node }] of disks.entries()) {
    const overlay = overlays[index]!;
    qemuImg('create', '-q', '-f', 'qcow2', '-o', `cluster_size=${2 ** head(file).readUInt32BE(20)}`, '-b', file, '-F', 'qcow2', overlay);
    const nodeName = `overlay-${process.hrtime.bigint()}`;
    await machine.command('blockdev-add', { driver: 'qcow2', 'node-name': nodeName, backing: null, file: { driver: 'file', filename: overlay, locking: 'off' } });
    await machine.command('blockdev-snapshot', { node, overlay: nodeName });
  }
}

/** Inside the disks that have it; the guest goes on all the while. */
export async function deleteCheckpoint(plan: Plan, machine: Machine, name: string): Promise<void> {
  for (const { drive } of await inserted(plan, machine)) {
    await machine.command('blockdev-snapshot-delete-internal-sync', { device: drive, name }).catch((error: Error) => err(`libvdsk: ${error.message}\n`));
  }
}

/** `-r NAME`: each disk that has a snapshot of the name inside goes back to the first of them; the others are as they are. */
export function goBack(config: BhyveConfig, name: string): void {
  for (const path of pathsIn(config.node('pci') ?? new Map<string, ConfigTree>())) {
    if (!existsSync(path) || head(path).toString('latin1', 0, 4) !== 'QFI\xfb') continue;
    const { snapshots = [] } = JSON.parse(qemuImg('info', '-U', '--output=json', '-f', 'qcow2', path)) as { snapshots?: { id: string; name: string }[] };
    const first = snapshots.find((snapshot) => snapshot.name === name);
    if (first !== undefined) qemuImg('snapshot', '-q', '-a', first.id, path);
  }
}

const pathsIn = (tree: ConfigTree): string[] => [...tree].flatMap(([key, value]) => (typeof value === 'string' ? (key === 'path' ? [value] : []) : pathsIn(value)));
