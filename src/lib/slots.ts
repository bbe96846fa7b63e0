/** A limited number of things at a time, for work that may be called off while it waits. */
import type { Semaphore } from 'async-mutex';
import { abortable } from './abort.js';

/** Runs `work` in a slot. When the signal fires first, rejects with its reason at once; the slot goes to the next in line. */
export async function inSlot<T>(slots: Semaphore, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  const acquired = slots.acquire();
  let release: () => void;
  try {
    [, release] = await abortable(acquired, signal);
  } catch (error) {
    acquired.then(([, give]) => give(), () => undefined);
    throw error;
  }
  try {
    return await work();
  } finally {
    release();
  }
}
