/** The only place that reads the time or sets timers; everything else takes a Clock. */
import { reasonOf } from './abort.js';
import { AgentError } from './errors.js';

export interface Clock {
  /** Wall time; for records and messages only. */
  now(): Date;
  /** Monotonic milliseconds; for durations and deadlines. */
  monotonicMs(): number;
  /** Resolves after `ms`, 24 days at the most; rejects with the signal's reason when aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Calls `run` once after `ms`, 24 days at the most, unless cancelled. Never keeps the process alive by itself. */
  after(ms: number, run: () => void): { cancel(): void };
}

/** Node's timers fire at once when they are asked for more than 2^31 - 1 ms, as a peer's or an operator's number may do. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => new Date(),
  monotonicMs: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise<void>((resolve, reject) => {
      if (signal?.aborted === true) return reject(reasonOf(signal));
      const onAbort = (): void => {
        clearTimeout(timer);
        reject(reasonOf(signal));
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      }, Math.min(ms, MAX_TIMER_MS));
      signal?.addEventListener('abort', onAbort, { once: true });
    }),
  after: (ms, run) => {
    const timer = setTimeout(run, Math.min(ms, MAX_TIMER_MS));
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
};

/**
 * Runs `work` with a signal that fires after `ms` (or with `parent`), and rejects with AgentError `timeout` then.
 * `what` names the work in the error.
 */
export async function withTimeout<T>(
  clock: Clock,
  ms: number,
  what: string,
  work: (signal: AbortSignal) => Promise<T>,
  parent?: AbortSignal,
): Promise<T> {
  const controller = new AbortController();
  const abort = (reason: unknown): void => controller.abort(reason);
  const onParent = (): void => abort(parent?.reason);
  if (parent?.aborted === true) onParent();
  parent?.addEventListener('abort', onParent, { once: true });
  const timer = clock.after(ms, () => abort(new AgentError('timeout', `${what} took longer than ${ms} ms`, { retry: 'later' })));
  const aborted = new Promise<never>((_resolve, reject) => {
    const fail = (): void => reject(reasonOf(controller.signal));
    if (controller.signal.aborted) fail();
    else controller.signal.addEventListener('abort', fail, { once: true });
  });
  try {
    return await Promise.race([work(controller.signal), aborted]);
  } finally {
    timer.cancel();
    parent?.removeEventListener('abort', onParent);
  }
}
