/** The benchmark as a program, once everything is installed and built (run.mjs does that). */
import { writeFileSync } from 'node:fs';
import type { Phase } from '../cloud/support/lab-session.js';
import { figures, type FigureName } from './goals.js';
import { measureBoots, measureBootsAtOnce } from './measure-boots.js';
import { measureCrowd } from './measure-crowd.js';
import { measureDiagnostics, measurePing } from './measure-rpc.js';
import { measureStart } from './measure-start.js';
import { createSamples, type Recorder } from './recorder.js';
import { resultsOf, tableOf } from './results.js';
import { openScene, type Effort, type Scene } from './scene.js';

interface Measurement {
  readonly title: string;
  readonly gives: readonly FigureName[];
  readonly measure: (scene: Scene, recorder: Recorder) => Promise<void>;
}

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
];

export interface BenchOptions extends Effort {
  /** The control plane stays up, also if it was down before. */
  readonly keepsCloud: boolean;
  readonly json: string | null;
  /** Figures by name or by the beginning of it (`ping`); null is all. */
  readonly only: string | null;
}

/** Names that `only` can mean; throws with the list when it means none. */
export function chosenFigures(only: string | null): FigureName[] {
  const names = Object.keys(figures) as FigureName[];
  const chosen = only === null ? names : names.filter((name) => name === only || name.startsWith(`${only}-`));
  if (chosen.length === 0) throw new Error(`no figure is called ${String(only)}; there are: ${names.join(', ')}`);
  return chosen;
}

const notes = `
What each side does: both serve the same control plane, broker and database on this machine. The peer is Debian's nova-compute with Nova's fake driver, which answers from
memory. Ours is the product as it is shipped, with its journal on disk, on a null node: it starts the real commands (zfs, ps, daemon …) and a supervised process for each guest,
but behind them are stand-ins that take about 2 ms each and run no machine. Processor time is the
service's own and that of the commands it waited for; for boots they are apart, and the goal is for the service's own, because the peer runs none. Boots are without network
and config drive. The figures of a crowd are ours alone: the real agent and real processes, but a conductor, Keystone, Placement and Glance in memory, because the control
plane would be the limit; its audits and power syncs run every 5 s. --quick takes 20 guests and 100 operations there.`;

/** The first SIGINT or SIGTERM ends the measuring, not the clearing up: hosts that stay behind as "up" would be given servers. A second one kills. */
function watchSignals(): { readonly happened: Promise<void>; readonly signal: () => NodeJS.Signals | null; readonly endOfIt: () => void } {
  let caught: NodeJS.Signals | null = null;
  const happened = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.once(signal, () => {
        caught = signal;
        resolve();
      });
    }
  });
  // Dies of the signal as if it had never been caught; what was being measured would go on for minutes.
  return { happened, signal: () => caught, endOfIt: () => void (caught !== null && process.removeAllListeners(caught) && process.kill(process.pid, caught)) };
}

/** Runs what was asked for and shows it. Gives false if a goal is missed or something could not be measured. */
export async function bench(screen: { readonly phase: Phase; readonly say: (text?: string) => void }, options: BenchOptions): Promise<boolean> {
  const chosen = new Set(chosenFigures(options.only));
  const wanted = measurements.filter(({ gives }) => gives.some((name) => chosen.has(name)));
  const samples = createSamples(() => undefined);
  const failures: string[] = [];
  const interruption = watchSignals();
  const scene = await openScene(screen.phase, options);
  try {
    for (const { title, measure } of wanted) {
      if (interruption.signal() !== null) break;
      await Promise.race([screen.phase(title, (note) => measure(scene, { record: samples.record, note })), interruption.happened])
        .catch((err: unknown) => failures.push(`${title}: ${err instanceof Error ? err.message : String(err)}`));
    }
  } finally {
    await scene.close(screen.phase);
  }
  interruption.endOfIt();
  const results = Object.fromEntries(Object.entries(resultsOf(samples.taken)).filter(([name]) => chosen.has(name as FigureName)));
  screen.say(`\n${tableOf(results)}\n${notes}\n`);
  if (options.json !== null) writeFileSync(options.json, `${JSON.stringify(results, null, 2)}\n`);
  for (const failure of failures) screen.say(`Not measured to the end: ${failure}`);
  return failures.length === 0 && Object.values(results).every(({ met }) => met !== false);
}
