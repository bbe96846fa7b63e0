/**
 * Puts records on the disk: those that come while a write is under way go together in the next one and share its fsync.
 *
 *   append ─▶ queue ─▶ [ write all ─▶ fsync ─▶ apply to the state ─▶ resolve ] ─▶ …
 *                  failure: reject them, go on in a new file made from the state (what is there may be torn)
 */
import { AgentError } from '../lib/errors.js';
import { encodeHeader, encodeRecord, type JournalRecord } from './records.js';
import type { OpenSegment } from './segment.js';

export interface WriterDeps {
  /** Makes file `number` with this content, durably, in place of all others. */
  startSegment(number: number, content: Uint8Array): Promise<OpenSegment>;
  /** Called in the order of the file, when the record is as safe as was asked for. */
  apply(record: JournalRecord): void;
  /** Records that make the present state. */
  snapshot(): JournalRecord[];
  /** Told when a file was begun (its size) or could not be. */
  onRotated(bytes: number): void;
  onRotationFailed(error: unknown): void;
  /** Octets a file may grow to, beyond what it began with, before a new one is begun. */
  readonly maxGrowthBytes: number;
}

interface Entry {
  readonly record: JournalRecord;
  /** False: it is enough that the operating system has it. */
  readonly isDurable: boolean;
  resolve(): void;
  reject(error: unknown): void;
}

export interface Writer {
  append(record: JournalRecord, isDurable: boolean): Promise<void>;
  /** Begins a new file from the state, after what is queued now. Rejects if that fails; the old file goes on then. */
  compact(): Promise<void>;
  /** Resolves when the queue is empty and the file is closed. */
  close(): Promise<void>;
}

const failed = (cause: unknown): AgentError =>
  new AgentError('journal-failed', 'the journal could not be written; look at the space and the health of the disk of state_path', { cause, retry: 'later' });

/** Makes a new file from the snapshot at once: whatever the last one ended with is left behind. */
export async function createWriter(deps: WriterDeps, lastNumber: number): Promise<Writer> {
  let segment: OpenSegment;
  let written = 0;
  let durable = 0;
  let growth = 0;
  let mustRotate = false;
  let isClosed = false;
  let queue: Entry[] = [];
  let compactions: { resolve(): void; reject(error: unknown): void }[] = [];
  let running: Promise<void> | undefined;

  const rotate = async (number: number, old?: OpenSegment): Promise<void> => {
    const records = deps.snapshot();
    const content = Buffer.concat([encodeHeader(records.length), ...records.map((record, index) => encodeRecord(record, index + 1, records.length))]);
    segment = await deps.startSegment(number, content);
    written = records.length;
    durable = written;
    growth = 0;
    mustRotate = false;
    deps.onRotated(content.length);
    await old?.close();
  };

  const rotateAgain = async (): Promise<void> => {
    try {
      await rotate(segment.number + 1, segment);
    } catch (error) {
      deps.onRotationFailed(error);
      throw failed(error);
    }
  };

  const writeBatch = async (batch: readonly Entry[]): Promise<void> => {
    const lines = batch.map((entry, index) => encodeRecord(entry.record, written + index + 1, durable));
    const bytes = Buffer.concat(lines);
    await segment.append(bytes);
    if (batch.some((entry) => entry.isDurable)) {
      await segment.sync();
      durable = written + batch.length;
    }
    written += batch.length;
    growth += bytes.length;
  };

  const takeBatch = async (): Promise<void> => {
    const batch = queue;
    queue = [];
    try {
      if (mustRotate) await rotateAgain();
      await writeBatch(batch);
    } catch (error) {
      mustRotate = true;
      for (const entry of batch) entry.reject(error instanceof AgentError ? error : failed(error));
      return;
    }
    for (const entry of batch) deps.apply(entry.record);
    for (const entry of batch) entry.resolve();
  };

  const takeCompactions = async (): Promise<void> => {
    const waiting = compactions;
    compactions = [];
    try {
      await rotateAgain();
      for (const one of waiting) one.resolve();
    } catch (error) {
      growth = 0; // not again with the very next record
      for (const one of waiting) one.reject(error);
    }
  };

  const pump = async (): Promise<void> => {
    while (queue.length > 0 || compactions.length > 0) {
      if (queue.length > 0) await takeBatch();
      if (compactions.length > 0 || growth > deps.maxGrowthBytes) await takeCompactions();
    }
    running = undefined;
  };
  const kick = (): void => void (running ??= Promise.resolve().then(pump)); // pump catches everything

  const whenOpen = (work: (resolve: () => void, reject: (error: unknown) => void) => void): Promise<void> => {
    if (isClosed) return Promise.reject(new AgentError('journal-closed', 'the journal is closed: the agent is stopping'));
    return new Promise((resolve, reject) => {
      work(resolve, reject);
      kick();
    });
  };

  await rotate(lastNumber + 1);
  return {
    append: (record, isDurable) => whenOpen((resolve, reject) => queue.push({ record, isDurable, resolve, reject })),
    compact: () => whenOpen((resolve, reject) => compactions.push({ resolve, reject })),
    async close() {
      isClosed = true;
      while (running !== undefined) await running;
      await segment.close();
    },
  };
}
