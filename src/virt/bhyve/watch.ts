/**
 * Sees what guests do by themselves. Supervisors touch `events/UUID` after each change; every tick is one readdir, however many guests there
 * are. A slower sweep with one ps catches what no supervisor could tell: a guest whose supervisor was killed.
 *
 * A name is removed before the guest is looked at, so that a change during the look makes a new one: nothing is missed. While an operation
 * of ours holds the guest, its name stays for later; the operation tells `note` what it made of the guest, so its own doing is no event.
 */
import type { Clock } from '../../lib/clock.js';
import { isUuid, parseInstanceUuid, type InstanceUuid } from '../../lib/ids.js';
import type { KeyedMutex } from '../../lib/keyed-mutex.js';
import type { Logger, Metrics } from '../../observe/index.js';
import type { GuestEvent, Verdict } from '../types.js';
import { putAway, type LifecycleDeps } from './lifecycle.js';
import { listProcesses, observeGuest } from './observe-guest.js';
import { interpretVerdict } from './verdict.js';

const tickMs = 500;
const sweepMs = 5000;
/** With guests that have no supervisor, whose end only ps shows. */
const orphanSweepMs = 1000;

/** The pid is null while a guest is coming up. */
type Known = { readonly kind: 'running'; readonly pid: number | null; readonly isSupervised: boolean } | { readonly kind: 'stopped' };

export interface Watch {
  /** Records what an operation of ours, or adoption, made of a guest; null when it is gone. */
  note(instance: InstanceUuid, known: Known | null): void;
  onEvent(listener: (event: GuestEvent) => void): void;
  /** Ticks until `close`. */
  start(): void;
  close(): Promise<void>;
  /** One look at everything, for tests and for callers who cannot wait. */
  tick(withSweep: boolean): Promise<void>;
}

export interface WatchDeps {
  readonly lifecycle: LifecycleDeps;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly mutex: KeyedMutex<InstanceUuid>;
}

export function createWatch(deps: WatchDeps): Watch {
  const { lifecycle, clock, log, metrics, mutex } = deps;
  const { host, files } = lifecycle;
  const known = new Map<InstanceUuid, Known>();
  const listeners: ((event: GuestEvent) => void)[] = [];
  const closed = new AbortController();
  let loop: Promise<void> | undefined;

  const emit = (instance: InstanceUuid, kind: GuestEvent['kind'], verdict: Verdict | null): void => {
    log.info({ instance, kind, verdict: verdict?.kind ?? null }, 'a guest changed by itself');
    metrics.count('agent_guest_events_total', { kind: kind === 'stopped' ? (verdict?.kind ?? 'stopped') : kind });
    for (const listener of listeners) {
      try {
        listener({ instance, kind, verdict });
      } catch (err) {
        log.error({ err, instance }, 'a listener of guest events failed');
      }
    }
  };

  /** Whether the files of a supervised guest say what is known already, as after a start of ours: no process list is needed to believe that. */
  async function isAsKnown(instance: InstanceUuid, before: Known): Promise<boolean> {
    if (before.kind !== 'running' || !before.isSupervised || (await files.readVerdict(instance)) !== undefined) return false;
    const status = await files.readStatus(instance);
    return status !== undefined && status.phase === 'running' && status.pid === before.pid;
  }

  /** Compares what is with what was known; under the guest's mutex. `isTold`: by its supervisor, which therefore lives. */
  async function examine(instance: InstanceUuid, isTold: boolean): Promise<void> {
    const before = known.get(instance);
    if (before === undefined || (isTold && (await isAsKnown(instance, before)))) return;
    const seen = await observeGuest(lifecycle, instance);
    if (seen.kind === 'coming-up') return;
    if (seen.kind === 'running') {
      const { pid } = seen.process;
      known.set(instance, { kind: 'running', pid, isSupervised: seen.isSupervised });
      if (before.kind === 'stopped') emit(instance, 'started', null);
      else if (before.pid !== null && before.pid !== pid) emit(instance, 'rebooted', { kind: 'rebooted', at: clock.now().toISOString() });
      return;
    }
    known.set(instance, { kind: 'stopped' });
    const stored = seen.kind === 'left-over' ? await putAway(lifecycle, instance, false) : seen.verdict;
    if (before.kind === 'running') emit(instance, 'stopped', stored === null ? null : interpretVerdict(stored));
  }

  async function examineUnlessBusy(instance: InstanceUuid, isTold: boolean): Promise<void> {
    if (!mutex.isBusy(instance)) await mutex.run(instance, () => examine(instance, isTold));
  }

  async function readEvents(): Promise<void> {
    for (const name of await host.files.list(files.events)) {
      if (!isUuid(name)) continue;
      const instance = parseInstanceUuid(name);
      if (mutex.isBusy(instance)) continue;
      await host.files.remove(`${files.events}/${name}`, files.events);
      await examineUnlessBusy(instance, true).catch((err: unknown) => log.error({ err, instance }, 'could not look at a guest'));
    }
  }

  /** Guests whose process vanished without a word, and those whose supervisor did. */
  async function sweep(): Promise<void> {
    const running = [...known].filter(([, state]) => state.kind === 'running');
    if (running.length === 0) return;
    const all = await listProcesses(host);
    for (const [instance, state] of running) {
      if (mutex.isBusy(instance) || state.kind !== 'running') continue;
      const seen = await observeGuest(lifecycle, instance, all);
      if (seen.kind === 'running' && seen.process.pid === state.pid) {
        if (state.isSupervised && !seen.isSupervised) log.warn({ instance }, 'a guest lost its supervisor; its exit status will not be known');
        known.set(instance, { kind: 'running', pid: state.pid, isSupervised: seen.isSupervised });
      } else {
        await examineUnlessBusy(instance, false).catch((err: unknown) => log.error({ err, instance }, 'could not look at a guest'));
      }
    }
  }

  async function run(): Promise<void> {
    let sweptMs = clock.monotonicMs();
    while (!closed.signal.aborted) {
      try {
        await clock.sleep(tickMs, closed.signal);
        const hasOrphans = [...known.values()].some((state) => state.kind === 'running' && !state.isSupervised);
        const isDue = clock.monotonicMs() - sweptMs >= (hasOrphans ? orphanSweepMs : sweepMs);
        if (isDue) sweptMs = clock.monotonicMs();
        await tick(isDue);
      } catch (err) {
        if (!closed.signal.aborted) log.error({ err }, 'the watch over guests failed; it goes on');
      }
    }
  }

  async function tick(withSweep: boolean): Promise<void> {
    await readEvents();
    if (!withSweep) return;
    await sweep();
    const states = [...known.values()];
    metrics.gauge('agent_guests_count', states.filter(({ kind }) => kind === 'running').length, { state: 'running' });
    metrics.gauge('agent_guests_count', states.filter(({ kind }) => kind === 'stopped').length, { state: 'stopped' });
  }

  return {
    note: (instance, state) => void (state === null ? known.delete(instance) : known.set(instance, state)),
    onEvent: (listener) => void listeners.push(listener),
    start: () => void (loop ??= run()),
    close: async () => {
      closed.abort();
      await loop;
    },
    tick,
  };
}
