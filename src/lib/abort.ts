/** Giving up on a signal, the same way everywhere. */
import { AgentError } from './errors.js';

/** Why the signal fired; AgentError `aborted` when it says nothing useful, or has not fired. */
export function reasonOf(signal: AbortSignal | undefined): Error {
  const reason: unknown = signal?.reason;
  return reason instanceof Error ? reason : new AgentError('aborted', 'the work was cancelled');
}

/** Rejects with the signal's reason when it fires first; `work` goes on unobserved then. */
export function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const onAbort = (): void => reject(reasonOf(signal));
    if (signal.aborted) onAbort();
    // Not AbortSignal.any: with signals that live as long as the process it keeps memory in some releases of Node 20.
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
