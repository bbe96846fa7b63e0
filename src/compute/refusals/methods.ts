/** The refusals as RPC methods. */
import { z } from 'zod';
import { refuse } from '../../lib/nova-faults.js';
import type { HostMethod, InstanceMethod } from '../operation.js';
import { onlyInstance, type OnlyInstance } from '../questions.js';
import { cleanUpAfter } from './clean-up.js';
import type { Refusal } from './table.js';

export function refusedInstanceMethod(refusal: Refusal): InstanceMethod<OnlyInstance> {
  const revertsTask = refusal.wrappers.includes('T');
  return {
    kind: 'instance',
    rpc: refusal.rpc,
    availability: { status: 'refused', reason: refusal.reason },
    args: onlyInstance,
    wrappers: { revertsTask, event: refusal.wrappers.includes('E') ? `compute_${refusal.rpc}` : null, recordsFault: refusal.wrappers.includes('F') },
    gate: null, // nothing is touched, so there is nothing to wait for
    isJournalled: revertsTask, // a lost refusal would leave the task set for ever
    async run(operation) {
      if (refusal.cleanUp !== undefined) await cleanUpAfter(refusal.cleanUp, operation);
      operation.log.info({ outcome: 'refused', reason: refusal.reason }, 'request refused');
      throw refuse(refusal.fault({ instance: operation.args.instance.get('uuid'), args: operation.wireArgs }));
    },
  };
}

const anyArguments = z.looseObject({});

export function refusedHostMethod(refusal: Refusal): HostMethod<z.infer<typeof anyArguments>> {
  return {
    kind: 'host',
    rpc: refusal.rpc,
    availability: { status: 'refused', reason: refusal.reason },
    args: anyArguments,
    run: ({ wireArgs }) => Promise.reject(refuse(refusal.fault({ instance: '', args: wireArgs }))),
  };
}
