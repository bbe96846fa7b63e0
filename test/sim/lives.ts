/** Lives of an agent, one after the other on the same journal; all that are left are closed after each test, and their journals removed. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach } from 'vitest';
import { startAgent, type Agent } from './agent.js';
import type { CrashPoint } from './crash.js';
import type { World } from './world.js';

export interface Lives {
  /** The folder of a new journal. */
  readonly newJournal: () => string;
  readonly live: (world: World, journal: string, point: CrashPoint | null) => Promise<Agent>;
  readonly bury: () => Promise<void>;
}

/** To be called at the top of a test file. */
export function useLives(prefix: string): Lives {
  let folder = '';
  const lives: Agent[] = [];
  const bury = async (): Promise<void> => { await Promise.all(lives.splice(0).map((agent) => agent.close())); };
  // Thousands of fsyncs: in memory where the system has such a folder.
  beforeEach(() => { folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), prefix)); });
  afterEach(async () => {
    await bury();
    rmSync(folder, { recursive: true, force: true });
  });
  return {
    newJournal: () => mkdtempSync(join(folder, 'journal-')),
    async live(world, journal, point) {
      const agent = await startAgent(world, journal, point);
      lives.push(agent);
      return agent;
    },
    bury,
  };
}
