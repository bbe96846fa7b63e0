/** The benchmark as a program, once everything is installed and built (run.mjs does that). */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createControlPlane } from '../cloud/control-plane/index.js';
import type { Phase } from '../cloud/support/lab-session.js';
import { createCleanUp } from './clean-up.js';
import { figures, type FigureName } from './goals.js';
import { watchInterruption } from './interruption.js';
import { measureBoots, measureBootsAtOnce } from './measure-boots.js';
import { measureCrowd } from './measure-crowd.js';
import { measureDiagnostics, measurePing } from './measure-rpc.js';
import { measureSaves, sizesOfSaves, type SavesScene } from './measure-saves.js';
import { measureStart } from './measure-start.js';
import { createSamples, type Recorder } from './recorder.js';
import { notMeasured, resultsOf, tableOf } from './results.js';
import { clearServers, openScene, type Effort, type Scene } from './scene.js';

interface Measured { readonly title: string; readonly gives: readonly FigureName[] }

/** `measureAlone` needs no cloud. */
type Measurement = Measured & (
  | { readonly measure: (scene: Scene, recorder: Recorder) => Promise<void> }
  | { readonly measureAlone: (scene: SavesScene, recorder: Recorder) => Promise<void> }
);

const measurements: readonly Measurement[] = [
  { title: 'start and rest', gives: ['rss-idle', 'start-to-up', 'start-cpu'], measure: measureStart },
  { title: 'pings', gives: ['ping-p50', 'ping-one-at-a-time', 'ping-32-in-flight', 'ping-cpu', 'ping-p50-over-echo', 'ping-32-over-echo'], measure: measurePing },
  { title: 'diagnostics', gives: ['diagnostics-p50', 'diagnostics-one-at-a-time', 'diagnostics-32-in-flight'], measure: measureDiagnostics },
  { title: 'boots, one after the other', gives: ['boot-p50', 'boot-cpu', 'boot-commands-cpu'], measure: measureBoots },
  { title: 'boots at once', gives: ['boots-at-once-wall', 'boots-at-once-cpu', 'boots-at-once-commands-cpu'], measure: measureBootsAtOnce },
  {
    title: 'a crowd of guests', measure: measureCrowd,
    gives: ['flat-rss', 'flat-idle-cpu', 'start-100-guests', 'start-500-guests', 'audit-100-guests', 'audit-500-guests', 'power-sync-100-guests', 'power-sync-500-guests'],
  },
  {
    title: 'saves of guests', measureAlone: measureSaves,
    gives: sizesOfSaves.flatMap((size) => [`save-suspend-${size}`, `save-resume-${size}`, `save-checkpoint-${size}`] as const),
  },
];

export interface BenchOptions extends Effort {
  /** The control plane stays up, also if it was down before. */
  readonly keepsCloud: boolean;
  readonly json: string | null;
  /** Figures by name or by the beginning of it (`ping`), several with commas; null is all. */
  readonly only: string | null;
}

/** Names that `only` can mean, of those that this effort gives; throws with the list when a part of it means none. */
export function chosenFigures(only: string | null, isQuick: boolean): FigureName[] {
  const names = (Object.keys(figures) as FigureName[]).filter((name) => !isQuick || figures[name].isQuick);
  if (only === null) return names;
  const chosen = new Set(only.split(',').flatMap((part) => {
    const meant = names.filter((name) => name === part || name.startsWith(`${part}-`));
    if (meant.length === 0) throw new Error(`no figure${isQuick ? ' of a quick run' : ''} is called ${part}; there are: ${names.join(', ')}`);
    return meant;
  }));
  return names.filter((name) => chosen.has(name));
}

const notes = `
What each side does: both serve the same control plane, broker and database on this machine, in one run. The peer is Debian's nova-compute with Nova's fake driver, which
answers from memory. Ours is the product as it is shipped, with its journal on disk, on a null node: it starts the real commands (zfs, ps, daemon …) and a supervised process
for each guest, but behind them are stand-ins that take 2 to 4 ms each and run no machine. Processor time is the service's own and that of the commands it waited for, also
for boots, where their part is shown apart; the peer runs none. Not in it: the supervisors and guests, which are nobody's children. Boots are without network and config
drive. Figures are medians of the rounds; those of a crowd are of one, and ours alone: the real agent and real processes, but a conductor, Keystone, Placement and Glance in
memory, because the control plane would be the limit; its audits and power syncs run every 5 s, and its idle minute is made of whole runs of them. --quick takes 20 guests and
100 operations there. Saves are of a bhyve that writes and reads memory as fast as the disk takes it, beside the same without a guest: what the ratio is above 1 is the agent's
own (sums, manifest, starting of programs).`;

export interface Screen { readonly phase: Phase; readonly say: (text?: string) => void }

/** One measurement after the other; what went wrong, as sentences. `scene` null: none of them needs a cloud. */
async function measureAll(screen: Screen, wanted: readonly Measurement[], { alone, scene }: { readonly alone: SavesScene; readonly scene: Scene | null }, record: Recorder['record']): Promise<string[]> {
  const failures: string[] = [];
  for (const one of wanted) {
    if (alone.signal.aborted) break;
    try {
      await screen.phase(one.title, async (note) => {
        if ('measureAlone' in one) await one.measureAlone(alone, { record, note });
        else if (scene !== null) await one.measure(scene, { record, note });
      });
    } catch (err) {
      failures.push(`${one.title}: ${err instanceof Error ? err.message : String(err)}`);
      if (scene !== null && !scene.signal.aborted) await clearServers(scene).catch((again: unknown) => failures.push(String(again)));
    }
  }
  return failures;
}

/**
 * Runs what was asked for and shows it. Gives false if a goal is missed, or something could not be measured or cleared away. It ends early, with
 * everything cleared away, on a signal or when the process `parent` ends; then it does not return.
 */
export async function bench(screen: Screen, { parent, ...options }: BenchOptions & { readonly parent: number | null }): Promise<boolean> {
  const chosen = chosenFigures(options.only, options.isQuick);
  const wanted = measurements.filter(({ gives }) => gives.some((name) => chosen.includes(name)));
  const samples = createSamples();
  const interruption = watchInterruption(parent);
  const failures: string[] = [];
  try {
    const scene = wanted.every((one) => 'measureAlone' in one) ? null : await openScene(screen.phase, options, interruption.signal);
    const cleanUp = scene?.cleanUp ?? createCleanUp();
    const alone = { folder: join(createControlPlane().layout.root, 'bench'), effort: options, signal: interruption.signal, cleanUp };
    failures.push(...await measureAll(screen, wanted, { alone, scene }, samples.record));
    const left = scene === null ? await cleanUp.run(() => undefined) : await scene.close(screen.phase);
    failures.push(...left.map((what) => `left behind: ${what}`));
  } finally {
    interruption.die();
    interruption.close();
  }
  const results = resultsOf(samples.taken, chosen);
  screen.say(`\n${tableOf(results)}\n${notes}\n`);
  if (options.json !== null) writeFileSync(options.json, `${JSON.stringify(results, null, 2)}\n`);
  for (const failure of failures) screen.say(`Not as it should be: ${failure}`);
  const missing = notMeasured(results);
  if (missing.length > 0) screen.say(`Not measured: ${missing.join(', ')}`);
  return failures.length === 0 && missing.length === 0 && Object.values(results).every(({ met }) => met !== false);
}
