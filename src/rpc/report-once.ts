/** One log line per cause for something that is retried for ever. */
import { codeOf } from '../lib/errors.js';
import type { Logger } from '../observe/index.js';
import { isRefusal } from './broker-errors.js';

export interface OnceReporter {
  /** Logs the first failure of a cause as a warning (a refusal as an error: a human must act), its repetitions as debug. */
  failed(error: Error, message: string): void;
  /** The next failure is news again. */
  recovered(): void;
}

export function reportOnce(log: Logger): OnceReporter {
  // A handful of causes alternate at most (several hosts, several queues).
  const seen = new Set<string>();
  return {
    failed(error, message) {
      const cause = `${codeOf(error) ?? error.name}: ${error.message}`;
      const isNews = !seen.has(cause);
      if (seen.size >= 64) seen.clear();
      seen.add(cause);
      const level = !isNews ? 'debug' : isRefusal(error) ? 'error' : 'warn';
      log[level]({ err: error }, message);
    },
    recovered() {
      seen.clear();
    },
  };
}
