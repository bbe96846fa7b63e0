/** A clock whose time passes only by sleeping in it, or by `advance`; a test of an hour takes no time. */
import type { Clock } from '../../src/lib/clock.js';

export interface VirtualClock extends Clock {
  /** Lets time pass and runs what was due, in order. */
  advance(ms: number): void;
  /** Milliseconds slept in all. */
  readonly sleptMs: number;
}

export function createVirtualClock(start = new Date('2026-11-23T04:00:00Z')): VirtualClock {
  let elapsed = 0;
  let slept = 0;
  let timers: { at: number; run: () => void }[] = [];
  const advance = (ms: number): void => {
    elapsed += ms;
    const due = timers.filter(({ at }) => at <= elapsed).sort((a, b) => a.at - b.at);
    timers = timers.filter(({ at }) => at > elapsed);
    due.forEach(({ run }) => run());
  };
  return {
    now: () => new Date(start.getTime() + elapsed),
    monotonicMs: () => elapsed,
    async sleep(ms, signal) {
      signal?.throwIfAborted();
      slept += ms;
      advance(ms);
    },
    after(ms, run) {
      const timer = { at: elapsed + ms, run };
      timers.push(timer);
      return { cancel: () => { timers = timers.filter((candidate) => candidate !== timer); } };
    },
    advance,
    get sleptMs() {
      return slept;
    },
  };
}
