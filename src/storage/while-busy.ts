/** What somebody has just let go of may be held for a moment longer: a guest that ended, a reader that was stopped. */
import type { Clock } from '../lib/clock.js';
import { codeOf } from '../lib/errors.js';

const BUSY_WAIT_MS = 3_000;
const BUSY_POLL_MS = 100;

/** Repeats what is refused as busy for a while, then gives that error. */
export async function whileBusy(clock: Clock, act: () => Promise<void>): Promise<void> {
  const deadline = clock.monotonicMs() + BUSY_WAIT_MS;
  for (;;) {
    try {
      return await act();
    } catch (error) {
      if (codeOf(error) !== 'zfs-busy' || clock.monotonicMs() >= deadline) throw error;
    }
    await clock.sleep(BUSY_POLL_MS);
  }
}
