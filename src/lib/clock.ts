/** The only place that reads the time or sets timers; everything else takes a Clock. */
import { AgentError } from './errors.js';

export interface Clock {
  /** Wall time; for records and messages only. */
  now(): Date;
  /** Monotonic milliseconds; for durations and deadlines. */
  monotonicMs(): number;
  /** Resolves after `ms`; rejects with the signal's reason when aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Calls `run` once after `ms` unless cancelled. Never keeps the process alive by itself. */
  after(ms: number, run: () => void): { cancel(): void };
}

export const systemClock: Clock = {
  now: () => new Date(),
  monotonicMs: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise<void>((resolve, reject) => {
      if (signal?.aborted === true) return reject(abortReason(signal));
      const onAbort = (): void => {
        clearTimeout(timer);
        reject(abortReason(signal));
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      }, ms);
      signal?.addEventListener('abort', onAbort, { once: true });
    }),
  after: (ms, run) => {
    const timer = setTimeout(run, ms);
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
};

function abortReason(signal: AbortSignal | undefined): Error {
  const reason: unknown = signal?.reason;
  return reason instanceof Error ? reason : new AgentError('aborted', 'the work was cancelled');
}

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
    const fail = (): void => reject(abortReason(controller.signal));
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
