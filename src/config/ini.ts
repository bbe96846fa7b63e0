/**
 * The ini dialect of oslo.config, by its observed rules: `key = value` or `key: value` (whichever sign comes first), a line that
 * begins with a blank continues the value before it, an empty line ends it, `#` or `;` in the first column begins a comment,
 * a key may repeat, one pair of equal quotes around the first line of a value is taken off. `%` has no meaning.
 */

/** One `key = value` as it stands in a file. Lines of a continued value are joined with '\n'. */
export interface IniEntry {
  readonly section: string;
  /** As written; oslo accepts `-` and `_` alike, see normalizeKey. */
  readonly key: string;
  readonly value: string;
  /** Line of the key, from 1. */
  readonly line: number;
}

export interface IniProblem {
  readonly line: number;
  readonly message: string;
}

export interface IniDocument {
  readonly entries: readonly IniEntry[];
  /** Sections in the order of their first appearance, with that line. */
  readonly sections: ReadonlyMap<string, number>;
  /** Everything that is wrong, not just the first thing. Such lines are left out of `entries`. */
  readonly problems: readonly IniProblem[];
}

/** oslo.config looks options up with '-' and '_' as the same letter. */
export const normalizeKey = (key: string): string => key.replaceAll('-', '_');

/** Section names are compared in lower case, except DEFAULT, which must be written so. */
export const normalizeSection = (name: string): string => (name === 'DEFAULT' ? name : name.toLowerCase());

function unquote(text: string): string {
  const first = text[0];
  if ((first === '"' || first === "'") && text.at(-1) === first) return text.slice(1, -1);
  return text;
}

function splitAssignment(line: string): { key: string; value: string } | undefined {
  const at = line.search(/[=:]/);
  if (at < 0) return undefined;
  return { key: line.slice(0, at).trim(), value: unquote(line.slice(at + 1).trim()) };
}

function sectionProblem(line: string): string | undefined {
  if (!line.endsWith(']')) return 'a section must end with ], as in [bhyve]';
  return line.length <= 2 ? 'a section needs a name, as in [bhyve]' : undefined;
}

/** Reads a whole file. Never throws: what is wrong is in `problems`. */
export function parseIni(text: string): IniDocument {
  const entries: { section: string; key: string; values: string[]; line: number }[] = [];
  const sections = new Map<string, number>();
  const problems: IniProblem[] = [];
  let section = 'DEFAULT';
  let open: { values: string[] } | undefined;
  text.split(/\r?\n/).forEach((raw, index) => {
    const line = raw.trimEnd();
    const number = index + 1;
    const problem = (message: string): void => void problems.push({ line: number, message });
    if (line === '') open = undefined;
    else if (line.startsWith(' ') || line.startsWith('\t')) {
      if (open === undefined) problem('this line begins with a blank, but there is no value above that it could continue');
      else open.values.push(line.trimStart());
    } else if (line.startsWith('[')) {
      open = undefined;
      const wrong = sectionProblem(line);
      if (wrong !== undefined) return problem(wrong);
      section = normalizeSection(line.slice(1, -1));
      if (!sections.has(section)) sections.set(section, number);
    } else if (line.startsWith('#') || line.startsWith(';')) open = undefined;
    else {
      open = undefined;
      const assignment = splitAssignment(line);
      if (assignment === undefined) return problem('neither a section, a comment, nor "option = value"');
      if (assignment.key === '') return problem('the name of the option is missing before the sign');
      const entry = { section, key: assignment.key, values: [assignment.value], line: number };
      entries.push(entry);
      open = entry;
    }
  });
  return {
    entries: entries.map(({ values, ...rest }) => ({ ...rest, value: values.join('\n') })),
    sections,
    problems,
  };
}

/** Quotes a first line that would otherwise lose its blanks or its own quotes. */
function renderFirstLine(text: string): string {
  const quoted = (text.startsWith('"') || text.startsWith("'")) && text.at(-1) === text[0];
  return text !== text.trim() || quoted ? `"${text}"` : text;
}

/**
 * Writes entries so that parseIni reads the same sections, keys and values. Lines after the first of a value must not be
 * empty nor begin or end with blanks: the dialect cannot say that.
 */
export function renderIni(entries: readonly Pick<IniEntry, 'section' | 'key' | 'value'>[]): string {
  const lines: string[] = [];
  let section: string | undefined;
  for (const entry of entries) {
    if (entry.section !== section) {
      section = entry.section;
      lines.push(`[${section}]`);
    }
    const [first = '', ...rest] = entry.value.split('\n');
    lines.push(`${entry.key} = ${renderFirstLine(first)}`.trimEnd(), ...rest.map((line) => `    ${line}`));
  }
  return lines.map((line) => `${line}\n`).join('');
}
