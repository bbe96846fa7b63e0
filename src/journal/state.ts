/** What the records amount to, in memory: operations by id, message ids seen, history of each instance. Everything has a limit. */
import { AgentError } from '../lib/errors.js';
import { parseInstanceUuid, parseOperationId, type InstanceUuid, type OperationId } from '../lib/ids.js';
import { journalFormat, type JournalRecord } from './records.js';
import type { JournalledOperation, OperationOutcome, StepMark } from './types.js';

/** Message ids are remembered so long and so many. oslo.messaging redelivers within minutes. */
const seenAgeMs = 24 * 3600 * 1000;
const seenCount = 20_000;
/** Ended operations kept for `nova-bhyve instance UUID`. */
const historyPerInstance = 20;
const historyInstances = 2000;

interface Entry {
  id: OperationId; messageId: string; rpc: string; instance: InstanceUuid | null; requestId: string | null; acceptedAt: string;
  payload: unknown; hasBegun: boolean; steps: Map<string, StepMark>; notes: Record<string, string>; outcome: OperationOutcome | null; endedAt: string | null;
}

export class JournalState {
  readonly #open = new Map<string, Entry>();
  readonly #seen = new Map<string, string>();
  readonly #history = new Map<InstanceUuid, Entry[]>();

  /** Takes over one record. AgentError `journal-too-new` for a format of a newer agent. */
  apply(record: JournalRecord): void {
    switch (record.t) {
      case 'format':
        if (record.format > journalFormat) {
          throw new AgentError('journal-too-new', `the journal was written by a newer agent (format ${record.format}, this one knows ${journalFormat}); install that agent again, or let it finish its work first`);
        }
        return;
      case 'accept': {
        const { id, messageId, rpc, requestId, at, payload } = record;
        const instance = record.instance === null ? null : parseInstanceUuid(record.instance);
        this.#open.set(id, { id: parseOperationId(id), messageId, rpc, instance, requestId, acceptedAt: at, payload, hasBegun: false, steps: new Map(), notes: {}, outcome: null, endedAt: null });
        this.#remember(messageId, at);
        return;
      }
      case 'seen':
        this.#remember(record.messageId, record.at);
        return;
      case 'begin': {
        const entry = this.#open.get(record.id);
        if (entry !== undefined) entry.hasBegun = true;
        return;
      }
      case 'mark':
        this.#open.get(record.id)?.steps.set(record.step, record.mark);
        return;
      case 'note': {
        const entry = this.#open.get(record.id);
        if (entry !== undefined) entry.notes[record.key] = record.value;
        return;
      }
      case 'end':
        this.#end(record.id, record.outcome, record.at);
    }
  }

  #remember(messageId: string, at: string): void {
    this.#seen.set(messageId, at);
    if (this.#seen.size > seenCount) this.#seen.delete(this.#seen.keys().next().value as string);
  }

  #end(id: string, outcome: OperationOutcome, at: string): void {
    const entry = this.#open.get(id);
    if (entry === undefined) return;
    this.#open.delete(id);
    entry.outcome = outcome;
    entry.endedAt = at;
    entry.payload = null; // it may hold secrets, and nobody needs it any more
    if (entry.instance === null) return;
    const list = this.#history.get(entry.instance) ?? [];
    this.#history.delete(entry.instance); // the latest instance goes last
    this.#history.set(entry.instance, [...list, entry].slice(-historyPerInstance));
    if (this.#history.size > historyInstances) this.#history.delete(this.#history.keys().next().value as InstanceUuid);
  }

  hasSeen(messageId: string): boolean {
    return this.#seen.has(messageId);
  }

  operation(id: OperationId): JournalledOperation | undefined {
    return this.#open.get(id);
  }

  unfinished(): JournalledOperation[] {
    return [...this.#open.values()];
  }

  history(instance: InstanceUuid): JournalledOperation[] {
    return [...(this.#history.get(instance) ?? []), ...this.unfinished().filter((entry) => entry.instance === instance)];
  }

  /** The shortest records that amount to the same. */
  snapshot(now: Date): JournalRecord[] {
    const oldest = new Date(now.getTime() - seenAgeMs).toISOString();
    const records: JournalRecord[] = [{ t: 'format', format: journalFormat }];
    for (const [messageId, at] of this.#seen) if (at >= oldest) records.push({ t: 'seen', messageId, at });
    for (const entry of [...this.#history.values()].flat()) records.push(...recordsOf(entry));
    for (const entry of this.#open.values()) records.push(...recordsOf(entry));
    return records;
  }
}

function recordsOf(entry: Entry): JournalRecord[] {
  const { id, messageId, rpc, instance, requestId, acceptedAt: at, payload } = entry;
  return [
    { t: 'accept', id, messageId, rpc, instance, requestId, at, payload },
    ...(entry.hasBegun ? [{ t: 'begin', id } as const] : []),
    ...[...entry.steps].map(([step, mark]) => ({ t: 'mark', id, step, mark }) as const),
    ...Object.entries(entry.notes).map(([key, value]) => ({ t: 'note', id, key, value }) as const),
    ...(entry.outcome === null ? [] : [{ t: 'end', id, outcome: entry.outcome, at: entry.endedAt ?? at } as const]),
  ];
}
