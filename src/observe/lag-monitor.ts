/** Notices when the event loop is held up: something then blocks heartbeats and answers. */
import type { Clock } from '../lib/clock.js';
import type { Logger, Metrics } from './types.js';

export interface LagOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Between two looks; default 1000. */
  readonly everyMs?: number;
  /** Lag that is worth a warning, at most once a minute; default 500. */
  readonly warnMs?: number;
}

/** Looks until `stop` is called. Does not keep the process alive. */
export function startLagMonitor(options: LagOptions): { stop(): void } {
  const { clock, log, metrics } = options;
  const everyMs = options.everyMs ?? 1000;
  const warnMs = options.warnMs ?? 500;
  let warnedAtMs = -Infinity;
  let dueMs = clock.monotonicMs() + everyMs;
  const look = (): void => {
    const nowMs = clock.monotonicMs();
    const lagMs = Math.max(0, nowMs - dueMs);
    metrics.gauge('agent_loop_lag_seconds', lagMs / 1000);
    if (lagMs >= warnMs && nowMs - warnedAtMs >= 60_000) {
      warnedAtMs = nowMs;
      log.warn({ lagMs: Math.round(lagMs) }, 'event loop was held up');
    }
    dueMs = nowMs + everyMs;
    timer = clock.after(everyMs, look);
  };
  let timer = clock.after(everyMs, look);
  return { stop: () => timer.cancel() };
}
