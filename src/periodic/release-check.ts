import type { ComputeDeps } from '../compute/index.js';
import type { NovaObjectOf } from '../objects/index.js';
import type { Duty } from './duty.js';

/** Notices that the control plane was upgraded: the number we claim must follow it (nova-contract 1.1). */
export const releaseCheck = (deps: ComputeDeps, service: NovaObjectOf<'Service'>): Duty => ({
  name: 'release-check',
  everySeconds: 300,
  atStart: false,
  async run() {
    const { serviceVersion } = await deps.conductor.negotiate();
    if (service.get('version') >= serviceVersion) return; // never lowered: the conductor would refuse
    service.set('version', serviceVersion);
    await deps.conductor.services.save(deps.ownContext(), service);
  },
});
