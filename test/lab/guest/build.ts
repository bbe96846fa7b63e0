/**
 * The test guest's disk, built on the spot from Debian packages: linux-image-cloud-amd64 (taken apart, never installed: a kernel's
 * install scripts would touch the boot loader), busybox, and systemd's EFI stub that makes kernel, initramfs and command line one
 * EFI program. Kept in LAB/guest under the hash of everything that goes into it.
 *
 *   GPT │ ESP, FAT: EFI/BOOT/BOOTX64.EFI │ 1 MiB `guest-counter`: how often this disk booted, and ticks │ `guest-tools`: see tools.ts
 *       │ 4 MiB `guest-data`, ext2: /mnt
 */
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gptImage } from './gpt.js';
import { toolFiles, toolsArchive } from './tools.js';

const run = promisify(execFile);
/** Sources lie in the source tree also when this file runs compiled. */
const here = dirname(fileURLToPath(import.meta.url)).replace('/dist/test/', '/test/');

const KERNEL = 'linux-image-cloud-amd64';
const STUB = '/usr/lib/systemd/boot/efi/linuxx64.efi.stub';
const BUSYBOX = '/bin/busybox';
/** In the order in which they are loaded; what they depend on goes before them. */
const MODULES = ['button', 'evdev', 'virtio_pci', 'virtio_blk', 'virtio_net', 'virtio_scsi', 'virtio_rng', 'sr_mod', 'isofs', 'nvme', 'e1000', 'sd_mod', 'ahci'];
/** Quiet and quick under emulation; the console is com1, a panic reboots after a second. */
const COMMAND_LINE = 'console=ttyS0,115200 quiet loglevel=3 panic=1 mitigations=off nokaslr no_timer_check tsc=reliable rcupdate.rcu_expedited=1 cryptomgr.notests random.trust_bootloader=on';
const ESP_MIB = 40;
const DATA_MIB = 4;
const MIB = 2 ** 20;
const LINUX_DATA = '0fc63daf-8483-4772-8e79-3d69d8477de4';

export interface GuestImage {
  /** A raw disk image; upload it as disk_format=raw. */
  readonly path: string;
  readonly bytes: number;
  /** True if it was built by this call. */
  readonly isNew: boolean;
}

/** Builds the image, or finds the one of the same content. Takes about ten seconds and a 26 MB download the first time. */
export async function ensureGuestImage(labRoot: string): Promise<GuestImage> {
  const folder = join(labRoot, 'guest');
  mkdirSync(folder, { recursive: true });
  const hash = createHash('sha256');
  for (const file of ['init', 'flatten-json.awk', 'dhcp.sh']) hash.update(readFileSync(join(here, file)));
  for (const file of await toolFiles(here)) hash.update(readFileSync(file));
  hash.update('layout 3');
  hash.update(readFileSync(BUSYBOX)).update(readFileSync(STUB)).update(COMMAND_LINE).update(MODULES.join()).update(await kernelVersion());
  const path = join(folder, `guest-${hash.digest('hex').slice(0, 16)}.raw`);
  if (existsSync(path)) return { path, bytes: statSync(path).size, isNew: false };
  const work = mkdtempSync(join(tmpdir(), 'lab-guest-'));
  try {
    const disk = await build(work, folder);
    const temporary = `${path}.${randomBytes(4).toString('hex')}`;
    copyFileSync(disk, temporary);
    renameSync(temporary, path);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return { path, bytes: statSync(path).size, isNew: true };
}

async function kernelVersion(): Promise<string> {
  const { stdout } = await run('apt-cache', ['policy', KERNEL]);
  return /Candidate: (\S+)/.exec(stdout)?.[1] ?? 'unknown';
}

async function build(work: string, folder: string): Promise<string> {
  const tree = await unpackKernel(work, folder);
  const initrd = await buildInitrd(work, tree);
  const program = join(work, 'guest.efi');
  writeFileSync(join(work, 'cmdline'), COMMAND_LINE);
  writeFileSync(join(work, 'osrel'), 'ID=nova-bhyve-lab-guest\n');
  const kernel = join(tree, 'boot', readdirSync(join(tree, 'boot')).find((name) => name.startsWith('vmlinuz'))!);
  // Close together: firmware needs memory for the whole span, and a guest of 128 MiB has little to spare.
  const initrdAt = 0x50000 + Math.ceil(statSync(kernel).size / 0x10000) * 0x10000;
  const base = await imageBaseOf(STUB);
  const sections = ([['osrel', join(work, 'osrel'), 0x30000], ['cmdline', join(work, 'cmdline'), 0x40000], ['linux', kernel, 0x50000], ['initrd', initrd, initrdAt]] as const)
    .map(([name, file, offset]) => [name, file, `0x${(base + offset).toString(16)}`] as const);
  await run('objcopy', [...sections.flatMap(([name, file, address]) => ['--add-section', `.${name}=${file}`, '--change-section-vma', `.${name}=${address}`]), STUB, program]);
  const esp = join(work, 'esp');
  writeFileSync(esp, Buffer.alloc(ESP_MIB * MIB));
  await run('mkfs.vfat', ['-n', 'ESP', esp]);
  await run('mmd', ['-i', esp, '::/EFI', '::/EFI/BOOT']);
  await run('mcopy', ['-i', esp, program, '::/EFI/BOOT/BOOTX64.EFI']);
  const data = join(work, 'data');
  writeFileSync(data, Buffer.alloc(DATA_MIB * MIB));
  await run('/sbin/mke2fs', ['-q', '-F', '-t', 'ext2', data]);
  const partitions = [
    { name: 'esp', type: 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b', content: readFileSync(esp) },
    { name: 'guest-counter', type: LINUX_DATA, content: Buffer.alloc(MIB) },
    { name: 'guest-tools', type: LINUX_DATA, content: await toolsArchive(work, here) },
    { name: 'guest-data', type: LINUX_DATA, content: readFileSync(data) },
  ];
  const disk = join(work, 'disk');
  writeFileSync(disk, gptImage(partitions.reduce((sum, { content }) => sum + content.length, 3 * MIB), partitions));
  return disk;
}

/** Where an EFI program wants to lie: 0 for Debian 12's stub. objcopy counts from zero, not from there. */
async function imageBaseOf(program: string): Promise<number> {
  const { stdout } = await run('objdump', ['-p', program]);
  return parseInt(/ImageBase\s+([0-9a-f]+)/.exec(stdout)?.[1] ?? '0', 16);
}

/** The meta package names the real one. Its archive is kept in LAB/guest, so that a change of the guest's own files needs no download. */
async function unpackKernel(work: string, folder: string): Promise<string> {
  const { stdout } = await run('apt-cache', ['depends', KERNEL]);
  const name = /Depends: (linux-image-\S+)/.exec(stdout)?.[1];
  if (name === undefined) throw new Error(`apt knows no kernel behind ${KERNEL}; run apt-get update`);
  const kept = join(folder, `${name}-${await kernelVersion()}.deb`);
  if (!existsSync(kept)) {
    await run('apt-get', ['download', name], { cwd: work });
    copyFileSync(join(work, readdirSync(work).find((file) => file.endsWith('.deb'))!), `${kept}.part`);
    renameSync(`${kept}.part`, kept);
  }
  const tree = join(work, 'kernel');
  await run('dpkg-deb', ['-x', kept, tree]);
  // Debian 13 has its modules under /usr, and compressed.
  if (!existsSync(join(tree, 'lib/modules'))) renameSync(join(tree, 'usr/lib'), join(tree, 'lib'));
  await run('find', [join(tree, 'lib/modules'), '-name', '*.ko.xz', '-exec', BUSYBOX, 'unxz', '{}', '+']);
  return tree;
}

async function buildInitrd(work: string, tree: string): Promise<string> {
  const root = join(work, 'root');
  for (const folder of ['bin', 'modules', 'proc', 'sys', 'dev']) mkdirSync(join(root, folder), { recursive: true });
  copyFileSync(BUSYBOX, join(root, 'bin/busybox'));
  for (const file of ['init', 'flatten-json.awk', 'dhcp.sh']) {
    copyFileSync(join(here, file), join(root, file));
    chmodSync(join(root, file), 0o755);
  }
  const modules = withDependencies(join(tree, 'lib/modules'), MODULES);
  for (const file of modules) copyFileSync(file, join(root, 'modules', basename(file)));
  writeFileSync(join(root, 'modules/order'), modules.map((file) => `${basename(file)}\n`).join(''));
  const initrd = join(work, 'initrd');
  await run('sh', ['-c', 'cd "$1" && find . | cpio -o -H newc --quiet >"$2"', 'sh', root, initrd]);
  return initrd;
}

/** Files of the modules and of what they need, each after what it needs. A module that the kernel has built in has no file. */
function withDependencies(folder: string, names: readonly string[]): string[] {
  const files = new Map<string, string>();
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (entry.name.endsWith('.ko')) files.set(entry.name.slice(0, -3).replaceAll('-', '_'), join(entry.parentPath, entry.name));
  }
  const order: string[] = [];
  const add = (name: string): void => {
    const file = files.get(name.replaceAll('-', '_'));
    if (file === undefined || order.includes(file)) return;
    const needs = /(?:^|\0)depends=([^\0]*)\0/.exec(readFileSync(file, 'latin1'))?.[1] ?? '';
    for (const need of needs.split(',')) if (need !== '') add(need);
    order.push(file);
  };
  for (const name of names) add(name);
  return order;
}
