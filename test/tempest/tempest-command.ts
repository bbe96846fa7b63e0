/** What `npm run tempest` does once everything is installed and built (test/tempest/run.mjs does that). */
import { join } from 'node:path';
import { bringUpLab, type Phase } from '../cloud/support/lab-session.js';
import { leaksOf } from '../cloud/support/leak-check.js';
import { coreTests } from './core.js';
import { defaultPattern, prepareTempest, type Tempest } from './tempest.js';
import { summarize, type Verdict } from './verdicts.js';

export interface Screen {
  readonly phase: Phase;
  readonly say: (text?: string) => void;
}

export interface Options {
  readonly pattern?: string;
  readonly core?: boolean;
  readonly list?: boolean;
  readonly workers?: number;
}

const marks = { passed: '✔', failed: '✘', skipped: '↓' } as const;

/** Resolves with whether nothing failed. */
export async function tempest({ phase, say }: Screen, options: Options): Promise<boolean> {
  const lab = await bringUpLab(phase);
  const runner = await phase('Tempest', async (note) => {
    note('images and tempest.conf');
    return prepareTempest(lab);
  });
  const chosen = options.core === true ? [...coreTests] : await phase('list of tests', () => runner.list(options.pattern ?? defaultPattern));
  if (options.list === true) {
    say(chosen.join('\n'));
    return true;
  }
  if (chosen.length === 0) throw new Error(`no test of Tempest matches ${options.pattern ?? defaultPattern}`);
  const verdicts = await runAll({ phase, say }, runner, chosen, options.workers ?? 2);
  showSummary(say, runner, verdicts);
  const leaks = await leaksOf(lab.cloud, lab.node);
  if (leaks.length > 0) say(`\nleft behind on ${lab.node.name}:\n  ${leaks.join('\n  ')}`);
  return verdicts.every(({ outcome }) => outcome !== 'failed') && leaks.length === 0;
}

async function runAll({ phase, say }: Screen, runner: Tempest, tests: readonly string[], workers: number): Promise<Verdict[]> {
  const without = new Map(tests.map((test) => [test, runner.features.without(test)]));
  const wanted = tests.filter((test) => without.get(test) === null);
  const refused = tests.flatMap((test): Verdict[] => {
    const text = without.get(test);
    return text === null || text === undefined ? [] : [{ test, outcome: 'skipped', seconds: 0, text }];
  });
  if (wanted.length === 0) return refused;
  let done = 0;
  const verdicts = await phase(`${wanted.length} tests`, (note) => runner.run(wanted, workers, ({ test, outcome, seconds }) => {
    done += 1;
    if (outcome === 'skipped') return;
    note(`${done}/${wanted.length} ${marks[outcome]} ${test} ${seconds.toFixed(1)} s`);
  }));
  for (const { test, text } of verdicts.filter(({ outcome }) => outcome === 'failed')) say(`\n✘ ${test}\n${text.trimEnd()}`);
  return [...verdicts, ...refused];
}

function showSummary(say: Screen['say'], runner: Tempest, verdicts: readonly Verdict[]): void {
  const { passed, failed, skipped, reasons } = summarize(verdicts);
  const off = Object.entries(runner.features.flags).filter(([, isOn]) => !isOn).map(([flag]) => flag);
  say(`\nflags that are off, because the agent says so (nova-bhyve methods): ${off.join(', ') || 'none'}`);
  if (reasons.length > 0) say(`\nskipped, and why:\n${reasons.map(({ reason, count }) => `${String(count).padStart(5)}  ${reason}`).join('\n')}`);
  for (const { test } of verdicts.filter(({ outcome }) => outcome === 'failed')) say(`failed  ${test}`);
  say(`\n${passed} passed, ${failed} failed, ${skipped} skipped; all that Tempest printed is in ${join(runner.folder, 'output.log')}`);
}
