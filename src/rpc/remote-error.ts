/** An exception that the other side of a call raised; decide by `className`. */
import { AgentError } from '../lib/errors.js';

export class RemoteError extends AgentError {
  constructor(
    readonly className: string,
    readonly module: string,
    message: string,
    readonly args: readonly unknown[],
    readonly kwargs: Readonly<Record<string, unknown>>,
  ) {
    super('rpc-remote', message, { details: { remoteClass: className, remoteModule: module } });
  }
}

/** Whether `error` is a remote exception of one of these classes. */
export const isRemote = (error: unknown, ...classNames: string[]): error is RemoteError =>
  error instanceof RemoteError && classNames.includes(error.className);
