/**
 * Neutron's side of an instance's interfaces. Promises:
 *  - `allocate` gives all interfaces or none: whatever fails, ports made are deleted, ports taken are freed, rows removed. It looks
 *    before it acts: ports that an earlier, interrupted try left (device_id = the instance) are used again, not made twice;
 *  - binding needs the service's identity, making needs the user's: quotas and policies of the user apply to what the user pays for;
 *  - per instance one thing at a time, from before the first look to the saved network_info;
 *  - network_info keeps `preserve_on_delete`: a port that the user brought survives the instance.
 *
 * What can go wrong: Neutron is away (`http-…`, retry later), a refusal (wire fault), an answer that forgets ports. The last is why a port
 * that is missing from a list is asked for by id before it is dropped, and an empty list changes nothing while a build runs.
 */
export { createPorts, type PortsOptions } from './ports.js';
export { tapNameOf } from './vif.js';
