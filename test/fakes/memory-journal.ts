/** A journal without a disk: the same promises as long as the process lives. */
import type { AcceptedOperation, Journal, JournalledOperation, OperationOutcome, StepMark } from '../../src/journal/index.js';
import type { OperationId } from '../../src/lib/ids.js';

interface Entry extends AcceptedOperation { hasBegun: boolean; steps: Map<string, StepMark>; notes: Record<string, string>; outcome: OperationOutcome | null }

export function createMemoryJournal(): Journal {
  const entries = new Map<OperationId, Entry>();
  const known = (id: OperationId): Entry => {
    const entry = entries.get(id);
    if (entry === undefined) throw new Error(`the journal does not know ${id}`);
    return entry;
  };
  const shown = (entry: Entry): JournalledOperation => ({ ...entry, acceptedAt: '2026-11-23T04:00:00Z' });
  return {
    async accept(operation) {
      if ([...entries.values()].some((entry) => entry.messageId === operation.messageId)) return 'duplicate';
      entries.set(operation.id, { ...operation, hasBegun: false, steps: new Map(), notes: {}, outcome: null });
      return 'new';
    },
    async begin(id) {
      known(id).hasBegun = true;
    },
    async mark(id, step, mark) {
      known(id).steps.set(step, mark);
    },
    async note(id, key, value) {
      known(id).notes[key] = value;
    },
    async end(id, outcome) {
      known(id).outcome = outcome;
    },
    operation: (id) => {
      const entry = entries.get(id);
      return entry === undefined ? undefined : shown(entry);
    },
    unfinished: () => [...entries.values()].filter((entry) => entry.outcome === null).map(shown),
    history: (instance) => [...entries.values()].filter((entry) => entry.instance === instance).map(shown),
    close: async () => undefined,
  };
}
