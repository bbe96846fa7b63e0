import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { JournalRecord } from '../../../src/journal/records.js';
import { JournalState } from '../../../src/journal/state.js';
import { parseInstanceUuid } from '../../../src/lib/ids.js';

const bounds = { maxSeen: 5, maxSeenAgeMs: 1000, maxHistoryPerInstance: 3, maxHistory: 6 };
const uuid = (digit: number): string => `00000000-0000-4000-8000-${String(digit).padStart(12, '0')}`;
const at = (ms: number): string => new Date(ms).toISOString();
const accept = (digit: number, ms = 0, instance = 1): JournalRecord => ({
  t: 'accept', id: uuid(digit), messageId: `m${digit}`, rpc: 'r', instance: uuid(instance), requestId: null, payload: { secret: 'hush' }, at: at(ms),
});
const end = (digit: number): JournalRecord => ({ t: 'end', id: uuid(digit), outcome: 'succeeded', at: at(0) });
const stateOf = (records: readonly JournalRecord[]): JournalState => {
  const state = new JournalState(bounds);
  for (const record of records) state.apply(record);
  return state;
};
const instance = parseInstanceUuid(uuid(1));

test('an operation that ended has no payload, one that is open keeps it', () => {
  const state = stateOf([accept(1), accept(2), end(1)]);
  expect(state.history(instance).map((one) => one.payload)).toEqual([null, { secret: 'hush' }]);
  expect(JSON.stringify(state.snapshot(new Date(0))[0])).not.toContain('hush');
});

test('ended operations are forgotten oldest first, per instance and altogether; open ones never', () => {
  const many = Array.from({ length: 10 }, (_none, index) => index + 2);
  const state = stateOf([accept(1), ...many.flatMap((digit) => [accept(digit), end(digit)])]);
  expect(state.history(instance).map((one) => one.id)).toEqual([1, 9, 10, 11].map(uuid));
  const spread = stateOf(many.flatMap((digit) => [accept(digit, 0, digit), end(digit)]));
  expect(many.filter((digit) => spread.history(parseInstanceUuid(uuid(digit))).length > 0)).toEqual(many.slice(-6));
});

test('message ids are forgotten past the number or the age, but never those of open operations', () => {
  const state = stateOf([accept(1, 0), ...[2, 3, 4, 5, 6, 7].flatMap((digit) => [accept(digit, 500), end(digit)])]);
  state.trimSeen(new Date(600));
  expect([1, 2, 3, 4, 5, 6, 7].filter((digit) => state.hasSeen(`m${digit}`))).toEqual([1, 4, 5, 6, 7]);
  state.trimSeen(new Date(1600));
  expect([1, 2, 3, 4, 5, 6, 7].filter((digit) => state.hasSeen(`m${digit}`))).toEqual([1]);
});

const digit = fc.integer({ min: 1, max: 4 });
const record: fc.Arbitrary<JournalRecord> = fc.oneof(
  digit.map((one) => accept(one, one)),
  digit.map((one): JournalRecord => ({ t: 'begin', id: uuid(one) })),
  fc.tuple(digit, fc.constantFrom('a', 'b'), fc.constantFrom('begun', 'done', 'undone')).map(([one, step, mark]): JournalRecord => ({ t: 'mark', id: uuid(one), step, mark })),
  fc.tuple(digit, fc.string(), fc.string()).map(([one, key, value]): JournalRecord => ({ t: 'note', id: uuid(one), key, value })),
  digit.map(end),
);

test('a state made again from its snapshot is the same state', () => {
  fc.assert(fc.property(fc.array(record, { maxLength: 40 }), (records) => {
    const seenIds = new Set<string>();
    const once = records.filter((one) => one.t !== 'accept' || (!seenIds.has(one.id) && seenIds.add(one.id)));
    const state = stateOf(once);
    const snapshot = JSON.parse(JSON.stringify(state.snapshot(new Date(10)))) as JournalRecord[];
    const again = stateOf(snapshot);
    expect(again.unfinished()).toEqual(state.unfinished());
    expect(again.history(instance)).toEqual(state.history(instance));
    expect(again.openCount).toBe(state.openCount);
    for (const one of [1, 2, 3, 4]) expect(again.hasSeen(`m${one}`)).toBe(state.hasSeen(`m${one}`));
  }));
});

test('what is handed out is a copy', () => {
  const state = stateOf([accept(1)]);
  (state.unfinished()[0]!.steps as Map<string, string>).set('x', 'done');
  expect(state.unfinished()[0]!.steps.size).toBe(0);
});
