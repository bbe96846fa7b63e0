/** Tempest's verdict about this agent, one test here for each of its own. */
import { beforeAll, describe, expect, it } from 'vitest';
import { bringUpLab, type LabSession } from '../cloud/support/lab-session.js';
import { leakCheck } from '../cloud/support/leak-check.js';
import { coreTests } from './core.js';
import { prepareTempest } from './tempest.js';
import type { Verdict } from './verdicts.js';

describe('Tempest', () => {
  let lab: LabSession;
  let verdicts: readonly Verdict[] = [];

  beforeAll(async () => {
    lab = await bringUpLab();
    verdicts = await (await prepareTempest(lab)).run(coreTests, 2, ({ test, outcome, seconds }) => console.log(`${outcome.padEnd(8)}${seconds.toFixed(1).padStart(6)} s  ${test}`));
  });

  it.each(coreTests)('%s', (test) => {
    const verdict = verdicts.find((entry) => entry.test === test);
    expect(verdict?.outcome, verdict?.text).toBe('passed');
  });

  it('leaves nothing behind', async () => {
    await leakCheck(lab.cloud, lab.node);
  });
});
