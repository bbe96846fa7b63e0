/**
 * Lets each message in once. A message is known by its `_unique_id`; it counts as admitted only after its accept hook (the journal)
 * said so, so that a redelivery after a failed attempt gets its chance. The memory here is bounded and ends with the process; the
 * accept hook's does not.
 */
import type { IncomingMessage, RpcMethod } from './types.js';

export type Admission = 'new' | 'duplicate';

export interface AdmissionDesk {
  /** Rejects when the accept hook does; the message may then come again. */
  admit(message: IncomingMessage, method: RpcMethod | undefined): Promise<Admission>;
}

export function createAdmissionDesk(options: { remembered: number }): AdmissionDesk {
  const admitted = new Set<string>();
  const pending = new Map<string, Promise<Admission>>();
  // Accept hooks run one after the other, so that two messages for one instance are journalled in the order of their arrival.
  let tail: Promise<unknown> = Promise.resolve();

  function remember(id: string): void {
    admitted.add(id);
    if (admitted.size > options.remembered) admitted.delete(admitted.values().next().value!);
  }

  async function decide(message: IncomingMessage, method: RpcMethod | undefined): Promise<Admission> {
    if (method?.accept === undefined) return 'new';
    const turn = tail.then(() => method.accept!(message));
    tail = turn.catch(() => undefined);
    return await turn;
  }

  return {
    async admit(message, method) {
      const id = message.messageId;
      // The same message again while the first copy is still being journalled: wait for its fate.
      while (pending.has(id)) {
        if (await pending.get(id)!.then(() => true, () => false)) return 'duplicate';
      }
      if (admitted.has(id)) return 'duplicate';
      const decision = decide(message, method);
      pending.set(id, decision);
      try {
        const admission = await decision;
        remember(id);
        return admission;
      } finally {
        pending.delete(id);
      }
    },
  };
}
