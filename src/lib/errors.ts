/**
 * The one error class of the agent. Decide by `code`, never by message text. An error that must reach a
 * Python caller as a particular exception carries it in `wire`; see nova-faults.ts for the ones Nova knows.
 */

/** The exception a Python caller rebuilds: `Class(*args, **kwargs)`, module `nova.exception` or `builtins`. */
export interface NovaFault {
  readonly className: string;
  readonly module: 'nova.exception' | 'builtins' | 'oslo_messaging.rpc.dispatcher';
  /** Text that a user may see. Never contains secrets or the text of a foreign error. */
  readonly message: string;
  /** Format values of the Nova class; must be empty for `builtins`. */
  readonly kwargs: Readonly<Record<string, unknown>>;
  /** The exception's HTTP-like code; goes into InstanceFault.code. */
  readonly httpCode: number;
}

export interface AgentErrorOptions {
  readonly cause?: unknown;
  /** What the caller may do; decided where it is known. Default 'no'. */
  readonly retry?: 'no' | 'later';
  readonly wire?: NovaFault;
  /** Values for the log line; never secrets. */
  readonly details?: Readonly<Record<string, unknown>>;
}

export class AgentError extends Error {
  override readonly name: string = 'AgentError';
  readonly retry: 'no' | 'later';
  readonly wire: NovaFault | undefined;
  readonly details: Readonly<Record<string, unknown>>;

  /** @param code stable, kebab-case, listed in src/README.md */
  constructor(readonly code: string, message: string, options: AgentErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.retry = options.retry ?? 'no';
    this.wire = options.wire;
    this.details = options.details ?? {};
  }
}

/** The `code` of an AgentError, or undefined for anything else. */
export const codeOf = (error: unknown): string | undefined => (error instanceof AgentError ? error.code : undefined);

/** The messages of an error and of at most four causes behind it, the outermost first. */
export function messageChain(error: Error): string {
  const words = [error.message];
  for (let cause = error.cause; cause instanceof Error && words.length < 5; cause = cause.cause) words.push(cause.message);
  return words.join(': ');
}

/** The fault nearest to the surface of an error's cause chain, if any error in it has one. */
export function wireFaultOf(error: unknown): NovaFault | undefined {
  let current = error;
  for (let depth = 0; depth < 16 && current instanceof Error; depth += 1) {
    if (current instanceof AgentError && current.wire !== undefined) return current.wire;
    current = current.cause;
  }
  return undefined;
}
