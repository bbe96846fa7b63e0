/** Evacuation to this host: refused, with everything put back that the conductor and the scheduler had begun. */
import { novaFaults, refuse } from '../../lib/nova-faults.js';
import type { Operation } from '../operation.js';
import { cleanUpAfter } from '../refusals/clean-up.js';
import type { RebuildArguments } from './arguments.js';

/** Always throws; the server keeps its state, and the allocation on this host goes. */
export async function refuseEvacuation(operation: Operation<RebuildArguments>): Promise<never> {
  await cleanUpAfter('leave-evacuation', operation);
  operation.log.info({ outcome: 'refused' }, 'request refused');
  throw refuse(novaFaults.notImplemented('Evacuation is not supported by this host yet'));
}
