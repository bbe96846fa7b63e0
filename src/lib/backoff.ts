/** Exponential backoff with full jitter: the n-th wait is uniform in [0, min(maxMs, baseMs * 2^n)]. */
export interface Backoff {
  /** Milliseconds to wait before the next attempt. */
  next(): number;
  /** Forget earlier failures. */
  reset(): void;
}

export function fullJitter(options: { baseMs: number; maxMs: number; random?: () => number }): Backoff {
  const random = options.random ?? Math.random;
  let attempt = 0;
  return {
    next() {
      const ceiling = Math.min(options.maxMs, options.baseMs * 2 ** Math.min(attempt, 30));
      attempt += 1;
      return Math.floor(random() * ceiling);
    },
    reset() {
      attempt = 0;
    },
  };
}
