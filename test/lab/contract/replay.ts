/**
 * Replays recorded commands of a FreeBSD host and compares. The same recordings go against the stand-ins always, and against a real
 * host when LAB_FREEBSD=user@host is given (root, a scratch machine: pools, taps and bridges are made and removed there).
 */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { repository } from '../engine.js';

export interface Recording {
  readonly argv: readonly string[];
  readonly stdout: string;
  readonly stderr: string;
  readonly code: number;
}

/** Recordings of one file of test/samples/freebsd-13.2/commands. */
export function recordings(file: string): Recording[] {
  const text = readFileSync(join(repository, 'test/samples/freebsd-13.2/commands', `${file}.json`), 'utf8');
  return (JSON.parse(text) as { recordings: Recording[] }).recordings;
}

export interface Outcome {
  readonly stdout: string;
  readonly stderr: string;
  readonly code: number;
}

/** Where commands run: a lab node, or a real host by ssh. */
export interface Place {
  readonly what: string;
  /** Names of the recording's host as they are here, e.g. pool `tank` → `lab-c`. Longest first. */
  readonly names: readonly (readonly [recorded: string, here: string])[];
  /** Texts of the recording that this kind of host does not have. */
  readonly absent: readonly string[];
  run(argv: readonly string[]): Promise<Outcome>;
}

export function localPlace(env: NodeJS.ProcessEnv, names: Place['names'], absent: readonly string[] = []): Place {
  return {
    what: 'stand-ins', names, absent,
    run: async (argv) => execute(argv[0]!, argv.slice(1), env),
  };
}

const quote = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;

export function sshPlace(host: string, names: Place['names']): Place {
  return {
    what: host, names, absent: [],
    run: async (argv) => execute('ssh', ['-o', 'BatchMode=yes', host, argv.map(quote).join(' ')], process.env),
  };
}

async function execute(command: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = execFile(command, [...args], { env: { ...env, TZ: 'UTC', LC_ALL: 'C' }, maxBuffer: 16 << 20, timeout: 60_000 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 128 + signalNumber(error.signal);
      resolve({ stdout, stderr, code });
    });
    child.stdin?.end();
  });
}

const signalNumber = (signal: NodeJS.Signals | undefined): number => (signal === 'SIGABRT' ? 6 : signal === 'SIGSEGV' ? 11 : signal === 'SIGTERM' ? 15 : 9);

const translate = (text: string, names: Place['names']): string => names.reduce((held, [recorded, here]) => held.replaceAll(recorded, here), text);

/** Numbers, sizes, MACs and dates as `#`, runs of blanks as one: the shape of an output. */
export const shapeOf = (text: string): string =>
  text.replace(/\b[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}\b/g, '#').replace(/\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) \w{3} [ \d]?\d (?:[ \d]?\d:\d\d(?::\d\d)? )?\d{4}/g, '#').replace(/(?<![A-Za-z@._-])-?\d+(?:\.\d+)?[KMGTPEB%x]*(?![A-Za-z_.-])/g, '#').replace(/[ \t]+/g, ' ');

export interface Difference {
  readonly argv: string;
  readonly expected: string;
  readonly got: string;
}

export interface Rule {
  /** Which recordings this is about. */
  readonly when: (recording: Recording) => boolean;
  /** What is not compared there; `order`: the order of lines. */
  readonly skip: 'all' | 'stdout' | 'stderr' | 'order';
  readonly why: string;
}

/** Runs one recording and tells what differs, or null. */
export async function replay(place: Place, recording: Recording, rules: readonly Rule[] = []): Promise<Difference | null> {
  if (rules.find(({ when }) => when(recording))?.skip === 'all') return null;
  return differenceOf(place, recording, await place.run(argvAt(place, recording)), rules);
}

/** The command of a recording with this place's names. */
export const argvAt = (place: Place, recording: Recording): string[] => recording.argv.map((word) => translate(word, place.names));

/** What differs between a recording and what came of its command here, or null. */
export function differenceOf(place: Place, recording: Recording, got: Outcome, rules: readonly Rule[] = []): Difference | null {
  const rule = rules.find(({ when }) => when(recording));
  const view = (outcome: Outcome, isRecorded: boolean): string => {
    const text = (stream: string): string => shapeOf(isRecorded ? place.absent.reduce((held, gone) => held.replaceAll(gone, ''), translate(stream, place.names)) : stream);
    return `exit ${outcome.code}\n${rule?.skip === 'stdout' ? '' : `out: ${text(outcome.stdout)}\n`}${rule?.skip === 'stderr' ? '' : `err: ${text(outcome.stderr)}\n`}`;
  };
  const [expected, seen] = [view(recording, true), view(got, false)];
  const sorted = (text: string): string => text.replace(/^(out|err): /gm, '').split(/[\n ,]/).sort().join('\n');
  const isSame = expected === seen || (rule?.skip === 'order' && sorted(expected) === sorted(seen));
  return isSame ? null : { argv: argvAt(place, recording).join(' '), expected, got: seen };
}

/** Recordings that do not depend on each other, four at a time. */
export async function replayAll(place: Place, all: readonly Recording[], rules: readonly Rule[] = []): Promise<Difference[]> {
  const differences: (Difference | null)[] = [];
  const queue = [...all.entries()];
  const worker = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) differences[next[0]] = await replay(place, next[1], rules);
  };
  await Promise.all([worker(), worker(), worker(), worker()]);
  return differences.filter((difference) => difference !== null);
}

/** A session: each command meets what the ones before left. `before` does what the recorded session did between its commands. */
export async function replayInOrder(
  place: Place, all: readonly Recording[], rules: readonly Rule[] = [], before: (argv: string) => Promise<void> | undefined = () => undefined,
): Promise<Difference[]> {
  const differences: Difference[] = [];
  for (const recording of all) {
    await before(recording.argv.join(' '));
    const difference = await replay(place, recording, rules);
    if (difference !== null) differences.push(difference);
  }
  return differences;
}

/** Differences as text for a person, '' if there are none: only the lines that are not on both sides. */
export function describeDifferences(differences: readonly Difference[]): string {
  return differences.map(({ argv, expected, got }) => {
    const [want, have] = [expected.split('\n'), got.split('\n')];
    const only = (sign: string, from: readonly string[], other: readonly string[]): string => from.filter((line) => !other.includes(line)).slice(0, 10).map((line) => `\n  ${sign} ${line}`).join('');
    return `$ ${argv}${only('-', want, have)}${only('+', have, want)}`;
  }).join('\n');
}
