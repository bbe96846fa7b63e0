import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseIni, renderIni } from '../../../src/config/ini.js';

const entriesOf = (text: string) => parseIni(text).entries.map(({ section, key, value }) => [section, key, value]);

test('a value goes on over the lines that begin with a blank, until an empty line', () => {
  expect(entriesOf('[zfs]\nroot = a\n  b\n\tc\n\nother = d\n')).toEqual([['zfs', 'root', 'a\nb\nc'], ['zfs', 'other', 'd']]);
});

test('whichever of = and : comes first ends the name', () => {
  expect(entriesOf('a = b:c\nd: e=f\ng=h = i')).toEqual([['DEFAULT', 'a', 'b:c'], ['DEFAULT', 'd', 'e=f'], ['DEFAULT', 'g', 'h = i']]);
});

test('comments begin in the first column only, and a # inside a value stays', () => {
  expect(entriesOf('# no = 1\n; no = 2\npassword = a#b ;c\n')).toEqual([['DEFAULT', 'password', 'a#b ;c']]);
});

test('one pair of equal quotes is taken off, others stay', () => {
  expect(entriesOf(`a = " x "\nb = 'y'\nc = "z'\nd = "\ne = ""`)).toEqual([
    ['DEFAULT', 'a', ' x '], ['DEFAULT', 'b', 'y'], ['DEFAULT', 'c', `"z'`], ['DEFAULT', 'd', ''], ['DEFAULT', 'e', ''],
  ]);
});

test('section names lose their case, except DEFAULT, and may come back later in the file', () => {
  const document = parseIni('[VNC]\na=1\n[DEFAULT]\nb=2\n[vnc]\nc=3\n');
  expect(document.entries.map((entry) => entry.section)).toEqual(['vnc', 'DEFAULT', 'vnc']);
  expect(document.sections).toEqual(new Map([['vnc', 1], ['DEFAULT', 3]]));
});

test('every broken line is reported with its number and none of its text', () => {
  const document = parseIni('  hanging\n[zfs\n[]\nsecret-password\n= nothing\nok = 1\r\n');
  expect(document.problems.map((problem) => problem.line)).toEqual([1, 2, 3, 4, 5]);
  expect(JSON.stringify(document.problems)).not.toContain('secret-password');
  expect(document.entries).toEqual([{ section: 'DEFAULT', key: 'ok', value: '1', line: 6 }]);
});

test('a file without a final newline, with CRLF or with repeated keys keeps all of them in order', () => {
  expect(entriesOf('a = 1\r\na = 2')).toEqual([['DEFAULT', 'a', '1'], ['DEFAULT', 'a', '2']]);
});

const name = fc.stringMatching(/^[a-z][a-z0-9_]{0,12}$/);
const visible = fc.string({ unit: fc.constantFrom(...' \t"\'#;:=$[]abc%é\\,'.split('')), maxLength: 12 });
const laterLine = visible.map((line) => line.trim()).filter((line) => line !== '');
const value = fc.tuple(visible.filter((line) => !/[\r\n]/.test(line)), fc.array(laterLine, { maxLength: 3 })).map(([first, rest]) => [first, ...rest].join('\n'));
const entries = fc.array(fc.record({ section: fc.oneof(fc.constant('DEFAULT'), name.filter((word) => word !== 'default')), key: name, value }), { maxLength: 8 });

test('what was written is what is read: parse(render(entries)) equals entries', () => {
  fc.assert(fc.property(entries, (list) => {
    const document = parseIni(renderIni(list));
    expect(document.problems).toEqual([]);
    expect(document.entries.map(({ section, key, value: text }) => ({ section, key, value: text }))).toEqual(list);
  }), { numRuns: 500 });
});

test('no text makes the parser throw or lose count of its lines', () => {
  fc.assert(fc.property(fc.string({ unit: fc.constantFrom(...'[]=: \t\n\r#ab"'.split('')), maxLength: 60 }), (text) => {
    const lines = text.split(/\r?\n/).length;
    const document = parseIni(text);
    for (const { line } of [...document.entries, ...document.problems]) expect(line).toBeLessThanOrEqual(lines);
  }), { numRuns: 500 });
});
