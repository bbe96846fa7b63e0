import { expect, test } from 'vitest';
import { formatBytes, renderFields, renderJson, renderTable } from '../../../src/cli/output.js';

test('tables have aligned columns, no frames, no colours and no blanks at the ends', () => {
  expect(renderTable(['a', 'long'], [['xyz', '1'], ['ü', '22']])).toBe('A    LONG\nxyz  1\nü    22\n');
  expect(renderFields([['name', 'x'], ['uuid', 'y']])).toBe('name  x\nuuid  y\n');
});

test('octets are readable', () => {
  expect([0n, 1023n, 1536n, 10n * 1024n ** 3n, 250n * 1024n ** 2n, 3n * 1024n ** 5n].map(formatBytes)).toEqual(['0 B', '1023 B', '1.5 KiB', '10 GiB', '250 MiB', '3 PiB']);
});

test('JSON has numbers for octets as long as they are exact, and objects for maps', () => {
  expect(JSON.parse(renderJson({ a: 5n, b: 2n ** 60n, n: -(2n ** 60n), m: -5n, c: new Map([['k', 1]]), d: new Set(['x']) }))).toEqual({ a: 5, b: '1152921504606846976', n: '-1152921504606846976', m: -5, c: { k: 1 }, d: ['x'] });
});
