import type { InstanceUuid } from '../lib/ids.js';
import { isInstanceGone, type ComputeDeps } from '../compute/index.js';
import type { Duty } from './duty.js';

/** Rebinds ports that left this host, and rebuilds one instance's network info a run from Neutron (heal_instance_info_cache_interval), in turn. */
export function healInfoCache(deps: ComputeDeps, everySeconds: number): Duty {
  let queue: InstanceUuid[] = [];
  return {
    name: 'heal-info-cache',
    everySeconds,
    atStart: false,
    async run() {
      const context = deps.ownContext();
      if (queue.length === 0) queue = await deps.conductor.instances.uuidsByHost(context, deps.options.host);
      const uuid = queue.shift();
      if (uuid === undefined || deps.gate.isBusy(uuid)) return;
      try {
        const instance = await deps.conductor.instances.byUuid(context, uuid, ['info_cache', 'flavor']);
        if (instance.get('task_state') === null && instance.get('host') === deps.options.host) await deps.ports.heal(context, instance, deps.options.host);
      } catch (error) {
        if (!isInstanceGone(error)) throw error; // deleted since the list was made: nothing to heal
      }
    },
  };
}
