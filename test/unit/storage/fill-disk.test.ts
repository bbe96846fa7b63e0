import { expect, test } from 'vitest';
import { fillable, swapPage } from '../../../src/storage/fill-disk.js';

/** `mkswap -U 00112233-4455-6677-8899-aabbccddeeff` of util-linux 2.38 on a file of 64 MiB: version, last page, uuid, magic. */
test('the swap page is the one that mkswap writes', () => {
  const page = Buffer.from(swapPage(64n * 1024n ** 2n, Buffer.from('00112233445566778899aabbccddeeff', 'hex')));
  expect(page.length).toBe(4096);
  expect(page.subarray(1024, 1052).toString('hex')).toBe('01000000ff3f00000000000000112233445566778899aabbccddeeff');
  expect(page.subarray(4086).toString('latin1')).toBe('SWAPSPACE2');
  expect(page.subarray(0, 1024).every((octet) => octet === 0)).toBe(true);
});

test('a host fills what it has tools for', () => {
  const host = (...tools: string[]): Parameters<typeof fillable>[0] => ({ toolPath: (tool) => (tools.includes(tool) ? `/sbin/${tool}` : undefined) });
  expect([...fillable(host())]).toEqual(['swap']);
  expect([...fillable(host('newfs_msdos', 'mke2fs'))]).toEqual(['swap', 'vfat', 'ext2', 'ext3', 'ext4']);
});
