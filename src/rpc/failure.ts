/**
 * Errors on their way over the wire. A Python caller rebuilds `class(*args, **kwargs)` when the module is nova.exception or builtins;
 * any other module becomes oslo_messaging.RemoteError(class, message). So:
 *   an AgentError with a Nova fault        → that exception
 *   another service's exception (RemoteError) that passed through us → the same exception
 *   any other AgentError                   → RemoteError of class AgentError, "code: message": an operator finds the code in our log
 *   anything else                          → RemoteError of class InternalError without the foreign text
 * Our stack never leaves: `tb` is always empty.
 */
import { AgentError, type NovaFault } from '../lib/errors.js';
import { RemoteError } from './remote-error.js';

/** A module that no Python caller allows, so that it makes a RemoteError and never tries an import. */
const OUR_MODULE = 'nova_bhyve_agent';
const REBUILT_MODULES = ['nova.exception', 'builtins'];

interface Failure {
  readonly class: string;
  readonly module: string;
  readonly message: string;
  readonly tb: readonly string[];
  readonly args: readonly unknown[];
  readonly kwargs: Readonly<Record<string, unknown>>;
}

const ofFault = (fault: NovaFault): Failure => ({
  class: fault.className,
  module: fault.module,
  message: fault.message,
  tb: [],
  args: fault.message === '' ? [] : [fault.message],
  kwargs: fault.module === 'nova.exception' ? fault.kwargs : {},
});

const ofRemote = (error: RemoteError): Failure => ({
  class: error.className,
  module: error.module,
  message: error.message,
  tb: [],
  args: error.args.length > 0 ? error.args : [error.message],
  kwargs: error.module === 'builtins' ? {} : error.kwargs,
});

const ofAgentError = (error: AgentError): Failure => {
  const message = `${error.code}: ${error.message}`;
  return { class: 'AgentError', module: OUR_MODULE, message, tb: [], args: [message], kwargs: {} };
};

const internalError = (method: string): Failure => {
  const message = `internal error in ${method}; the agent's log has the reason`;
  return { class: 'InternalError', module: OUR_MODULE, message, tb: [], args: [message], kwargs: {} };
};

function failureOf(error: unknown, method: string): Failure {
  let current = error;
  for (let depth = 0; depth < 16 && current instanceof Error; depth += 1) {
    if (current instanceof AgentError && current.wire !== undefined) return ofFault(current.wire);
    if (current instanceof RemoteError && REBUILT_MODULES.includes(current.module)) return ofRemote(current);
    current = current.cause;
  }
  return error instanceof AgentError ? ofAgentError(error) : internalError(method);
}

/** The `failure` text of a reply. Nothing of a foreign error's text or stack goes into it. */
export const encodeFailure = (error: unknown, method: string): string => JSON.stringify(failureOf(error, method));

/** The exception in a reply's `failure` text; text that does not parse gives a RemoteError of class Unknown. */
export function decodeFailure(text: string): RemoteError {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    parsed = null;
  }
  if (typeof parsed !== 'object' || parsed === null) return new RemoteError('Unknown', '', 'the other side failed without a readable reason', [], {});
  const failure = parsed as Record<string, unknown>;
  const textOf = (key: string, otherwise: string): string => (typeof failure[key] === 'string' ? failure[key] : otherwise);
  const kwargs = failure['kwargs'];
  return new RemoteError(
    textOf('class', 'Unknown').replace(/_Remote$/, ''),
    textOf('module', '').replace(/_Remote$/, ''),
    textOf('message', 'the other side gave no reason'),
    Array.isArray(failure['args']) ? (failure['args'] as unknown[]) : [],
    typeof kwargs === 'object' && kwargs !== null && !Array.isArray(kwargs) ? (kwargs as Record<string, unknown>) : {},
  );
}
