import type { NovaObjectOf } from '../../objects/index.js';

/**
 * `system_metadata.network_allocated` says to the next host of a rescheduled build whether there are ports to take over (nova-contract
 * 6.2.7). Set only, saved with the next save.
 */
export function setNetworkAllocated(instance: NovaObjectOf<'Instance'>, hasPorts: boolean): void {
  instance.set('system_metadata', { ...instance.get('system_metadata'), network_allocated: hasPorts ? 'True' : 'False' });
}
