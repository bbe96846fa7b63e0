/** Reads the configuration once, at start. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { hostname, networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { AgentError } from '../lib/errors.js';
import { crossCheck } from './check.js';
import { normalizeSection, parseIni, type IniDocument } from './ini.js';
import { Resolver, WrittenOptions, type Machine, type OptionProblem } from './resolve.js';
import { sectionsOf, type Config } from './schema.js';
import { findUnknown } from './unknown.js';

/** Where the package puts its configuration. */
export const defaultConfigFile = '/usr/local/etc/nova-bhyve/nova-bhyve.conf';
/** Files `*.conf` in here are read after it, by name. */
export const defaultConfigDir = '/usr/local/etc/nova-bhyve/nova-bhyve.conf.d';

export interface LoadOptions {
  /** Read in this order; a later one wins. None at all (files and dirs empty): the defaults above, the folder only if it exists. */
  readonly files?: readonly string[];
  /** `*.conf` in each, sorted by name, after all files. */
  readonly dirs?: readonly string[];
  /** OS_SECTION__OPTION wins over files; default: the environment of the process. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Default: asked of the operating system. */
  readonly machine?: Machine;
}

export interface LoadedConfig {
  readonly config: Config;
  /** One line each, for the log. */
  readonly warnings: readonly string[];
  /** What was read, in order. */
  readonly files: readonly string[];
}

export interface ConfigSource {
  readonly file: string;
  readonly text: string;
}

function thisMachine(): Machine {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []).filter((entry) => !entry.internal);
  const best = addresses.find((entry) => entry.family === 'IPv4') ?? addresses.find((entry) => !entry.address.startsWith('fe80'));
  return { hostname: hostname(), address: best?.address ?? '127.0.0.1' };
}

const render = (problem: OptionProblem, files: readonly string[]): string => {
  const where = problem.where ?? files.at(-1) ?? 'defaults';
  return `${where}: [${problem.section}]${problem.option === '' ? '' : ` ${problem.option}`}: ${problem.message}`;
};

function fail(lines: readonly string[]): never {
  throw new AgentError('config-invalid', `the configuration cannot be used:\n${lines.map((line) => `  ${line}`).join('\n')}`, {
    details: { problems: lines },
  });
}

/** Sections that are named by an auth_section somewhere. */
function authSections(written: WrittenOptions): { used: Set<string>; problems: OptionProblem[] } {
  const used = new Set<string>();
  const problems: OptionProblem[] = [];
  for (const [section, options] of sectionsOf()) {
    const found = options['auth_section'] === undefined ? undefined : written.get(section, 'auth_section');
    const other = found?.text.trim() ?? '';
    if (other === '') continue;
    used.add(normalizeSection(other));
    if (!written.hasSection(normalizeSection(other))) {
      problems.push({ where: found?.where, section, option: 'auth_section', message: `there is no section [${other}]` });
    }
  }
  return { used, problems };
}

/** The pure part: texts in, configuration out. Throws AgentError `config-invalid` with every problem, one per line. */
export function readConfig(sources: readonly ConfigSource[], env: LoadOptions['env'] = {}, machine: Machine = thisMachine()): LoadedConfig {
  const files = sources.map((source) => source.file);
  const documents = sources.map((source): { file: string; document: IniDocument } => ({ file: source.file, document: parseIni(source.text) }));
  const written = new WrittenOptions();
  for (const { file, document } of documents) for (const entry of document.entries) written.add(entry, file);
  written.addEnvironment(env);

  const resolver = new Resolver(written, machine);
  const auth = authSections(written);
  const config = Object.fromEntries([...sectionsOf()].map(([section, options]) => [
    section,
    Object.freeze(Object.fromEntries(Object.entries(options).map(([name, option]) => [name, resolver.value(section, name, option)]))),
  ])) as unknown as Config;

  const unknown = documents.map(({ file, document }) => findUnknown(file, document, auth.used));
  const syntax = documents.flatMap(({ file, document }) => document.problems.map((problem) => `${file}:${problem.line}: ${problem.message}`));
  const single = [...resolver.problems, ...auth.problems, ...unknown.flatMap((report) => report.problems)];
  const locate = (problem: OptionProblem): OptionProblem => ({ ...problem, where: problem.where ?? resolver.written(problem.section, problem.option)?.where });
  const together = single.length === 0 ? crossCheck(config) : { bad: [], warn: [] };
  const lines = [...syntax, ...[...single, ...together.bad].map((problem) => render(locate(problem), files))];
  if (lines.length > 0) fail(lines);
  return { config: Object.freeze(config), files, warnings: [...unknown.flatMap((report) => report.warnings), ...together.warn.map((problem) => render(locate(problem), files))] };
}

function readFile(file: string): ConfigSource {
  try {
    return { file, text: readFileSync(file, 'utf8') };
  } catch (cause) {
    throw new AgentError('config-unreadable', `cannot read the configuration file ${file}; name another one with --config-file`, { cause });
  }
}

function filesIn(dir: string): string[] {
  try {
    return readdirSync(dir).filter((name) => name.endsWith('.conf')).sort().map((name) => join(dir, name));
  } catch (cause) {
    throw new AgentError('config-unreadable', `cannot read the configuration folder ${dir}; name another one with --config-dir`, { cause });
  }
}

/**
 * Reads files, folders and environment. Throws AgentError `config-invalid` (all problems, one line each:
 * `file:line: [section] option: what is wrong, what would be right`) or `config-unreadable`. No message ever holds a secret.
 */
export function loadConfig(options: LoadOptions = {}): LoadedConfig {
  const isDefault = (options.files ?? []).length === 0 && (options.dirs ?? []).length === 0;
  const files = isDefault ? [defaultConfigFile] : (options.files ?? []);
  const dirs = isDefault ? [defaultConfigDir].filter((dir) => existsSync(dir)) : (options.dirs ?? []);
  const sources = [...files, ...dirs.flatMap(filesIn)].map(readFile);
  return readConfig(sources, options.env ?? process.env, options.machine ?? thisMachine());
}
