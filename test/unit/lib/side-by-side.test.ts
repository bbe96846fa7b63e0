import { expect, test } from 'vitest';
import { sideBySide } from '../../../src/lib/side-by-side.js';

test('no more than so many at a time, and the results in the order of the items', async () => {
  let running = 0;
  let most = 0;
  const results = await sideBySide([3, 1, 2, 0], 2, async (turns) => {
    running += 1;
    most = Math.max(most, running);
    for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
    running -= 1;
    return turns * 10;
  });
  expect(results).toEqual([30, 10, 20, 0]);
  expect(most).toBe(2);
});

test('a failure rejects, and what was not begun is not begun any more', async () => {
  const begun: number[] = [];
  await expect(sideBySide([0, 1, 2, 3, 4], 2, async (item) => {
    begun.push(item);
    if (item === 0) throw new Error('item 0');
    for (let turn = 0; turn < 5; turn += 1) await Promise.resolve();
  })).rejects.toThrow('item 0');
  expect(begun).toEqual([0, 1]);
});

test('of nothing there is nothing', async () => {
  expect(await sideBySide([], 8, () => Promise.reject(new Error('nothing to do')))).toEqual([]);
});
