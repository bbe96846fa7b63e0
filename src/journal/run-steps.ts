/** Runs and undoes steps; see Step in types.ts for what a step promises. */
import { AgentError, codeOf } from '../lib/errors.js';
import type { RunSteps, Step, UndoSteps } from './types.js';
import type { Journal } from './types.js';
import type { OperationId } from '../lib/ids.js';

/** Errors after which nothing is undone: the operation is kept as it is. */
const keeps = new Set(['step-unclear', 'shutting-down', 'journal-failed']);

export const runSteps: RunSteps = async (journal, operation, steps, signal) => {
  const earlier = journal.operation(operation)?.steps;
  const begun: Step[] = [];
  try {
    for (const step of steps) {
      throwIfAborted(signal);
      const found = await step.look();
      if (found === 'unclear') {
        throw new AgentError('step-unclear', `${step.name}: what is on this machine cannot be told apart from something else; nothing was changed`);
      }
      // Done before a crash, but by this operation: still its own to undo.
      if (found === 'done' && earlier?.get(step.name) === undefined) continue;
      begun.push(step);
      if (found === 'done') continue;
      await journal.mark(operation, step.name, 'begun');
      await step.act(signal);
      await journal.mark(operation, step.name, 'done');
    }
  } catch (error) {
    if (keeps.has(codeOf(error) ?? '')) throw error;
    await undoInReverse(journal, operation, begun, error);
    throw error;
  }
};

export const undoSteps: UndoSteps = async (journal, operation, steps) => {
  const begun = steps.filter((step) => ['begun', 'done'].includes(operation.steps.get(step.name) ?? ''));
  await undoInReverse(journal, operation.id, begun, null);
};

/** As far back as the last step without undo. One that fails does not keep the others from being undone. */
async function undoInReverse(journal: Journal, operation: OperationId, begun: readonly Step[], cause: unknown): Promise<void> {
  const failed: string[] = [];
  let firstError: unknown;
  for (const step of [...begun].reverse()) {
    if (step.undo === undefined) break;
    try {
      await step.undo();
      await journal.mark(operation, step.name, 'undone');
    } catch (error) {
      failed.push(step.name);
      firstError ??= error;
    }
  }
  if (failed.length > 0) {
    throw new AgentError('undo-failed', `could not undo: ${failed.join(', ')}`, { cause: cause ?? firstError, details: { failed, undoError: String(firstError) } });
  }
}

function throwIfAborted(signal: AbortSignal): void {
  if (!signal.aborted) return;
  const reason: unknown = signal.reason;
  throw reason instanceof Error ? reason : new AgentError('aborted', 'the operation was cancelled');
}
