/**
 * The write-ahead record of operations: what it promises is in types.ts. How it is kept:
 *
 *   accept/begin/mark/note/end ─▶ writer (group commit, one fsync for many) ─▶ journal-NNNNNNNN.log
 *   at start ◀─ replay (cuts a tail that nobody was promised, refuses damage) ─▶ state ─▶ new file
 *   10 s after an operation ended, or 4 MiB later ─▶ new file from the state: no payloads of ended operations, bounded history
 *
 * What can go wrong: the power fails in a write (the tail is left out), the disk is full (the call is rejected, the message stays
 * with the broker), a file is damaged (the agent refuses to start and says which line), a newer agent wrote it (refused politely).
 * One process writes; the operator's commands read beside it (readJournal).
 */
export type * from './types.js';
export { openJournal, type JournalDeps } from './journal.js';
export { readJournal, type JournalReader } from './read-journal.js';
export { runSteps, undoSteps } from './steps.js';
