import { until } from '../cloud/control-plane/index.js';

/** As `until`, and throws the signal's reason when it fires. */
export function untilInterrupted<T>(signal: AbortSignal, limitMs: number, failure: () => string, check: () => Promise<T> | T, everyMs?: number): Promise<NonNullable<T>> {
  return until(limitMs, failure, () => {
    signal.throwIfAborted();
    return check();
  }, everyMs);
}
