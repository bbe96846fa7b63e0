/**
 * The write-ahead record of operations. An operation is on disk (fsync) before its message is acknowledged and before
 * anything is touched; every step is recorded before and after it acts. After a crash the record tells what was begun.
 *
 *   accepted ──begin──▶ begun ──step begun/done …──▶ ended(outcome)
 *      │ (restart: run it from the start)   │ (restart: finished or undone by its own steps)
 */
import type { InstanceUuid, OperationId } from '../lib/ids.js';

export interface AcceptedOperation {
  readonly id: OperationId;
  /** oslo.messaging's `_unique_id`; the same id never makes a second operation, also over a restart. */
  readonly messageId: string;
  /** Wire name of the RPC method or name of the periodic duty. */
  readonly rpc: string;
  readonly instance: InstanceUuid | null;
  /** Nova's request id, for logs. */
  readonly requestId: string | null;
  /** What is needed to run it again: the decoded inner message. May hold secrets; files are 0600. */
  readonly payload: unknown;
}

export type StepMark = 'begun' | 'done' | 'undone';

export interface JournalledOperation extends AcceptedOperation {
  readonly acceptedAt: string;
  readonly hasBegun: boolean;
  /** Last mark of each step, in the order in which the steps first appeared. */
  readonly steps: ReadonlyMap<string, StepMark>;
  /** Small facts that the operation noted for its own recovery (never secrets). */
  readonly notes: Readonly<Record<string, string>>;
  readonly outcome: OperationOutcome | null;
  /** Absent or null while it is open. The payload of an ended operation is null. */
  readonly endedAt?: string | null;
}

export type OperationOutcome = 'succeeded' | 'failed' | 'undone' | 'refused' | 'ignored';

export interface Journal {
  /** Durable once resolved. 'duplicate' when the messageId was seen before (also before a restart). */
  accept(operation: AcceptedOperation): Promise<'new' | 'duplicate'>;
  begin(id: OperationId): Promise<void>;
  /** `isDurable` false: enough that it is in order with what comes later. Default: true, but for 'done', which the step itself can see. */
  mark(id: OperationId, step: string, mark: StepMark, options?: { readonly isDurable?: boolean }): Promise<void>;
  note(id: OperationId, key: string, value: string): Promise<void>;
  end(id: OperationId, outcome: OperationOutcome): Promise<void>;
  /** One operation, open or ended; undefined if it is not known (any more). */
  operation(id: OperationId): JournalledOperation | undefined;
  /** Operations without an outcome, oldest first; read once at start, before new ones are accepted. */
  unfinished(): JournalledOperation[];
  /** The last operations of an instance, oldest first (bounded). */
  history(instance: InstanceUuid): JournalledOperation[];
  close(): Promise<void>;
}

/** One idempotent part of an operation (style: look before you act; recognise your own by a mark on it). */
export interface Step {
  /** Kebab-case, unique within its operation, e.g. 'clone-root-disk'. */
  readonly name: string;
  /** From the machine, never from memory. 'unclear' stops the operation and keeps everything. */
  look(): Promise<'not-done' | 'done' | 'unclear'>;
  /** May run again after a crash. */
  act(signal: AbortSignal): Promise<void>;
  /** Copes with never, half and fully done. Absent = point of no return. */
  undo?(): Promise<void>;
  /** It only waits, or fills what is everybody's: there is nothing on the machine to find after a crash, so its marks need not be on the disk before it acts. */
  readonly leavesNothing?: true;
}

/**
 * Runs steps in order, journalling each. Skips a step whose look says 'done'. On failure undoes, in reverse, the steps
 * that this operation began (also before a crash), as far back as the last point of no return, then rethrows.
 */
export type RunSteps = (journal: Journal, operation: OperationId, steps: readonly Step[], signal: AbortSignal) => Promise<void>;
/** Undoes, in reverse, every step that the journal says was begun. */
export type UndoSteps = (journal: Journal, operation: JournalledOperation, steps: readonly Step[]) => Promise<void>;
