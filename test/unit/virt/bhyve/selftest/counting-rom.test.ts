import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { countingRom } from '../../../../../src/virt/bhyve/selftest/counting-rom.js';

test('the ROM is the one that was seen to count: 64 KiB, its first instruction a jump to the code', () => {
  const rom = Buffer.from(countingRom());
  expect(rom.length).toBe(65_536);
  expect(rom.subarray(0xfff0, 0xfff3).toString('hex')).toBe('e90df0');
  expect(rom.includes('tick \0')).toBe(true);
  expect(createHash('sha256').update(rom).digest('hex')).toBe('c7190cd2c1346842d34549aaac483ce4c405e685ac91e902e8fd2c0b127fcb35');
});
