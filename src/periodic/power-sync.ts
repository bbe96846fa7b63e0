import { KeyedMutex } from '../lib/keyed-mutex.js';
import { Semaphore } from 'async-mutex';
import { syncPowerState, type ComputeDeps } from '../compute/index.js';
import type { Duty } from './duty.js';

/** How many instances are compared at a time (Nova's sync_power_state_pool_size is larger; five do for one host's conductor). */
const poolSize = 5;

/** Compares each instance of this host with its guest (sync_power_state_interval). */
export function powerSync(deps: ComputeDeps, everySeconds: number): Duty {
  const slots = new Semaphore(poolSize);
  const busy = new KeyedMutex();
  return {
    name: 'power-sync',
    everySeconds,
    atStart: true,
    async run(signal) {
      const uuids = await deps.conductor.instances.uuidsByHost(deps.ownContext(), deps.options.host);
      await Promise.all(uuids.filter((uuid) => !busy.isBusy(uuid)).map((uuid) => slots.runExclusive(() => busy.run(uuid, async () => {
        if (signal.aborted) return;
        try {
          await syncPowerState(deps, uuid, { isUrgent: false });
        } catch (err) {
          deps.log.warn({ err, instance: uuid }, 'power state of an instance not synchronised');
        }
      }))));
    },
  };
}
