/**
 * Background duties (nova-contract 4.1). A duty compares what should be with what is; it never overlaps itself, a failure is logged and
 * the next run tries again. Those with a calendar-like interval run on node-cron (kept up, no dependencies); others on a timer.
 */
import cron, { type ScheduledTask } from 'node-cron';
import type { Clock } from '../lib/clock.js';
import type { Logger, Metrics } from '../observe/index.js';

export interface Duty {
  /** Kebab-case, for logs and metrics. */
  readonly name: string;
  /** 0 or less switches it off. */
  readonly everySeconds: number;
  /** Also once, right after the start. */
  readonly atStart: boolean;
  run(signal: AbortSignal): Promise<void>;
}

export interface DutyDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** periodic_fuzzy_delay */
  readonly fuzzySeconds: number;
}

/**
 * The cron expression that fires every `seconds`, `offset` seconds into its interval; undefined if no expression does that evenly.
 */
export function cronExpression(seconds: number, offset: number): string | undefined {
  // Each second by its number: node-cron refuses "7/30", which crontab(5) does not know either.
  if (seconds < 60) return 60 % seconds === 0 ? `${Array.from({ length: 60 / seconds }, (_, at) => at * seconds + (offset % seconds)).join(',')} * * * * *` : undefined;
  if (seconds % 60 !== 0) return undefined;
  const minutes = seconds / 60;
  const second = offset % 60;
  if (minutes < 60) return 60 % minutes === 0 ? `${second} */${minutes} * * * *` : undefined;
  if (minutes % 60 !== 0) return undefined;
  const hours = minutes / 60;
  return 24 % hours === 0 ? `${second} 0 */${hours} * * *` : undefined;
}

/** Starts the duties; the returned function stops them and waits for the one that runs. */
export function startDuties(duties: readonly Duty[], deps: DutyDeps): () => Promise<void> {
  const controller = new AbortController();
  const tasks: ScheduledTask[] = [];
  const running = new Set<Promise<void>>();

  const guarded = (duty: Duty): (() => Promise<void>) => {
    let isRunning = false;
    return async () => {
      if (isRunning || controller.signal.aborted) return;
      isRunning = true;
      const work = runOnce(duty, deps, controller.signal).finally(() => { isRunning = false; });
      running.add(work);
      await work.finally(() => running.delete(work));
    };
  };

  for (const duty of duties) {
    if (duty.everySeconds <= 0) continue;
    const fire = guarded(duty);
    const offset = Math.floor(deps.random() * Math.min(duty.everySeconds, Math.max(deps.fuzzySeconds, 1)));
    const expression = cronExpression(duty.everySeconds, offset);
    if (expression === undefined) void loop(duty, fire, offset, deps.clock, controller.signal);
    else tasks.push(cron.schedule(expression, () => void fire(), { name: duty.name }));
    if (duty.atStart) void fire();
  }
  return async () => {
    controller.abort();
    await Promise.all(tasks.map(async (task) => task.destroy()));
    await Promise.all(running);
  };
}

async function runOnce(duty: Duty, { clock, log, metrics }: DutyDeps, signal: AbortSignal): Promise<void> {
  const startedMs = clock.monotonicMs();
  let outcome = 'succeeded';
  try {
    await duty.run(signal);
  } catch (err) {
    outcome = 'failed';
    if (!signal.aborted) log.warn({ err, duty: duty.name }, 'periodic duty failed; it will be tried again');
  }
  metrics.observe('agent_duty_seconds', (clock.monotonicMs() - startedMs) / 1000, { duty: duty.name, outcome });
}

async function loop(duty: Duty, fire: () => Promise<void>, offsetSeconds: number, clock: Clock, signal: AbortSignal): Promise<void> {
  try {
    await clock.sleep(offsetSeconds * 1000, signal);
    while (!signal.aborted) {
      await clock.sleep(duty.everySeconds * 1000, signal);
      await fire();
    }
  } catch {
    // Only the signal ends a sleep early: the agent is stopping.
  }
}
