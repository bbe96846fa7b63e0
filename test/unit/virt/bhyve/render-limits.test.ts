import { expect, test } from 'vitest';
import { renderLimits } from '../../../../src/virt/bhyve/render-limits.js';
import { noLimits } from '../../../../src/virt/types.js';

test('each limit is a rule for rctl, with the tool that sets it', () => {
  expect(renderLimits(noLimits, undefined)).toBe('');
  expect(renderLimits({ cpuPercent: 150, readBytesPerSecond: 1024, writeBytesPerSecond: null, readsPerSecond: null, writesPerSecond: 9 }, '/usr/bin/rctl'))
    .toBe('/usr/bin/rctl pcpu:deny=150\n/usr/bin/rctl readbps:throttle=1024\n/usr/bin/rctl writeiops:throttle=9\n');
});

test('a host without the tool cannot start a guest with limits', () => {
  expect(() => renderLimits({ ...noLimits, cpuPercent: 1 }, undefined)).toThrow(/no rctl/);
});
