/** The journal for a reader beside the running agent (the operator's commands): never writes, never waits. */
import type { InstanceUuid } from '../lib/ids.js';
import { journalBounds, loadState } from './journal.js';
import type { JournalState } from './state.js';
import type { JournalledOperation } from './types.js';

export interface JournalReader {
  unfinished(): JournalledOperation[];
  history(instance: InstanceUuid): JournalledOperation[];
}

/**
 * What the files say now; a tail under way is left out. An absent folder is an empty journal. AgentError `journal-corrupt`,
 * `journal-too-new`.
 */
export async function readJournal(folder: string): Promise<JournalReader> {
  const state = await loadAround(folder, 5);
  return { unfinished: () => state.unfinished(), history: (instance) => state.history(instance) };
}

/** The agent may have begun a new file, and removed the old one, between the list and the read. */
async function loadAround(folder: string, attempts: number): Promise<JournalState> {
  try {
    return (await loadState(folder, journalBounds)).state;
  } catch (error) {
    if (attempts <= 1 || (error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return loadAround(folder, attempts - 1);
  }
}
