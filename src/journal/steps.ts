/**
 * Runs the steps of an operation. Every decision comes from a step's own look at the machine; the journal adds what cannot be seen
 * there: which of the things that are there this operation began.
 */
import { AgentError, codeOf } from '../lib/errors.js';
import type { Journal, RunSteps, Step, UndoSteps } from './types.js';

const isBegun = (mark: string | undefined): boolean => mark === 'begun' || mark === 'done';

/** Errors after which everything is kept as it is: the operation goes on after a restart, or a human must look. */
const keeps: ReadonlySet<string> = new Set(['step-unclear', 'shutting-down', 'journal-failed', 'journal-closed']);

const isKept = (error: unknown, signal: AbortSignal): boolean =>
  keeps.has(codeOf(error) ?? '') || (signal.aborted && keeps.has(codeOf(signal.reason) ?? ''));

function stopIfAborted(signal: AbortSignal): void {
  if (!signal.aborted) return;
  const reason: unknown = signal.reason;
  throw reason instanceof Error ? reason : new AgentError('aborted', 'the operation was cancelled');
}

function unclear(step: string): AgentError {
  return new AgentError('step-unclear', `it cannot be seen whether the step ${step} was done; everything is kept as it is. Look at the node before you try again`, {
    details: { step },
  });
}

async function runStep(journal: Journal, operation: Parameters<RunSteps>[1], step: Step, mark: string | undefined, signal: AbortSignal): Promise<void> {
  stopIfAborted(signal);
  const seen = await step.look();
  if (seen === 'unclear') throw unclear(step.name);
  if (seen === 'done') {
    if (mark === 'begun') await journal.mark(operation, step.name, 'done'); // begun before a crash
    return;
  }
  await journal.mark(operation, step.name, 'begun', { isDurable: step.leavesNothing !== true });
  await step.act(signal);
  await journal.mark(operation, step.name, 'done');
}

const marksOf = (journal: Journal, operation: Parameters<RunSteps>[1]): ReadonlyMap<string, string> =>
  journal.operation(operation)?.steps ?? new Map<string, string>();

/** Last begun first. Throws AgentError `undo-failed` for the first that cannot be undone: what was before it may rest on it. */
async function undoBegun(journal: Journal, operation: Parameters<RunSteps>[1], begun: readonly Step[], cause?: unknown): Promise<void> {
  for (const step of [...begun].reverse()) {
    if (step.undo === undefined) return; // the point of no return
    try {
      await step.undo();
      await journal.mark(operation, step.name, 'undone');
    } catch (error) {
      throw new AgentError('undo-failed', `the step ${step.name} could not be undone; it and what was before it is still there`, {
        cause: error, retry: 'later', details: { step: step.name, ...(cause === undefined ? {} : { failedWith: codeOf(cause) ?? 'unknown' }) },
      });
    }
  }
}

/**
 * See types.ts. Beside what is said there: `step-unclear`, a stop of the agent (`shutting-down`) and a journal that fails undo nothing.
 * When an undo fails as well, the first error is thrown all the same, with `undoError` beside it.
 */
export const runSteps: RunSteps = async (journal, operation, steps, signal) => {
  const before = marksOf(journal, operation);
  try {
    for (const step of steps) await runStep(journal, operation, step, before.get(step.name), signal);
  } catch (error) {
    if (isKept(error, signal)) throw error;
    const marks = marksOf(journal, operation);
    const begun = steps.filter((step) => isBegun(marks.get(step.name)));
    try {
      await undoBegun(journal, operation, begun, error);
    } catch (undoError) {
      if (error instanceof Error) Object.assign(error, { undoError });
    }
    throw error;
  }
};

/** See types.ts. AgentError `undo-failed`; the journal keeps what is left to undo, so it may be called again. */
export const undoSteps: UndoSteps = async (journal, operation, steps) => {
  const marks = marksOf(journal, operation.id);
  const begun = steps.filter((step) => isBegun(marks.get(step.name) ?? operation.steps.get(step.name)));
  await undoBegun(journal, operation.id, begun);
};
