/**
 * sysctl(8). Command forms:
 *   sysctl -n NAME                  one name; exit 1 and `unknown oid` if there is none
 *   sysctl -i -e NAME NAME …        several that were asked for at the same time: NAME=VALUE; unknown names are left out
 */
import { AgentError } from '../lib/errors.js';
import type { RunResult } from './host.js';

interface Question {
  readonly name: string;
  readonly resolve: (value: string | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/** Questions of one moment become one command. */
export function createSysctl(run: (args: readonly string[]) => Promise<RunResult>): (name: string) => Promise<string | undefined> {
  let waiting: Question[] = [];

  async function answer(): Promise<void> {
    const asked = waiting;
    waiting = [];
    try {
      const names = [...new Set(asked.map(({ name }) => name))];
      const values = await ask(run, names);
      for (const { name, resolve } of asked) resolve(values.get(name));
    } catch (error) {
      for (const { reject } of asked) reject(error);
    }
  }

  return (name) => new Promise((resolve, reject) => {
    waiting.push({ name, resolve, reject });
    if (waiting.length === 1) queueMicrotask(() => void answer());
  });
}

async function ask(run: (args: readonly string[]) => Promise<RunResult>, names: readonly string[]): Promise<ReadonlyMap<string, string | undefined>> {
  const [only] = names;
  if (names.length === 1) return new Map([[only!, parseSysctl(only!, await run(['-n', only!]))]]);
  const result = await run(['-i', '-e', ...names]);
  if (result.code !== 0) throw failure(names.join(' '), result);
  return parseSysctls(names, result.stdout);
}

const failure = (name: string, { code, stderr }: RunResult): AgentError =>
  new AgentError('command-failed', 'sysctl failed', { details: { tool: 'sysctl', name, code, stderr: stderr.trim().slice(-200) } });

/** Text of one sysctl without the last line end; undefined for an unknown name (exit 1, `unknown oid`). */
export function parseSysctl(name: string, result: RunResult): string | undefined {
  if (result.code === 0) return result.stdout.replace(/\n$/, '');
  if (result.stderr.includes('unknown oid')) return undefined;
  throw failure(name, result);
}

/** `NAME=VALUE` lines; a line that does not begin with a name that was asked for belongs to the value before it. */
export function parseSysctls(names: readonly string[], stdout: string): Map<string, string> {
  const values = new Map<string, string>();
  let last: string | undefined;
  for (const line of stdout.replace(/\n$/, '').split('\n')) {
    const name = names.find((each) => !values.has(each) && line.startsWith(`${each}=`));
    if (name !== undefined) values.set(name, line.slice(name.length + 1));
    else if (last !== undefined) values.set(last, `${values.get(last) ?? ''}\n${line}`);
    last = name ?? last;
  }
  return values;
}
