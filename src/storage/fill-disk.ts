/**
 * What a disk holds before its guest sees it. Nothing by default: a zvol reads as zeros, and a cloud image's own first boot makes file
 * systems better than a host that does not know the guest. Where a user or `default_ephemeral_format` names a format, the tool for it is
 * used: newfs_msdos(8) of the base system, mke2fs(8) of the package e2fsprogs. FreeBSD has no mkswap: the one page that makes a disk
 * a Linux swap device is written by us.
 */
import { randomBytes } from 'node:crypto';
import { unreachable } from '../lib/assert.js';
import type { Host } from '../host/index.js';
import type { DiskFormat, DiskInfo, DiskRole } from './types.js';

const TIMEOUT_MS = 300_000;
const PAGE_BYTES = 4096;

/** Formats whose tool this host has. */
export function fillable(host: Pick<Host, 'toolPath'>): ReadonlySet<DiskFormat> {
  return new Set<DiskFormat>([
    'swap',
    ...(host.toolPath('newfs_msdos') === undefined ? [] : (['vfat'] as const)),
    ...(host.toolPath('mke2fs') === undefined ? [] : (['ext2', 'ext3', 'ext4'] as const)),
  ]);
}

/** The label that Nova's guests look for: ephemeral0, ephemeral1 … */
const labelOf = (role: DiskRole): string => role.replace(/^eph(\d)/, 'ephemeral$1');

export async function fillDisk(host: Host, role: DiskRole, { devicePath, bytes }: DiskInfo, format: DiskFormat): Promise<void> {
  switch (format) {
    case 'swap':
      // obs: a pipe may give less than a page at once, and a device takes whole sectors only; notrunc: it is a device, and stays one.
      await host.run('dd', [`of=${devicePath}`, `obs=${PAGE_BYTES}`, 'conv=notrunc'], { stdin: swapPage(bytes) });
      return;
    case 'vfat':
      await host.run('newfs_msdos', ['-L', labelOf(role).toUpperCase(), devicePath], { timeoutMs: TIMEOUT_MS });
      return;
    case 'ext2':
    case 'ext3':
    case 'ext4':
      await host.run('mke2fs', ['-q', '-F', '-t', format, '-L', labelOf(role), devicePath], { timeoutMs: TIMEOUT_MS });
      return;
    default:
      unreachable(format);
  }
}

/** First page of a swap device (version 1 of Linux's header, pages of 4 KiB). */
export function swapPage(bytes: bigint, uuid: Uint8Array = randomBytes(16)): Uint8Array {
  const page = Buffer.alloc(PAGE_BYTES);
  page.writeUInt32LE(1, 1024);
  page.writeUInt32LE(Number(bytes / BigInt(PAGE_BYTES)) - 1, 1028);
  page.set(uuid, 1036);
  page.write('SWAPSPACE2', PAGE_BYTES - 10, 'latin1');
  return page;
}
