/**
 * From files to values: finds what was written for an option (the environment wins over files, the last file over earlier ones,
 * the last line over earlier ones), replaces `$option`, `${option}` and `$section.option`, and reads the text by the option's kind.
 */
import { normalizeKey, normalizeSection, type IniEntry } from './ini.js';
import { BadValue } from './kinds.js';
import type { Option } from './option.js';
import { authOptionNames } from './schema-services.js';
import { sectionsOf } from './schema.js';

/** One value as written, and where. */
export interface Written {
  readonly text: string;
  /** `file:line`, or `environment OS_X__Y`. */
  readonly where: string;
}

/** Everything that was written, by section and normalised key. */
export class WrittenOptions {
  readonly #values = new Map<string, Written>();

  add(entry: IniEntry, file: string): void {
    this.#values.set(`${entry.section}.${normalizeKey(entry.key)}`, { text: entry.value, where: `${file}:${entry.line}` });
  }

  /** oslo.config's environment source: OS_SECTION__OPTION. */
  addEnvironment(environment: Readonly<Record<string, string | undefined>>): void {
    for (const [variable, text] of Object.entries(environment)) {
      const match = /^OS_(.+?)__(.+)$/.exec(variable);
      if (match === null || text === undefined) continue;
      const section = match[1] === 'DEFAULT' ? 'DEFAULT' : match[1]!.toLowerCase();
      this.#values.set(`${section}.${match[2]!.toLowerCase()}`, { text, where: `environment ${variable}` });
    }
  }

  get(section: string, key: string): Written | undefined {
    return this.#values.get(`${section}.${key}`);
  }

  hasSection(section: string): boolean {
    return [...this.#values.keys()].some((name) => name.startsWith(`${section}.`));
  }
}

/** Facts of the machine that are defaults of options. */
export interface Machine {
  readonly hostname: string;
  readonly address: string;
}

/** An option that could not be read. */
export interface OptionProblem {
  readonly where: string | undefined;
  readonly section: string;
  readonly option: string;
  readonly message: string;
}

class Unresolvable extends Error {}

function describeProblem(error: BadValue | Unresolvable, option: Option<unknown>, written: Written | undefined): string {
  if (error instanceof Unresolvable) return error.message;
  if (written === undefined) return `is not set; ${error.right}`;
  return option.isSecret ? `the value is not ${option.kind.describe}; ${error.right}` : error.message;
}

const reference = /\$(?:(\$)|([_a-z][._a-z0-9]*)|\{([_a-z][._a-z0-9]*)\})/gi;

export class Resolver {
  readonly problems: OptionProblem[] = [];
  readonly #written: WrittenOptions;
  readonly #machine: Machine;
  readonly #schema = sectionsOf();

  constructor(written: WrittenOptions, machine: Machine) {
    this.#written = written;
    this.#machine = machine;
  }

  /** Where an option was written, under its own name or an older one; undefined if it was not. */
  written(section: string, name: string): Written | undefined {
    const from = this.#sectionOf(section, name);
    const option = this.#schema.get(section)?.[name];
    for (const alias of [name, ...(option?.aliases ?? [])]) {
      const [first, second] = alias.split('.');
      const found = second === undefined ? this.#written.get(from, first!) : this.#written.get(first!, second);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** The value of one option; undefined, with an entry in `problems`, if there is none that can be used. */
  value(section: string, name: string, option: Option<unknown>): unknown {
    const written = this.written(section, name);
    try {
      return this.#parse(section, option, written, [`${section}.${name}`]);
    } catch (error) {
      if (!(error instanceof BadValue) && !(error instanceof Unresolvable)) throw error;
      this.problems.push({ where: written?.where, section, option: name, message: describeProblem(error, option, written) });
      return undefined;
    }
  }

  /** `auth_section` moves the log-in options, and only those, to another section. */
  #sectionOf(section: string, name: string): string {
    if (!authOptionNames.has(name) || this.#schema.get(section)?.['auth_section'] === undefined) return section;
    const other = this.#written.get(section, 'auth_section')?.text.trim() ?? '';
    return other === '' ? section : normalizeSection(other);
  }

  #parse(section: string, option: Option<unknown>, written: Written | undefined, trail: readonly string[]): unknown {
    const isEmpty = written === undefined || (written.text.trim() === '' && (option.isNullable || !this.#takesEmpty(option)));
    const text = isEmpty ? option.default : written.text;
    return text === null ? null : option.kind.parse(this.#substitute(section, option.isSecret, text, trail));
  }

  /** Empty text is a value for text and lists; for a number or a word it means the default, as in oslo.config. */
  #takesEmpty(option: Option<unknown>): boolean {
    try {
      option.kind.parse('');
      return true;
    } catch {
      return false; // BadValue: that is the answer
    }
  }

  #substitute(section: string, isSecret: boolean, text: string, trail: readonly string[]): string {
    return text.replaceAll('\\$', '$$$$').replace(reference, (whole, dollar?: string, plain?: string, braced?: string) => {
      if (dollar !== undefined) return '$';
      const written = plain ?? braced ?? '';
      const name = plain === undefined ? written : written.replace(/\.+$/, '');
      const value = this.#lookUp(section, name, trail);
      if (value === undefined) {
        const what = isSecret ? 'a dollar sign is followed by a name that is no option' : `there is no option '${name}' for ${whole}`;
        throw new Unresolvable(`${what}; write $$ for a plain dollar sign`);
      }
      return value + written.slice(name.length);
    });
  }

  #lookUp(section: string, name: string, trail: readonly string[]): string | undefined {
    const at = name.indexOf('.');
    const places = at < 0 ? [[section, name], ['DEFAULT', name]] : [[normalizeSection(name.slice(0, at)), name.slice(at + 1)]];
    if (places[0]![0] === 'machine') return { hostname: this.#machine.hostname, address: this.#machine.address }[places[0]![1]!];
    for (const [place, key] of places as [string, string][]) {
      const id = `${place}.${key}`;
      if (trail.includes(id)) throw new Unresolvable(`${[...trail, id].join(' -> ')} goes in a circle; write one of them out`);
      const option = this.#schema.get(place)?.[key];
      const written = option === undefined ? this.#written.get(place, key) : this.written(place, key);
      if (option === undefined && written === undefined) continue;
      if (option === undefined) return this.#substitute(place, false, written!.text, [...trail, id]);
      const value = this.#parse(place, option, written, [...trail, id]);
      return value === null ? '' : option.kind.render(value);
    }
    return undefined;
  }
}
