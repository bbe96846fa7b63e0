import { KeyedMutex } from '../lib/keyed-mutex.js';
import { parseInstanceUuid } from '../lib/ids.js';
import { Semaphore } from 'async-mutex';
import { decidePowerSync } from '../instances/index.js';
import { syncPowerState, type ComputeDeps } from '../compute/index.js';
import type { NovaObjectOf } from '../objects/index.js';
import type { PowerState } from '../virt/index.js';
import type { Duty } from './duty.js';

/** How many instances are put right at a time (Nova's sync_power_state_pool_size is larger; five do for one host's conductor). */
const poolSize = 5;

/**
 * Compares each instance of this host with its guest (sync_power_state_interval). One list of rows and one of processes show which of them may
 * differ, so that hundreds of guests that are well cost next to nothing; those are then looked at anew, each in its turn, and put right.
 */
export function powerSync(deps: ComputeDeps, everySeconds: number): Duty {
  const slots = new Semaphore(poolSize);
  const busy = new KeyedMutex();
  return {
    name: 'power-sync',
    everySeconds,
    atStart: true,
    async run(signal) {
      const rows = await deps.conductor.instances.byHost(deps.ownContext(), deps.options.host, []);
      const seen = await deps.driver.powerStates(rows.map((row) => parseInstanceUuid(row.get('uuid'))));
      const uuids = rows.filter((row) => mayDiffer(row, seen.get(parseInstanceUuid(row.get('uuid'))))).map((row) => parseInstanceUuid(row.get('uuid')));
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

/** A row with a task belongs to whoever set it. */
const mayDiffer = (row: NovaObjectOf<'Instance'>, power: PowerState | undefined): boolean =>
  row.get('task_state') === null && (power === undefined || row.get('power_state') !== power || decidePowerSync(row.get('vm_state'), power).kind !== 'none');
