/** What the benchmark promises to undo. */
import { expect, test } from 'vitest';
import { createCleanUp } from '../../bench/clean-up.js';

test('everything is undone once, newest first, and a failure does not keep the rest', async () => {
  const done: string[] = [];
  const cleanUp = createCleanUp();
  cleanUp.add(() => done.push('cloud'));
  cleanUp.add(() => { throw new Error('the node stays'); });
  const stop = cleanUp.add(() => done.push('agent'));
  await stop();
  await stop();
  const said: string[] = [];
  expect(await cleanUp.run((text) => said.push(text))).toEqual(['the node stays']);
  expect(done).toEqual(['agent', 'cloud']);
  expect(said).toEqual(['left behind: the node stays']);
  expect(await cleanUp.run(() => undefined)).toEqual([]);
  expect(done).toEqual(['agent', 'cloud']);
});
