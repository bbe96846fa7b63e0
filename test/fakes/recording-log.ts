/** A logger that remembers what an operator would read, and metrics that go nowhere. */
import { pino } from 'pino';
import type { Logger, Metrics } from '../../src/observe/index.js';

export interface RecordingLog {
  readonly log: Logger;
  readonly lines: () => Record<string, unknown>[];
}

export function recordingLog(): RecordingLog {
  const kept: string[] = [];
  const log = pino({ level: 'trace', base: null }, { write: (line: string) => { kept.push(line); } });
  return { log, lines: () => kept.map((line) => JSON.parse(line) as Record<string, unknown>) };
}

export const noMetrics: Metrics = { count: () => undefined, gauge: () => undefined, observe: () => undefined };
