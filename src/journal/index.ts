/** The write-ahead record of operations and the step runner; the theory is in types.ts. */
export type * from './types.js';
export { openJournal, readHistory, type JournalDeps } from './open-journal.js';
export { runSteps, undoSteps } from './run-steps.js';
