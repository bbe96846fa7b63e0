import { AgentError } from '../../lib/errors.js';
import type { InstanceUuid } from '../../lib/ids.js';
import { novaFaults } from '../../lib/nova-faults.js';
import { runningGuest, type LifecycleDeps } from './lifecycle.js';

/** Gives vCPU 0 an NMI (bhyvectl --inject-nmi; amd64 only). A paused guest gets it when it goes on. */
export async function injectNmi(deps: LifecycleDeps, instance: InstanceUuid): Promise<void> {
  if (deps.capabilities().architecture !== 'amd64') {
    throw new AgentError('nmi-unsupported', 'bhyve injects NMIs on amd64 only', { wire: novaFaults.notImplemented('Crash dumps are not supported by hosts of this architecture') });
  }
  await runningGuest(deps, instance);
  await deps.host.run('bhyvectl', [`--vm=${instance}`, '--inject-nmi']);
}
