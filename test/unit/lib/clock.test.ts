import { expect, test } from 'vitest';
import { systemClock } from '../../../src/lib/clock.js';

test('a wait longer than a timer of Node can be is long, not over at once', async () => {
  const fired: string[] = [];
  const ending = new AbortController();
  const timer = systemClock.after(2 ** 40, () => fired.push('after'));
  const sleeping = systemClock.sleep(2 ** 40, ending.signal).then(() => fired.push('sleep'), () => undefined);
  await systemClock.sleep(20);
  timer.cancel();
  ending.abort();
  await sleeping;
  expect(fired).toEqual([]);
});
