/**
 * What users and admins may read about a failure (nova-contract 5.2 F, 16): the message of an error made for Nova, else only our
 * stable code; the chain of causes goes to `details`, which only admins see.
 */
import { AgentError, codeOf, wireFaultOf } from '../lib/errors.js';
import { RemoteError } from '../rpc/index.js';

export interface FaultText {
  readonly code: number;
  /** At most 255 characters. */
  readonly message: string;
  /** For code 500 only; never a stack of ours. */
  readonly details: string;
}

function chain(error: unknown): string {
  const lines: string[] = [];
  let current = error;
  for (let depth = 0; depth < 8 && current instanceof Error; depth += 1) {
    const label = current instanceof AgentError ? current.code : current.name;
    lines.push(`${depth === 0 ? '' : 'caused by '}${label}: ${current.message}`);
    current = current.cause;
  }
  return lines.join('\n').slice(0, 4000);
}

/** Text for InstanceFault and InstanceActionEvent. */
export function faultText(error: unknown): FaultText {
  const fault = wireFaultOf(error);
  if (fault !== undefined) {
    const message = fault.message === '' ? fault.className : fault.message;
    return { code: fault.httpCode, message: message.slice(0, 255), details: fault.httpCode === 500 ? chain(error) : '' };
  }
  if (error instanceof RemoteError) return { code: 500, message: error.className.slice(0, 255), details: chain(error) };
  const message = error instanceof AgentError ? `The compute host could not do this: ${error.code}` : 'The compute host met an internal error';
  return { code: 500, message, details: chain(error) };
}

/** The instance's row is gone. */
export const isInstanceGone = (error: unknown): boolean =>
  error instanceof RemoteError && ['InstanceNotFound', 'InstanceInfoCacheNotFound'].includes(error.className);

/** Somebody else owns the instance's task now. */
export const isTaskStateConflict = (error: unknown): boolean =>
  error instanceof RemoteError && ['UnexpectedTaskStateError', 'UnexpectedDeletingTaskStateError'].includes(error.className);

/** The instance is being deleted or is gone. */
export const isDeletedMeanwhile = (error: unknown): boolean =>
  isInstanceGone(error) ||
  (error instanceof RemoteError && error.className === 'UnexpectedDeletingTaskStateError') ||
  (error instanceof AgentError && error.code === 'instance-deleted');

/** The agent stops: the journal brings the work back, so nothing is put back or reported. */
export const isInterrupted = (error: unknown): boolean => codeOf(error) === 'shutting-down';

/** An image is not there (any more): its user has deleted it. */
export const isImageGone = (error: unknown): boolean => error instanceof AgentError && error.wire?.className === 'ImageNotFound';
