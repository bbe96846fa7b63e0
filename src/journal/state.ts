/** What the journal knows, built by applying its records one by one; bounded. */
import type { InstanceUuid, OperationId } from '../lib/ids.js';
import type { JournalRecord } from './records.js';
import type { JournalledOperation, OperationOutcome, StepMark } from './types.js';

export interface JournalBounds {
  /** Message ids remembered for duplicates: at most so many … */
  readonly maxSeen: number;
  /** … and not longer than this. */
  readonly maxSeenAgeMs: number;
  /** Ended operations kept per instance … */
  readonly maxHistoryPerInstance: number;
  /** … and altogether. */
  readonly maxHistory: number;
}

interface OperationState extends JournalledOperation {
  payload: unknown;
  hasBegun: boolean;
  outcome: OperationOutcome | null;
  endedAt: string | null;
  readonly steps: Map<string, StepMark>;
  readonly notes: Record<string, string>;
}

const copy = (operation: OperationState): JournalledOperation => ({ ...operation, steps: new Map(operation.steps), notes: { ...operation.notes } });

export class JournalState {
  readonly #bounds: JournalBounds;
  /** In the order of acceptance. */
  readonly #operations = new Map<string, OperationState>();
  readonly #open = new Set<string>();
  /** messageId → when; in the order of acceptance. */
  readonly #seen = new Map<string, string>();

  constructor(bounds: JournalBounds) {
    this.#bounds = bounds;
  }

  apply(record: JournalRecord): void {
    switch (record.t) {
      case 'accept':
        return this.#add({ ...record, acceptedAt: record.at, hasBegun: false, steps: new Map(), notes: {}, outcome: null, endedAt: null });
      case 'operation':
        return this.#add({ ...record, steps: new Map(record.steps), notes: { ...record.notes } });
      case 'seen':
        this.#seen.set(record.messageId, record.at);
        return;
      case 'begin':
        return this.#change(record.id, (operation) => { operation.hasBegun = true; });
      case 'mark':
        return this.#change(record.id, (operation) => { operation.steps.set(record.step, record.mark); });
      case 'note':
        return this.#change(record.id, (operation) => { operation.notes[record.key] = record.value; });
      case 'end':
        return this.#end(record.id, record.outcome, record.at);
    }
  }

  #add(fields: Omit<OperationState, 'id' | 'instance'> & { id: string; instance: string | null }): void {
    const { acceptedAt, messageId, rpc, requestId, payload, hasBegun, steps, notes, outcome, endedAt } = fields;
    const operation: OperationState = {
      id: fields.id as OperationId, instance: fields.instance as InstanceUuid | null, // written by us from branded ids
      acceptedAt, messageId, rpc, requestId, payload, hasBegun, steps, notes, outcome, endedAt,
    };
    this.#operations.set(fields.id, operation);
    this.#seen.set(messageId, this.#seen.get(messageId) ?? acceptedAt);
    if (outcome === null) this.#open.add(fields.id);
  }

  #change(id: string, change: (operation: OperationState) => void): void {
    const operation = this.#operations.get(id);
    if (operation !== undefined) change(operation);
  }

  #end(id: string, outcome: OperationOutcome, at: string): void {
    this.#change(id, (operation) => {
      operation.outcome = outcome;
      operation.endedAt = at;
      operation.payload = null; // it may hold secrets, and nobody will run it again
    });
    this.#open.delete(id);
    this.#trimHistory();
  }

  #trimHistory(): void {
    const ended = [...this.#operations.values()].filter((operation) => operation.outcome !== null);
    const kept = new Map<string | null, number>();
    let total = 0;
    for (const operation of ended.reverse()) {
      const ofInstance = (kept.get(operation.instance) ?? 0) + 1;
      kept.set(operation.instance, ofInstance);
      total += 1;
      if (ofInstance > this.#bounds.maxHistoryPerInstance || total > this.#bounds.maxHistory) this.#operations.delete(operation.id);
    }
  }

  /** Forgets message ids past the bounds; those of open operations stay. */
  trimSeen(now: Date): void {
    const open = new Set([...this.#open].map((id) => this.#operations.get(id)?.messageId));
    for (const [messageId, at] of this.#seen) {
      const isOld = now.getTime() - Date.parse(at) > this.#bounds.maxSeenAgeMs;
      if (this.#seen.size <= this.#bounds.maxSeen && !isOld) break; // in the order of time: the rest is younger
      if (!open.has(messageId)) this.#seen.delete(messageId);
    }
  }

  hasSeen(messageId: string): boolean {
    return this.#seen.has(messageId);
  }

  get openCount(): number {
    return this.#open.size;
  }

  /** Not a copy: for looking only. */
  find(id: string): JournalledOperation | undefined {
    return this.#operations.get(id);
  }

  operation(id: string): JournalledOperation | undefined {
    const operation = this.#operations.get(id);
    return operation === undefined ? undefined : copy(operation);
  }

  unfinished(): JournalledOperation[] {
    return [...this.#operations.values()].filter((operation) => operation.outcome === null).map(copy);
  }

  history(instance: string): JournalledOperation[] {
    return [...this.#operations.values()].filter((operation) => operation.instance === instance).map(copy);
  }

  /** Records that make the same state again, without the payloads of what has ended. */
  snapshot(now: Date): JournalRecord[] {
    this.trimSeen(now);
    const known = new Set([...this.#operations.values()].map((operation) => operation.messageId));
    const seen = [...this.#seen].filter(([messageId]) => !known.has(messageId)).map(([messageId, at]): JournalRecord => ({ t: 'seen', messageId, at }));
    const operations = [...this.#operations.values()].map((operation): JournalRecord => ({
      t: 'operation', ...operation, endedAt: operation.endedAt, steps: [...operation.steps],
    }));
    return [...seen, ...operations];
  }
}
