import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BadValue, boolean, choice, dictionary, float, integer, list, path, port, text, url, type Kind } from '../../../src/config/kinds.js';

const roundTrip = <T>(kind: Kind<T>, values: fc.Arbitrary<T>): void =>
  fc.assert(fc.property(values, (value) => { expect(kind.parse(kind.render(value))).toEqual(value); }));

test('each kind reads back what it writes', () => {
  const word = fc.stringMatching(/^[A-Za-z0-9_.:/@-]{1,12}$/);
  roundTrip(boolean, fc.boolean());
  roundTrip(integer(), fc.integer());
  roundTrip(float(), fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => (value === 0 ? 0 : value)));
  roundTrip(choice('reap', 'log'), fc.constantFrom('reap' as const, 'log' as const));
  roundTrip(list(text), fc.array(word));
  roundTrip(dictionary, fc.dictionary(fc.stringMatching(/^[a-z0-9_-]{1,8}$/), fc.stringMatching(/^[a-z0-9:_-]{0,8}$/), { noNullPrototype: true }));
});

test('booleans are oslo.config\'s words in any case', () => {
  expect(['True', 'YES', 'on', '1'].map((word) => boolean.parse(word))).toEqual([true, true, true, true]);
  expect(['False', 'No', 'OFF', '0'].map((word) => boolean.parse(word))).toEqual([false, false, false, false]);
});

test.each<[Kind<unknown>, string]>([
  [boolean, 'maybe'], [integer(), '1.5'], [integer(), '0x10'], [integer({ min: 1 }), '0'], [integer(), '99999999999999999999'], [float(), 'NaN'], [float(), 'Infinity'],
  [port, '65536'], [choice('a', 'b'), 'c'], [path, 'relative/path'], [url, 'controller:5000'], [dictionary, 'physnet1'], [dictionary, 'a:b,a:c'], [dictionary, ':b'],
])('%# a wrong value says what would be right: %s', (kind, raw) => {
  const error = (() => { try { kind.parse(raw); return undefined; } catch (caught) { return caught; } })();
  expect(error).toBeInstanceOf(BadValue);
  expect((error as BadValue).right).not.toBe('');
});

test('lists ignore blanks around commas and a comma at the end', () => {
  expect(list(text).parse(' a , b ,')).toEqual(['a', 'b']);
  expect(list(text).parse('')).toEqual([]);
});
