/** pino, one JSON object a line: see style in src/README.md. */
import { destination, pino, stdTimeFunctions } from 'pino';
import { AgentError } from '../lib/errors.js';
import { createRedactor } from './redact.js';
import { serializeError } from './serialize-error.js';
import type { Logger } from './types.js';

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent';

export interface LoggerOptions {
  readonly level: LogLevel;
  /** Null: standard output. The file is made with mode 0640. */
  readonly file: string | null;
  /** Values that are masked wherever they occur: passwords of the configuration. */
  readonly secrets: readonly string[];
  /** Fields of every line, e.g. { host }. */
  readonly base?: Readonly<Record<string, string>>;
  /** For tests: takes the lines instead of the file. */
  readonly sink?: { write(line: string): void };
}

export interface LoggerHandle {
  readonly log: Logger;
  /** After newsyslog has moved the file away (SIGHUP); nothing if there is no file. */
  readonly reopen: () => void;
}

function openDestination(file: string | null): ReturnType<typeof destination> {
  if (file === null) return destination({ dest: 1, sync: true });
  try {
    // Synchronous: the last lines before a crash are those that matter, and there are few.
    return destination({ dest: file, sync: true, append: true, mode: 0o640 });
  } catch (cause) {
    throw new AgentError('log-file', `the log file ${file} cannot be opened; see [agent] log_file`, { cause });
  }
}

/** AgentError `log-file` if the file cannot be opened. */
export function createLogger(options: LoggerOptions): LoggerHandle {
  const redactor = createRedactor(options.secrets);
  const file = options.sink === undefined ? openDestination(options.file) : undefined;
  const log = pino({
    level: options.level,
    base: options.base ?? null,
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    serializers: { err: serializeError, error: serializeError, cause: serializeError },
    hooks: { streamWrite: (line) => redactor.line(line) },
    depthLimit: 12,
    edgeLimit: 200,
  }, file ?? options.sink!);
  return {
    log,
    reopen: () => {
      if (options.file !== null) file?.reopen();
    },
  };
}
