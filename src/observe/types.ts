/** What the rest of the agent needs of logging, metrics and health. pino: fast, JSON lines, child loggers, redaction. */
import type { Logger as PinoLogger } from 'pino';

/** Child loggers carry `op`, `req`, `instance`, `rpc`; messages are constants without data. */
export type Logger = PinoLogger;

/** Named in one list (metrics.ts); few labels, never a uuid. */
export interface Metrics {
  count(name: string, labels?: Readonly<Record<string, string>>, by?: number): void;
  gauge(name: string, value: number, labels?: Readonly<Record<string, string>>): void;
  /** Seconds. */
  observe(name: string, seconds: number, labels?: Readonly<Record<string, string>>): void;
}

/** One health answer, with since-when and why. */
export interface HealthAnswer {
  readonly ok: boolean;
  readonly since: string;
  readonly reason: string;
}
