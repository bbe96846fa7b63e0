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

const cacheArguments = z.looseObject({ image_ids: z.array(z.string()).max(10_000) });

/** Pre-caching is answered per image. */
export const cacheImages: HostMethod<z.infer<typeof cacheArguments>> = {
  kind: 'host',
  rpc: 'cache_images',
  availability: { status: 'refused', reason: 'image pre-cache is not supported by this host yet; each image is answered with unsupported' },
  args: cacheArguments,
  run: async ({ args: { image_ids: ids } }) => Object.fromEntries(ids.map((id) => [id, 'unsupported'])),
};
