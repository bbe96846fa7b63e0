/** The journal of a node, in a folder of its own. */
import { assert } from '../lib/assert.js';
import type { Clock } from '../lib/clock.js';
import { AgentError } from '../lib/errors.js';
import type { OperationId } from '../lib/ids.js';
import type { Logger, Metrics } from '../observe/index.js';
import { replay } from './replay.js';
import { listSegments, makeFolder, readSegment, segmentName, startSegment } from './segment.js';
import { JournalState, type JournalBounds } from './state.js';
import type { Journal, JournalledOperation } from './types.js';
import { createWriter } from './writer.js';

export const journalBounds: JournalBounds = { maxSeen: 10_000, maxSeenAgeMs: 24 * 3600_000, maxHistoryPerInstance: 20, maxHistory: 2000 };

/** Operations without an outcome that are taken at most; more stay with the broker. */
const maxOpen = 10_000;
const maxGrowthBytes = 4 * 1024 * 1024;
/** Payloads of ended operations leave the disk at most this much later. */
const forgetAfterMs = 10_000;

export interface JournalDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics?: Metrics;
  readonly bounds?: JournalBounds;
}

/** The state that the newest file of a folder tells, and its number (0: there is none). */
export async function loadState(folder: string, bounds: JournalBounds): Promise<{ state: JournalState; number: number; tornBytes: number }> {
  const state = new JournalState(bounds);
  const number = (await listSegments(folder)).at(-1) ?? 0;
  if (number === 0) return { state, number, tornBytes: 0 };
  const { records, tornBytes } = replay(segmentName(number), await readSegment(folder, number));
  for (const record of records) state.apply(record);
  return { state, number, tornBytes };
}

/**
 * Opens the journal in `folder` (made with mode 0700 if absent) for one process. AgentError `journal-corrupt`, `journal-too-new`,
 * `journal-failed`. Later failures reject the call concerned with `journal-failed`; nothing that was promised is lost by them.
 */
export async function openJournal(folder: string, deps: JournalDeps): Promise<Journal> {
  const { clock, log, metrics } = deps;
  const { state, number, tornBytes } = await prepare(folder, deps);
  if (tornBytes > 0) log.warn({ tornBytes }, 'journal had an unfinished last write; left out');
  const writer = await createWriter({
    maxGrowthBytes,
    startSegment: (next, content) => startSegment(folder, next, content),
    apply: (record) => state.apply(record),
    snapshot: () => state.snapshot(clock.now()),
    onRotated: (bytes) => metrics?.gauge('agent_journal_bytes', bytes),
    onRotationFailed: (err) => log.error({ err }, 'journal file not renewed'),
  }, number);
  const accepting = new Map<string, Promise<void>>();
  const stepBegan = new Map<string, number>();
  let forgetting: { cancel(): void } | undefined;

  const now = (): string => clock.now().toISOString();
  const countOpen = (): void => metrics?.gauge('agent_journal_open_count', state.openCount);
  const openOperation = (id: OperationId): JournalledOperation => {
    const operation = state.find(id);
    assert(operation !== undefined && operation.outcome === null, 'a journalled operation is changed while it is open');
    return operation;
  };
  const forgetSoon = (): void => {
    forgetting ??= clock.after(forgetAfterMs, () => {
      forgetting = undefined;
      writer.compact().catch((err: unknown) => log.warn({ err }, 'payloads of ended operations stay in the journal for now'));
    });
  };
  const observeStep = (operation: JournalledOperation, step: string, isDone: boolean): void => {
    const key = `${operation.id} ${step}`;
    const began = stepBegan.get(key);
    if (!isDone) stepBegan.set(key, clock.monotonicMs());
    else if (began !== undefined) metrics?.observe('agent_step_seconds', (clock.monotonicMs() - began) / 1000, { rpc: operation.rpc, step });
    if (isDone) stepBegan.delete(key);
  };

  return {
    async accept(operation) {
      const same = accepting.get(operation.messageId);
      if (same !== undefined) await same; // 'duplicate' promises that the first one is safe
      if (same !== undefined || state.hasSeen(operation.messageId)) return 'duplicate';
      if (state.openCount + accepting.size >= maxOpen) throw new AgentError('journal-full', 'too many operations are open', { retry: 'later' });
      const { id, messageId, rpc, instance, requestId, payload } = operation;
      const written = writer.append({ t: 'accept', id, messageId, rpc, instance, requestId, payload: payload ?? null, at: now() }, true);
      accepting.set(messageId, written);
      try {
        await written;
      } finally {
        accepting.delete(messageId);
      }
      state.trimSeen(clock.now());
      countOpen();
      return 'new';
    },
    async begin(id) {
      openOperation(id);
      // Durable: Nova's row is changed before the first step, and must not be built from its start once more.
      await writer.append({ t: 'begin', id }, true);
    },
    async mark(id, step, mark, { isDurable = mark !== 'done' } = {}) {
      const operation = openOperation(id);
      if (mark === 'begun') observeStep(operation, step, false);
      // Without 'done' after a power failure the step looks, and finds that it is.
      await writer.append({ t: 'mark', id, step, mark }, isDurable);
      if (mark !== 'begun') observeStep(operation, step, true);
    },
    async note(id, key, value) {
      openOperation(id);
      await writer.append({ t: 'note', id, key, value }, true);
    },
    async end(id, outcome) {
      const operation = state.find(id);
      assert(operation !== undefined, 'an operation that ends was accepted');
      if (operation.outcome !== null) return;
      await writer.append({ t: 'end', id, outcome, at: now() }, true);
      for (const step of operation.steps.keys()) stepBegan.delete(`${id} ${step}`);
      countOpen();
      forgetSoon();
    },
    operation: (id) => state.operation(id),
    unfinished: () => state.unfinished(),
    history: (instance) => state.history(instance),
    async close() {
      if (forgetting !== undefined) {
        forgetting.cancel();
        await writer.compact().catch((err: unknown) => log.warn({ err }, 'payloads of ended operations stay in the journal for now'));
      }
      await writer.close();
    },
  };
}

async function prepare(folder: string, deps: JournalDeps): ReturnType<typeof loadState> {
  try {
    await makeFolder(folder);
    return await loadState(folder, deps.bounds ?? journalBounds);
  } catch (cause) {
    if (cause instanceof AgentError) throw cause;
    throw new AgentError('journal-failed', `the journal in ${folder} cannot be opened`, { cause });
  }
}
