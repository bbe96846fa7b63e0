/** The arithmetic behind the benchmark's table. */
import { describe, expect, test } from 'vitest';
import { figures, type FigureName } from '../../bench/goals.js';
import { chosenFigures } from '../../bench/main.js';
import { createSamples } from '../../bench/recorder.js';
import { median, notMeasured, resultOf, resultsOf, tableOf } from '../../bench/results.js';

test.each([[[3], 3], [[1, 9, 2], 2], [[4, 1, 3, 2], 2.5]])('the median of %j is %d', (values, middle) => {
  expect(median(values)).toBe(middle);
});

test('the median of nothing is refused', () => {
  expect(() => median([])).toThrow('median of nothing');
});

describe('a result', () => {
  test('compares medians, not single rounds', () => {
    const samples = [{ ours: 10, other: 100 }, { ours: 60, other: 100 }, { ours: 20, other: 1 }];
    expect(resultOf({ goal: { atMost: 0.5 } }, samples)).toEqual({ ours: 20, peer: 100, ratio: 0.2, goal: '<= 0.5', met: true });
  });

  test.each([[{ atMost: 0.5 }, 50, true], [{ atMost: 0.5 }, 51, false], [{ atLeast: 3 }, 300, true], [{ atLeast: 3 }, 299, false]])('of a goal %j with %d beside 100 is met: %s', (goal, ours, met) => {
    expect(resultOf({ goal }, [{ ours, other: 100 }]).met).toBe(met);
  });

  test('without a goal or without anything beside it is not judged', () => {
    expect(resultOf({ goal: null }, [{ ours: 5, other: 10 }])).toEqual({ ours: 5, peer: 10, ratio: 0.5, goal: null, met: null });
  });

  test('that has nothing beside it, or was not measured, has not met its goal', () => {
    expect(resultOf({ goal: { atMost: 1 } }, [{ ours: 5, other: null }])).toEqual({ ours: 5, peer: null, ratio: null, goal: '<= 1', met: false });
    expect(resultOf({ goal: { atMost: 1 } }, [])).toEqual({ ours: null, peer: null, ratio: null, goal: '<= 1', met: false });
    expect(resultOf({ goal: null }, []).met).toBeNull();
  });

  test('that came from nothing misses a goal of at most', () => {
    expect(resultOf({ goal: { atMost: 1.1 } }, [{ ours: 5, other: 0 }])).toMatchObject({ ratio: null, met: false });
    expect(resultOf({ goal: { atMost: 1.1 } }, [{ ours: 0, other: 0 }])).toMatchObject({ ratio: 1, met: true });
  });
});

test('the table has the figures that were asked for, in the order of the goals, and says what is missed or missing', () => {
  const samples = createSamples();
  samples.record('ping-32-in-flight', 2000, 1000);
  samples.record('rss-idle', 70, 150);
  const results = resultsOf(samples.taken, ['start-cpu', 'ping-32-in-flight', 'rss-idle']);
  expect(notMeasured(results)).toEqual(['start-cpu']);
  const lines = tableOf(results).split('\n').slice(2);
  expect(lines.map((line) => line.split(/\s{2,}/))).toEqual([
    ['resident memory, idle', 'MiB', '70', '150', 'peer', '0.467', '<= 0.5', 'met'],
    ['', 'processor time for it', 's', '–', '–', 'peer', '–', 'NOT MEASURED'],
    ['RPC pings, 32 in flight', 'calls/s', '2,000', '1,000', 'peer', '2', '>= 3', 'MISSED'],
  ]);
});

describe('figures are chosen', () => {
  test.each([['ping', 6], ['rss-idle', 1], ['boots-at-once', 3], ['boot', 3], ['save', 9], ['save-resume', 3]])('by %s', (only, count) => {
    expect(chosenFigures(only, false)).toHaveLength(count);
  });

  test('all without a name; none that does not exist', () => {
    expect(chosenFigures(null, false)).toEqual(Object.keys(figures) as FigureName[]);
    expect(chosenFigures('flat,rss-idle,flat-rss', false)).toEqual(['rss-idle', 'flat-rss', 'flat-idle-cpu']);
    expect(() => chosenFigures('flat,pong', false)).toThrow(/no figure is called pong/);
    expect(() => chosenFigures('pong', false)).toThrow(/no figure is called pong; there are: rss-idle/);
  });

  test('without those that take too long, for a quick run', () => {
    expect(chosenFigures('flat', true)).toEqual(['flat-rss', 'flat-idle-cpu']);
    expect(chosenFigures(null, true)).not.toContain('start-500-guests');
    expect(() => chosenFigures('audit', true)).toThrow(/no figure of a quick run is called audit/);
  });
});

test('every goal of the issue is there', () => {
  expect(Object.fromEntries(Object.entries(figures).flatMap(([name, { goal }]) => (goal === null ? [] : [[name, goal]])))).toEqual({
    'rss-idle': { atMost: 0.5 }, 'start-to-up': { atMost: 0.2 }, 'ping-32-in-flight': { atLeast: 3 }, 'ping-cpu': { atMost: 0.25 }, 'ping-p50-over-echo': { atMost: 1.25 },
    'ping-32-over-echo': { atLeast: 0.8 }, 'boot-p50': { atMost: 1 }, 'boot-cpu': { atMost: 0.5 }, 'boots-at-once-wall': { atMost: 1 }, 'boots-at-once-cpu': { atMost: 0.5 },
    'flat-rss': { atMost: 1.1 }, 'flat-idle-cpu': { atMost: 1.1 },
  });
});
