/** One fair mutex per key; keys without holders take no memory. async-mutex: small, maintained, no dependencies. */
import { Mutex } from 'async-mutex';

export class KeyedMutex<Key extends string> {
  readonly #mutexes = new Map<Key, { mutex: Mutex; users: number }>();

  /** Runs `work` while no other work runs under `key`; waiters go in the order of their calls. */
  async run<T>(key: Key, work: () => Promise<T>): Promise<T> {
    const entry = this.#mutexes.get(key) ?? { mutex: new Mutex(), users: 0 };
    this.#mutexes.set(key, entry);
    entry.users += 1;
    try {
      return await entry.mutex.runExclusive(work);
    } finally {
      entry.users -= 1;
      if (entry.users === 0) this.#mutexes.delete(key);
    }
  }

  /** Whether somebody holds or waits for `key`. */
  isBusy(key: Key): boolean {
    return this.#mutexes.has(key);
  }

  /** How many keys are held or waited for. */
  get size(): number {
    return this.#mutexes.size;
  }
}
