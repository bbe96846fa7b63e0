/**
 * bhyve's configuration variables: a tree whose leaves are strings. Setting a leaf anew moves it to the end of its node, which is
 * why a dump is not in the order of the arguments. Rules as in bhyve_config(5) and the transcripts of FreeBSD 13.2.
 */
import { readFileSync, statSync } from 'node:fs';
import { Exit, strerror } from './tool.js';

export type ConfigTree = Map<string, string | ConfigTree>;

export interface BhyveConfig {
  set(path: string, value: string): void;
  /** Makes a node without leaves; the devices of `-s` exist before their options. */
  makeNode(path: string): ConfigTree;
  get(path: string): string | undefined;
  node(path: string): ConfigTree | undefined;
  /** With `%(name)` replaced. */
  expanded(path: string): string | undefined;
  boolean(path: string, otherwise: boolean): boolean;
  dump(): string;
}

export function createConfig(warn: (text: string) => void): BhyveConfig {
  const root: ConfigTree = new Map();
  const walk = (parts: readonly string[], make: boolean): ConfigTree | undefined => {
    let at = root;
    for (const [index, part] of parts.entries()) {
      const next = at.get(part);
      if (typeof next === 'string') {
        if (!make) return undefined;
        const name = parts.slice(0, index + 1).join('.');
        throw new Exit(4, `bhyve: Configuration node ${name} is a child of existing variable ${part}\nbhyve: Failed to create configuration node ${parts.join('.')}\n`);
      }
      if (next === undefined && !make) return undefined;
      const child = next ?? new Map<string, string | ConfigTree>();
      if (next === undefined) at.set(part, child);
      at = child;
    }
    return at;
  };
  const get = (path: string): string | undefined => {
    const parts = path.split('.');
    const value = walk(parts.slice(0, -1), false)?.get(parts.at(-1)!);
    return typeof value === 'string' ? value : undefined;
  };
  const expanded = (path: string): string | undefined => {
    const value = get(path);
    return value === undefined ? undefined : expand(value, expanded, warn);
  };
  return {
    set(path, value) {
      const parts = path.split('.');
      const at = walk(parts.slice(0, -1), true)!;
      const name = parts.at(-1)!;
      if (at.get(name) instanceof Map) throw new Exit(4, `bhyve: Attempting to add value ${value} to existing node ${name}\n`);
      at.delete(name);
      at.set(name, value);
    },
    makeNode: (path) => walk(path.split('.'), true)!,
    get,
    node: (path) => walk(path.split('.'), false),
    expanded,
    boolean(path, otherwise) {
      const value = expanded(path)?.toLowerCase();
      if (value === undefined) return otherwise;
      if (['true', 'on', 'yes', '1'].includes(value)) return true;
      if (['false', 'off', 'no', '0'].includes(value)) return false;
      throw new Exit(4, `bhyve: Invalid value for boolean variable ${path}: '${value}'\n`);
    },
    dump: () => render(root, ''),
  };
}

/** `%(name)` is another variable, `%%` is `%`; any other `%` is a mistake that bhyve tells and leaves as it is. */
function expand(value: string, lookUp: (name: string) => string | undefined, warn: (text: string) => void): string {
  let text = '';
  for (let at = 0; at < value.length; at++) {
    if (value[at] !== '%') {
      text += value[at]!;
      continue;
    }
    const reference = /^%\(([^)]*)\)/.exec(value.slice(at));
    if (value[at + 1] === '%') {
      text += '%';
      at++;
    } else if (reference !== null) {
      text += lookUp(reference[1]!) ?? '';
      at += reference[0].length - 1;
    } else {
      warn(`bhyve: Invalid reference in configuration value "${value}"\n`);
      return value;
    }
  }
  return text;
}

function render(tree: ConfigTree, prefix: string): string {
  return [...tree].map(([name, value]) => (typeof value === 'string' ? `${prefix}${name}=${value}\n` : render(value, `${prefix}${name}.`))).join('');
}

/** `-o name=value` and each line of a `-k` file; false if it has no `=` or no value. */
export function setFromText(config: BhyveConfig, text: string): boolean {
  const equals = text.indexOf('=');
  if (equals < 0 || equals === text.length - 1) return false;
  config.set(text.slice(0, equals), text.slice(equals + 1));
  return true;
}

export function readConfigFile(config: BhyveConfig, path: string): void {
  let text: string;
  try {
    text = statSync(path).isDirectory() ? '' : readFileSync(path, 'utf8');
  } catch (error) {
    throw new Exit(4, `bhyve: Failed to open configuration file ${path}: ${strerror(error)}\n`);
  }
  for (const [index, line] of text.split('\n').entries()) {
    if (line === '' || line.startsWith('#')) continue;
    if (!setFromText(config, line)) throw new Exit(4, `bhyve: ${path} line ${index + 1}: invalid config option '${line}'\n`);
  }
}
