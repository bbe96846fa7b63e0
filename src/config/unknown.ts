/** Names that the agent does not know: a typing error, or an option of a Nova service that we are not. */
import { distance } from 'fastest-levenshtein'; // small, no dependencies; the one thing we need of it is exact
import { normalizeKey, type IniDocument } from './ini.js';
import type { OptionProblem } from './resolve.js';
import { ourSections, sectionsOf } from './schema.js';

/** The nearest of `names` if it is near enough to be what was meant. */
export function suggest(name: string, names: Iterable<string>): string | undefined {
  const limit = name.length < 5 ? 1 : name.length < 12 ? 2 : 3;
  let best: { name: string; cost: number } | undefined;
  for (const candidate of names) {
    const cost = distance(name, candidate);
    if (cost <= limit && cost < (best?.cost ?? Infinity)) best = { name: candidate, cost };
  }
  return best?.name;
}

const didYouMean = (name: string | undefined): string => (name === undefined ? '' : `; did you mean ${name}?`);

/** Every name under which an option may be written, by section. */
function knownNames(): Map<string, Set<string>> {
  const names = new Map<string, Set<string>>();
  const add = (section: string, name: string): void => void names.set(section, (names.get(section) ?? new Set()).add(name));
  for (const [section, options] of sectionsOf()) {
    names.set(section, names.get(section) ?? new Set());
    for (const [name, option] of Object.entries(options)) {
      for (const alias of [name, ...option.aliases]) {
        const [first, second] = alias.split('.');
        if (second === undefined) add(section, first!);
        else add(first!, second);
      }
    }
  }
  return names;
}

export interface UnknownReport {
  readonly problems: readonly OptionProblem[];
  readonly warnings: readonly string[];
}

/** Compares one file with the table. `usedSections` are known for another reason (auth_section). */
export function findUnknown(file: string, document: IniDocument, usedSections: ReadonlySet<string>): UnknownReport {
  const known = knownNames();
  const problems: OptionProblem[] = [];
  const warnings: string[] = [];
  const unused: string[] = [];
  for (const [section, line] of document.sections) {
    if (known.has(section) || usedSections.has(section)) continue;
    const near = suggest(section, ourSections);
    if (near === undefined) unused.push(`[${section}]`);
    else problems.push({ where: `${file}:${line}`, section, option: '', message: `there is no such section${didYouMean(`[${near}]`)}` });
  }
  for (const entry of document.entries) {
    const names = known.get(entry.section);
    const name = normalizeKey(entry.key);
    if (names === undefined || names.has(name) || usedSections.has(entry.section)) continue;
    const near = suggest(name, names);
    if (ourSections.has(entry.section)) {
      const all = names.size === 0 ? '; this section has no options yet' : `; it has ${[...names].sort().join(', ')}`;
      const message = `there is no such option${near === undefined ? all : didYouMean(near)}`;
      problems.push({ where: `${file}:${entry.line}`, section: entry.section, option: entry.key, message });
    } else if (near === undefined) unused.push(`[${entry.section}] ${entry.key}`);
    else warnings.push(`${file}:${entry.line}: [${entry.section}] ${entry.key}: not known here${didYouMean(near)}`);
  }
  if (unused.length > 0) warnings.push(`${file}: not used by this agent: ${unused.join(', ')}`);
  return { problems, warnings };
}
