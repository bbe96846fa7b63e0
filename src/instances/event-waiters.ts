/**
 * Waiters for external events (nova-contract 6.12, 10.3). Register before the cause, wait after it: an event that comes in
 * between is not lost. An event nobody waits for is normal.
 */
import type { InstanceUuid } from '../lib/ids.js';

/** `stopping`: the agent ends, and whoever waits with it. */
export type EventStatus = 'completed' | 'failed' | 'cancelled' | 'stopping';

export interface EventWaiter {
  readonly name: string;
  readonly tag: string;
  /** Never rejects. */
  readonly arrived: Promise<EventStatus>;
  /** Stops waiting; `arrived` becomes 'cancelled' unless it was settled. */
  cancel(): void;
}

export interface EventWaiters {
  expect(instance: InstanceUuid, name: string, tag: string): EventWaiter;
  /** True if somebody waited for it. */
  deliver(instance: InstanceUuid, name: string, tag: string, status: 'completed' | 'failed'): boolean;
  /** Wakes all waiters of an instance with 'cancelled' (delete). */
  clear(instance: InstanceUuid): void;
  /** Wakes everybody with 'stopping' (shutdown) and refuses to wait from then on. */
  close(): void;
}

export function createEventWaiters(): EventWaiters {
  type Waiting = { instance: InstanceUuid; name: string; tag: string; settle: (status: EventStatus) => void };
  const waiting = new Set<Waiting>();
  let isClosed = false;

  const settleWhere = (matches: (one: Waiting) => boolean, status: EventStatus): boolean => {
    const hits = [...waiting].filter(matches);
    for (const one of hits) one.settle(status);
    return hits.length > 0;
  };

  return {
    expect(instance, name, tag) {
      let settle: (status: EventStatus) => void = () => undefined;
      const arrived = new Promise<EventStatus>((resolve) => {
        settle = (status) => {
          waiting.delete(one);
          resolve(status);
        };
      });
      const one: Waiting = { instance, name, tag, settle };
      if (isClosed) settle('stopping');
      else waiting.add(one);
      return { name, tag, arrived, cancel: () => settle('cancelled') };
    },
    deliver: (instance, name, tag, status) =>
      settleWhere((one) => one.instance === instance && one.name === name && one.tag === tag, status),
    clear(instance) {
      settleWhere((one) => one.instance === instance, 'cancelled');
    },
    close() {
      isClosed = true;
      settleWhere(() => true, 'stopping');
    },
  };
}
