import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { countingRom } from '../../../../../src/virt/bhyve/selftest/counting-rom.js';

test('the ROM is the one that was seen to count: 64 KiB, its first instruction a jump to the code', () => {
  const rom = Buffer.from(countingRom());
  expect(rom.length).toBe(65_536);
  expect(rom.subarray(0xfff0, 0xfff3).toString('hex')).toBe('e90df0');
  expect(rom.includes('tick \0')).toBe(true);
  expect(createHash('sha256').update(rom).digest('hex')).toBe('b2e37e3a8feb4bfab5d6c99c7a8292ed749cffc69b3661803ee6431daf59f969');
});
