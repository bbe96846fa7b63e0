import { expect, test } from 'vitest';
import { createHealth, startLagMonitor } from '../../../src/observe/index.js';
import { createVirtualClock } from '../../fakes/virtual-clock.js';
import { noMetrics, recordingLog } from '../../fakes/recording-log.js';

test('nothing is ready until every part has said so, and the reason names the parts that have not', () => {
  const clock = createVirtualClock(new Date('2026-01-01T00:00:00Z'));
  const health = createHealth({ clock, parts: ['node', 'broker'] });
  expect(health.summary().ready).toMatchObject({ ok: false, reason: 'node: not looked at yet; broker: not looked at yet' });
  health.report('node', true, 'prepared');
  clock.advance(5000);
  health.report('broker', true, 'connected');
  expect(health.summary().ready).toEqual({ ok: true, since: '2026-01-01T00:00:05.000Z', reason: 'all parts are well' });
  expect(health.summary().callable.ok).toBe(false);
});

test('since stays while the answer stays, and the reason is always the newest', () => {
  const clock = createVirtualClock(new Date('2026-01-01T00:00:00Z'));
  const health = createHealth({ clock, parts: ['broker'] });
  clock.advance(1000);
  health.report('broker', true, 'a');
  clock.advance(1000);
  health.report('broker', true, 'b');
  expect(health.summary().parts['broker']).toEqual({ ok: true, since: '2026-01-01T00:00:01.000Z', reason: 'b' });
  clock.advance(1000);
  health.report('broker', false, 'gone');
  expect(health.summary().ready).toEqual({ ok: false, since: '2026-01-01T00:00:03.000Z', reason: 'broker: gone' });
});

test('an event loop that was held up is warned of, at most once a minute', () => {
  const clock = createVirtualClock();
  const { log, lines } = recordingLog();
  const gauges: number[] = [];
  const monitor = startLagMonitor({ clock, log, metrics: { ...noMetrics, gauge: (_name, value) => { gauges.push(value); } } });
  clock.advance(1000);
  expect(lines()).toEqual([]);
  for (let round = 0; round < 5; round += 1) clock.advance(3000);
  expect(lines()).toMatchObject([{ msg: 'event loop was held up', lagMs: 2000 }]);
  for (let round = 0; round < 30; round += 1) clock.advance(3000);
  expect(lines()).toHaveLength(2);
  expect(gauges[0]).toBe(0);
  monitor.stop();
  clock.advance(10_000);
  expect(gauges).toHaveLength(36);
});
