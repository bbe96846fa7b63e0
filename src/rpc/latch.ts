/** A value that comes and goes (a connection, a channel), and waiting for it. */
import { abortable } from '../lib/abort.js';

export interface Latch<T> {
  readonly get: () => T | undefined;
  /** Undefined takes the value away; a value lets all waiters go on. */
  set(value: T | undefined): void;
  /** Resolves with the value as soon as there is one; rejects with the signal's reason, or after close(). */
  readonly wait: (signal: AbortSignal) => Promise<T>;
  /** No value will come any more: those who wait, and those who will, are rejected with `error`. */
  close(error: Error): void;
}

export function createLatch<T>(): Latch<T> {
  let current: T | undefined;
  let ended: Error | undefined;
  const waiters = new Set<{ resolve(value: T): void; reject(error: Error): void }>();
  const release = (each: (waiter: { resolve(value: T): void; reject(error: Error): void }) => void): void => {
    const released = [...waiters];
    waiters.clear();
    released.forEach(each);
  };
  return {
    get: () => current,
    set(value) {
      current = value;
      if (value !== undefined) release((waiter) => waiter.resolve(value));
    },
    async wait(signal) {
      if (current !== undefined) return current;
      if (ended !== undefined) throw ended;
      let waiter: { resolve(value: T): void; reject(error: Error): void } | undefined;
      const arrival = new Promise<T>((resolve, reject) => {
        waiter = { resolve, reject };
        waiters.add(waiter);
      });
      try {
        return await abortable(arrival, signal);
      } finally {
        if (waiter !== undefined) waiters.delete(waiter);
      }
    },
    close(error) {
      ended = error;
      current = undefined;
      release((waiter) => waiter.reject(error));
    },
  };
}
