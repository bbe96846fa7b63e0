import { expect, test } from 'vitest';
import { cronExpression, startDuties } from '../../../src/periodic/index.js';
import { systemClock } from '../../../src/lib/clock.js';
import { noMetrics, recordingLog } from '../../fakes/recording-log.js';
import { waitUntil } from '../../fakes/wait-until.js';

test.each([
  [10, 0, '0,10,20,30,40,50 * * * * *'], [10, 13, '3,13,23,33,43,53 * * * * *'], [30, 29, '29,59 * * * * *'], [60, 7, '7 */1 * * * *'], [600, 65, '5 */10 * * * *'], [2400, 0, undefined], [1800, 59, '59 */30 * * * *'],
  [3600, 61, '1 0 */1 * * *'], [86_400, 0, '0 0 */24 * * *'], [7, 0, undefined], [90, 0, undefined], [18_000, 0, undefined],
])('every %i s, offset %i, is %s', (seconds, offset, expression) => {
  expect(cronExpression(seconds, offset)).toBe(expression);
});

test.each([0, 0.3, 0.999])('a duty of any interval can be started with the default periodic_fuzzy_delay (random %f)', async (random) => {
  const { log } = recordingLog();
  const duties = [1, 5, 7, 10, 30, 60, 90, 300, 3600, 86_400].map((everySeconds) => ({ name: String(everySeconds), everySeconds, atStart: false, run: async () => undefined }));
  await startDuties(duties, { clock: systemClock, log, metrics: noMetrics, random: () => random, fuzzySeconds: 60 })();
});

test('a duty that fails is logged and does not end the others; a switched-off one never runs', async () => {
  const { log, lines } = recordingLog();
  const ran: string[] = [];
  const duty = (name: string, everySeconds: number, run: () => Promise<void>) => ({ name, everySeconds, atStart: true, run: async () => { ran.push(name); await run(); } });
  const stop = startDuties([
    duty('bad', 60, () => Promise.reject(new Error('broken'))),
    duty('good', 60, async () => undefined),
    duty('off', 0, async () => undefined),
    duty('never', -1, async () => undefined),
  ], { clock: systemClock, log, metrics: noMetrics, random: () => 0, fuzzySeconds: 0 });
  await waitUntil(() => lines().length > 0, 'the failure is logged');
  await stop();
  expect(ran.sort()).toEqual(['bad', 'good']);
  expect(lines().filter((line) => line['duty'] === 'bad')).toHaveLength(1);
});
