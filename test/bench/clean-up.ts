/** What must be undone, whether or not the one who made it gets to the end of its own code. */
import type { Report } from '../cloud/control-plane/index.js';

type Undo = (note: Report) => unknown;

export interface CleanUp {
  /** Remembers how to undo something. Call what comes back to undo it early; it is done once. */
  add(undo: Undo): () => Promise<void>;
  /** Undoes what is left, newest first. What fails is said and given back, and the rest is done all the same. */
  run(note: Report): Promise<readonly string[]>;
}

export function createCleanUp(): CleanUp {
  const left = new Set<Undo>();
  return {
    add(undo) {
      left.add(undo);
      return async () => {
        if (left.delete(undo)) await undo(() => undefined);
      };
    },
    async run(note) {
      const failures: string[] = [];
      for (const undo of [...left].reverse()) {
        left.delete(undo);
        try {
          await undo(note);
        } catch (err) {
          failures.push(err instanceof Error ? err.message : String(err));
          note(`left behind: ${failures.at(-1)!}`);
        }
      }
      return failures;
    },
  };
}
