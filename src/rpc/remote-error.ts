/** How a call can fail: an exception that the other side raised (decide by `className`), or silence. */
import { AgentError, codeOf } from '../lib/errors.js';

/** A database error quotes the statement with its values, which can be anything that a user gave: it must reach no log and no fault. */
const DATABASE_MODULES = /^(oslo_db|sqlalchemy|pymysql|MySQLdb|psycopg2|sqlite3)\b/;

export class RemoteError extends AgentError {
  // Private, so that nothing that prints an error's properties prints what the other side put there.
  readonly #args: readonly unknown[];
  readonly #kwargs: Readonly<Record<string, unknown>>;

  /** Of a database's exception only the class is kept. */
  constructor(
    readonly className: string,
    readonly module: string,
    message: string,
    args: readonly unknown[],
    kwargs: Readonly<Record<string, unknown>>,
  ) {
    const isDatabase = DATABASE_MODULES.test(module);
    super('rpc-remote', isDatabase ? `${className} on the other side; its log has the statement` : message,
      { details: { remoteClass: className, remoteModule: module } });
    this.#args = isDatabase ? [] : args;
    this.#kwargs = isDatabase ? {} : kwargs;
  }

  /** Positional values of the exception, to rebuild it with; not for logs. */
  get args(): readonly unknown[] {
    return this.#args;
  }

  /** Named values of the exception; not for logs. */
  get kwargs(): Readonly<Record<string, unknown>> {
    return this.#kwargs;
  }
}

/** Whether `error` is a remote exception of one of these classes. */
export const isRemote = (error: unknown, ...classNames: string[]): error is RemoteError =>
  error instanceof RemoteError && classNames.includes(error.className);

const silence = new Set<string | undefined>(['rpc-timeout', 'rpc-disconnected']);

/** Whether nobody answered: the other side may or may not have done the work. */
export const isSilence = (error: unknown): boolean => silence.has(codeOf(error));
