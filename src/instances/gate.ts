/**
 * The request gate: one operation at a time for each instance, in the order of arrival.
 *
 *             ┌─ ignored: the same kind is already waiting (or, for delete, running)
 *   request ──┼─ refused: the agent is shutting down
 *             └─ accepted ──▶ waiting ──▶ running ──▶ over
 *
 * A delete does not wait for a build, a rebuild, a rescue, an image that takes hours, or a guest that takes its time to shut down: it asks
 * what runs to stop (its AbortSignal fires), then takes its turn. Every outcome is logged alike.
 */
import { AgentError } from '../lib/errors.js';
import type { InstanceUuid } from '../lib/ids.js';
import { KeyedMutex } from '../lib/keyed-mutex.js';
import type { Logger, Metrics } from '../observe/index.js';

export type GateKind =
  | 'build' | 'delete' | 'soft-delete' | 'restore' | 'start' | 'stop' | 'reboot' | 'pause' | 'unpause' | 'suspend' | 'resume' | 'crash-dump' | 'power-sync' | 'plug' | 'refusal'
  | 'rebuild' | 'rescue' | 'resize' | 'snapshot' | 'shelve' | 'unshelve';
export type GateOutcome = 'accepted' | 'ignored' | 'refused';

/** Why a running operation's signal fired: somebody wants the instance gone. */
export const deletedMeanwhile = (): AgentError => new AgentError('instance-deleted', 'the instance is being deleted');
/** Why every signal fires when the agent stops. */
export const shuttingDown = (): AgentError => new AgentError('shutting-down', 'the agent is stopping', { retry: 'later' });

interface Entry {
  readonly kind: GateKind;
  readonly controller: AbortController;
  isRunning: boolean;
}

export interface Gate {
  /**
   * Runs `work` when it is this request's turn. Resolves with the outcome once the work is over (or at once if it is not
   * accepted); rejects with what the work threw.
   */
  run(instance: InstanceUuid, kind: GateKind, work: (signal: AbortSignal) => Promise<void>): Promise<GateOutcome>;
  /** Runs `work` only if nothing runs or waits for the instance now; false otherwise (for periodic duties). */
  runIfIdle(instance: InstanceUuid, kind: GateKind, work: (signal: AbortSignal) => Promise<void>): Promise<boolean>;
  isBusy(instance: InstanceUuid): boolean;
  /** Refuses new requests from now on. */
  close(): void;
  /** Requests accepted and not over. */
  readonly open: number;
}

/** Long work whose result nobody wants once the instance is to go. */
const yieldsToDelete: ReadonlySet<GateKind> = new Set(['build', 'rebuild', 'rescue', 'snapshot', 'shelve', 'unshelve', 'stop', 'reboot']);
const yieldsToSoftDelete: ReadonlySet<GateKind> = new Set(['snapshot']);
const nothing: ReadonlySet<GateKind> = new Set();
const yieldsTo = (kind: GateKind): ReadonlySet<GateKind> => (kind === 'delete' ? yieldsToDelete : kind === 'soft-delete' ? yieldsToSoftDelete : nothing);
const collapses: ReadonlySet<GateKind> = new Set(['start', 'stop', 'reboot', 'pause', 'unpause', 'suspend', 'resume', 'soft-delete', 'restore', 'power-sync']);

export function createGate(deps: { log: Logger; metrics: Metrics }): Gate {
  const mutex = new KeyedMutex<InstanceUuid>();
  const entries = new Map<InstanceUuid, Set<Entry>>();
  let isClosed = false;
  let open = 0;

  function judge(instance: InstanceUuid, kind: GateKind): GateOutcome {
    if (isClosed) return 'refused';
    const present = [...(entries.get(instance) ?? [])].filter((entry) => entry.kind === kind);
    if (kind === 'delete') return present.length > 0 ? 'ignored' : 'accepted';
    return collapses.has(kind) && present.some((entry) => !entry.isRunning) ? 'ignored' : 'accepted';
  }

  async function enter(instance: InstanceUuid, kind: GateKind, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const entry: Entry = { kind, controller: new AbortController(), isRunning: false };
    const mine = entries.get(instance) ?? new Set<Entry>();
    entries.set(instance, mine.add(entry));
    open += 1;
    deps.metrics.gauge('agent_open_requests_count', open);
    for (const other of mine) if (yieldsTo(kind).has(other.kind)) other.controller.abort(deletedMeanwhile());
    try {
      await mutex.run(instance, async () => {
        entry.isRunning = true;
        await work(entry.controller.signal);
      });
    } finally {
      mine.delete(entry);
      if (mine.size === 0) entries.delete(instance);
      open -= 1;
      deps.metrics.gauge('agent_open_requests_count', open);
    }
  }

  return {
    async run(instance, kind, work) {
      const outcome = judge(instance, kind);
      deps.log.info({ instance, kind, outcome }, 'request at the gate');
      if (outcome === 'accepted') await enter(instance, kind, work);
      return outcome;
    },
    async runIfIdle(instance, kind, work) {
      if (isClosed || mutex.isBusy(instance)) return false;
      await enter(instance, kind, work);
      return true;
    },
    isBusy: (instance) => mutex.isBusy(instance),
    close() {
      isClosed = true;
    },
    get open() {
      return open;
    },
  };
}
