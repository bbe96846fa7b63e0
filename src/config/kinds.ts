/**
 * The types that an option can have. Each reads the text of a file (after `$` substitution) into a typed value, writes it back,
 * and can say in words what would have been right.
 */

/** What is wrong with a value, and what would be right; the loader adds file, line, section and option. */
export class BadValue extends Error {
  /** @param wrong may quote the value: the loader leaves it out for secrets */
  constructor(readonly wrong: string, readonly right: string) {
    super(`${wrong}; ${right}`);
  }
}

export interface Kind<T> {
  /** For the sample and the documentation, e.g. 'integer from 0'. */
  readonly describe: string;
  /** Throws BadValue. */
  parse(text: string): T;
  /** parse(render(x)) equals x. */
  render(value: T): string;
}

/** Any text, as it stands. */
export const text: Kind<string> = { describe: 'text', parse: (raw) => raw, render: (value) => value };

const trueWords = ['true', '1', 'on', 'yes'];
const falseWords = ['false', '0', 'off', 'no'];

export const boolean: Kind<boolean> = {
  describe: 'true or false',
  parse(raw) {
    const word = raw.trim().toLowerCase();
    if (trueWords.includes(word)) return true;
    if (falseWords.includes(word)) return false;
    throw new BadValue(`'${raw}' is neither true nor false`, 'write true or false (or 1/0, on/off, yes/no)');
  },
  render: (value) => (value ? 'true' : 'false'),
};

function range(min: number | undefined, max: number | undefined): string {
  if (min !== undefined && max !== undefined) return ` from ${min} to ${max}`;
  if (min !== undefined) return ` from ${min}`;
  return max === undefined ? '' : ` up to ${max}`;
}

function numeric(word: string, pattern: RegExp, limits: { min?: number; max?: number }): Kind<number> {
  const describe = `${word}${range(limits.min, limits.max)}`;
  return {
    describe,
    parse(raw) {
      const value = pattern.test(raw.trim()) ? Number(raw) : NaN;
      if (!Number.isFinite(value) || (word === 'integer' && !Number.isSafeInteger(value))) {
        throw new BadValue(`'${raw}' is not a number`, `write ${word === 'integer' ? 'an' : 'a'} ${describe}`);
      }
      if (value < (limits.min ?? -Infinity) || value > (limits.max ?? Infinity)) {
        throw new BadValue(`${raw.trim()} is out of range`, `write ${word === 'integer' ? 'an' : 'a'} ${describe}`);
      }
      return value === 0 ? 0 : value;
    },
    render: (value) => String(value),
  };
}

export const integer = (limits: { min?: number; max?: number } = {}): Kind<number> => numeric('integer', /^[+-]?\d+$/, limits);
export const float = (limits: { min?: number; max?: number } = {}): Kind<number> =>
  numeric('number', /^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i, limits);
export const port: Kind<number> = { ...integer({ min: 1, max: 65535 }), describe: 'port number from 1 to 65535' };

/** One of a few words. */
export function choice<const Word extends string>(...words: readonly Word[]): Kind<Word> {
  return {
    describe: `one of ${words.join(', ')}`,
    parse(raw) {
      const found = words.find((word) => word === raw.trim());
      if (found !== undefined) return found;
      throw new BadValue(`'${raw}' is not possible here`, `write one of ${words.join(', ')}`);
    },
    render: (value) => value,
  };
}

/** Text that must match; `right` says what to write. */
export function matching(describe: string, pattern: RegExp, right: string): Kind<string> {
  return {
    describe,
    parse(raw) {
      const value = raw.trim();
      if (pattern.test(value)) return value;
      throw new BadValue(`'${raw}' is not ${describe}`, `write ${right}`);
    },
    render: (value) => value,
  };
}

export const path = matching('an absolute path', /^\/[^\0\n]*$/, 'a path that begins with /');
export const address = matching('an address or host name', /^[A-Za-z0-9._:%-]+$/, 'an IP address or a host name');
export const url = matching('a URL', /^[a-z][a-z0-9+.-]*:\/\/\S+$/i, 'something like http://controller:5000');

/** Comma-separated values; blanks around the commas do not count, a comma at the end neither. */
export function list<T>(item: Kind<T>): Kind<readonly T[]> {
  return {
    describe: `list, separated by commas, of ${item.describe}`,
    parse(raw) {
      const body = raw.trim().replace(/,+$/, '');
      return body === '' ? [] : body.split(',').map((part) => item.parse(part.trim()));
    },
    render: (values) => values.map((value) => item.render(value)).join(','),
  };
}

/** `key:value` pairs separated by commas; a key may not repeat. */
export const dictionary: Kind<Readonly<Record<string, string>>> = {
  describe: 'key:value pairs, separated by commas',
  parse(raw) {
    const pairs = new Map<string, string>();
    for (const part of list(text).parse(raw)) {
      const at = part.indexOf(':');
      const key = part.slice(0, Math.max(at, 0)).trim();
      if (at < 0 || key === '') throw new BadValue(`'${part}' is not a pair`, 'write key:value, and commas between pairs');
      if (pairs.has(key)) throw new BadValue(`'${key}' is there twice`, 'keep one of the two');
      pairs.set(key, part.slice(at + 1).trim());
    }
    return Object.fromEntries(pairs);
  },
  render: (value) => Object.entries(value).map(([key, item]) => `${key}:${item}`).join(','),
};
