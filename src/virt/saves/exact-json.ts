/**
 * JSON with exact whole numbers. Our own because no library does all of it: offsets past 2^53 exact (JSON.parse of Node 20 rounds them), a key that comes twice
 * refused even with equal values, bounds on depth and number of values, and the *path* of the fault, also where a file is cut short.
 * Fractions and exponents are refused: libxo writes none here.
 */
import { damaged, renderPath } from './damaged.js';

export type ExactJson = string | bigint | boolean | null | readonly ExactJson[] | ReadonlyMap<string, ExactJson>;

export interface JsonLimits {
  readonly maxCharacters: number;
  readonly maxDepth: number;
  /** Values of all kinds, at all depths. */
  readonly maxValues: number;
}

interface Reader {
  readonly text: string;
  readonly limits: JsonLimits;
  readonly path: (string | number)[];
  at: number;
  values: number;
  escapes: number;
}

const maxKeyCharacters = 256;
const maxEscapes = 10_000; // in all: libxo needs next to none here, and 64 MiB of them would take seconds
const blank = /[^ \t\r\n]/g;
const special = /["\\\p{Cc}]/gu; // a search, not a loop in the pattern: strings may have many MiB
const number = /-?(?:0|[1-9][0-9]{0,19})(?![0-9.eE])/y;
const escapes: Readonly<Record<string, string>> = { '"': '"', '\\': '\\', '/': '/', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' };

/** The value in `text`, which must be all of it. AgentError `save-damaged` with the path of the fault. */
export function parseExactJson(text: string, limits: JsonLimits): ExactJson {
  const reader: Reader = { text, limits, path: [], at: 0, values: 0, escapes: 0 };
  if (text.length > limits.maxCharacters) throw fault(reader, `is longer than ${limits.maxCharacters} characters`);
  if (text === '') throw fault(reader, 'is empty');
  const value = readValue(reader);
  if (peek(reader) !== '') throw fault(reader, 'has something behind its end');
  return value;
}

const fault = (reader: Reader, what: string): Error => damaged(renderPath(reader.path), what);
const unexpected = (reader: Reader): Error => fault(reader, reader.at >= reader.text.length ? 'is cut short' : 'is not JSON');

/** The next character that is not blank, which stays; '' at the end. */
function peek(reader: Reader): string {
  blank.lastIndex = reader.at;
  reader.at = blank.exec(reader.text)?.index ?? reader.text.length;
  return reader.text.charAt(reader.at);
}

function take(reader: Reader, wanted: string): void {
  if (peek(reader) !== wanted) throw unexpected(reader);
  reader.at += 1;
}

function readValue(reader: Reader): ExactJson {
  reader.values += 1;
  if (reader.values > reader.limits.maxValues) throw fault(reader, `is one of more than ${reader.limits.maxValues} values`);
  if (reader.path.length > reader.limits.maxDepth) throw fault(reader, `is nested deeper than ${reader.limits.maxDepth}`);
  switch (peek(reader)) {
    case '{': return readObject(reader);
    case '[': return readList(reader);
    case '"': return readString(reader);
    case 't': return readWord(reader, 'true', true);
    case 'f': return readWord(reader, 'false', false);
    case 'n': return readWord(reader, 'null', null);
    default: return readInteger(reader);
  }
}

function readObject(reader: Reader): ReadonlyMap<string, ExactJson> {
  const members = new Map<string, ExactJson>(); // not an object: a key may be `__proto__`
  take(reader, '{');
  if (peek(reader) === '}') {
    reader.at += 1;
    return members;
  }
  for (;;) {
    if (peek(reader) !== '"') throw unexpected(reader);
    const key = readString(reader);
    if (key.length > maxKeyCharacters) throw fault(reader, `has a name longer than ${maxKeyCharacters} characters`);
    reader.path.push(key);
    if (members.has(key)) throw fault(reader, 'is there twice');
    take(reader, ':');
    members.set(key, readValue(reader));
    reader.path.pop();
    if (peek(reader) === ',') reader.at += 1;
    else {
      take(reader, '}');
      return members;
    }
  }
}

function readList(reader: Reader): readonly ExactJson[] {
  const items: ExactJson[] = [];
  take(reader, '[');
  if (peek(reader) === ']') {
    reader.at += 1;
    return items;
  }
  for (;;) {
    reader.path.push(items.length);
    items.push(readValue(reader));
    reader.path.pop();
    if (peek(reader) === ',') reader.at += 1;
    else {
      take(reader, ']');
      return items;
    }
  }
}

function readString(reader: Reader): string {
  reader.at += 1;
  let value = '';
  for (;;) {
    special.lastIndex = reader.at;
    const end = special.exec(reader.text)?.index;
    if (end === undefined) throw fault(reader, 'is cut short');
    value += reader.text.slice(reader.at, end);
    reader.at = end + 1;
    if (reader.text[end] === '"') return value;
    if (reader.text[end] !== '\\') throw fault(reader, 'has a control character');
    value += readEscape(reader);
  }
}

/** Behind a backslash. */
function readEscape(reader: Reader): string {
  reader.escapes += 1;
  if (reader.escapes > maxEscapes) throw fault(reader, `has one of more than ${maxEscapes} escapes`);
  const letter = reader.text.charAt(reader.at);
  reader.at += 1;
  if (letter === 'u') {
    const digits = reader.text.slice(reader.at, reader.at + 4);
    if (!/^[0-9a-fA-F]{4}$/.test(digits)) throw reader.at + 4 > reader.text.length ? fault(reader, 'is cut short') : fault(reader, 'has a bad escape');
    reader.at += 4;
    return String.fromCharCode(Number.parseInt(digits, 16));
  }
  const character = escapes[letter];
  if (character === undefined) throw fault(reader, letter === '' ? 'is cut short' : 'has a bad escape');
  return character;
}

function readWord<T extends boolean | null>(reader: Reader, word: string, value: T): T {
  const found = reader.text.slice(reader.at, reader.at + word.length);
  if (found !== word) throw fault(reader, word.startsWith(found) ? 'is cut short' : 'is not JSON');
  reader.at += word.length;
  return value;
}

function readInteger(reader: Reader): bigint {
  number.lastIndex = reader.at;
  const found = number.exec(reader.text)?.[0];
  if (found === undefined) {
    if (!/[-0-9]/.test(reader.text.charAt(reader.at))) throw unexpected(reader);
    throw fault(reader, reader.text.slice(reader.at) === '-' ? 'is cut short' : 'is not a whole number that can be');
  }
  reader.at += found.length;
  return BigInt(found);
}
