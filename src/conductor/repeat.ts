/**
 * Repeating calls whose answer did not come. A time-out or a lost connection leaves open whether the conductor did the work,
 * so each caller says why a second time is harmless (see the comments at the calls). A conductor that is away for a minute
 * then costs a build a minute, not the build.
 */
import { fullJitter } from '../lib/backoff.js';
import type { Clock } from '../lib/clock.js';
import { codeOf } from '../lib/errors.js';
import type { Logger } from '../observe/index.js';
import { isSilence } from '../rpc/index.js';

export interface RepeatDeps {
  readonly clock: Clock;
  readonly log: Logger;
  /** How long after the first attempt a new one may begin. */
  readonly forMs: number;
  readonly random?: () => number;
  /** Ends all waiting, for shutdown. */
  readonly signal?: AbortSignal;
}

/** Runs `attempt` until it ends in anything but silence; `isRepeat` tells that an earlier one may have done the work. */
export type Repeat = <T>(what: string, attempt: (isRepeat: boolean) => Promise<T>) => Promise<T>;

export function createRepeat(deps: RepeatDeps): Repeat {
  return async (what, attempt) => {
    const backoff = fullJitter({ baseMs: 1_000, maxMs: 10_000, ...(deps.random === undefined ? {} : { random: deps.random }) });
    const deadline = deps.clock.monotonicMs() + deps.forMs;
    for (let isRepeat = false; ; isRepeat = true) {
      try {
        return await attempt(isRepeat);
      } catch (error) {
        const waitMs = backoff.next();
        if (!isSilence(error) || deps.clock.monotonicMs() + waitMs > deadline) throw error;
        deps.log.warn({ call: what, code: codeOf(error), waitMs }, 'the conductor did not answer; asking again');
        await deps.clock.sleep(waitMs, deps.signal);
      }
    }
  };
}
