import { AgentError } from '../../lib/errors.js';
import { novaFaults } from '../../lib/nova-faults.js';
import type { NovaObjectOf } from '../../objects/index.js';
import type { Operation } from '../operation.js';

/** Throws AgentError `no-allocation`. A build that Placement knows nothing of was not sent by a scheduler (CVE-2026-46448). */
export async function requireAllocation({ args: { instance }, deps }: Operation<{ instance: NovaObjectOf<'Instance'> }>): Promise<void> {
  const { allocations } = await deps.placement.allocationsOf(instance.get('uuid'));
  if (allocations[deps.tracker.providerUuid] === undefined) {
    const reason = 'Placement has no allocation of this server on this host';
    throw new AgentError('no-allocation', reason, { wire: novaFaults.buildAbort(instance.get('uuid'), reason) });
  }
}
