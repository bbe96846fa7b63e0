/**
 * Takes a shelved server off this host (nova-contract 6.6): its image is all that stays. Only forward: each part may be repeated, and the row names this host
 * until the very end, so that a restart finds it.
 *
 *   guest ended ─▶ taps and bindings ─▶ disks, folder ─▶ allocation ─▶ vm_state shelved_offloaded ─▶ usage, host = none ─▶ schedulers
 */
import { parseInstanceUuid } from '../../lib/ids.js';
import { runSteps, type Step } from '../../journal/index.js';
import { taskStates, vmStates, type NovaObjectOf } from '../../objects/index.js';
import { elevated } from '../../rpc/context.js';
import { powerStates, type StopOptions } from '../../virt/index.js';
import { buryDisks, endGuest, reapQuietly, removeFolder, unplugVifs } from '../machine-steps.js';
import type { Operation } from '../operation.js';
import { saveState } from '../save-state.js';

type Offload = Operation<{ instance: NovaObjectOf<'Instance'> }>;

/** The caller has seen that the row is shelved here, or that an earlier offload of ours did not come to its end. */
export async function offload({ id, args: { instance }, context, deps, signal }: Offload, stop: StopOptions): Promise<void> {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  const admin = elevated(context);
  if (instance.get('vm_state') !== vmStates.shelvedOffloaded) {
    await deps.ports.refresh(context, instance);
    const forward = (name: string, act: () => Promise<unknown>): Step => ({ name, look: async () => 'not-done', act: async () => { await act(); } });
    await runSteps(deps.journal, id, [
      endGuest(deps, uuid, stop),
      unplugVifs(deps, uuid),
      forward('unbind-ports', () => deps.ports.unbind(admin, instance)),
      buryDisks(deps, uuid),
      removeFolder(deps, uuid),
      // Before the state changes: whoever waits for that may want the room.
      forward('remove-allocation', () => deps.placement.deleteAllocations(uuid)),
    ], signal);
    await saveState(deps, context, instance, { vmState: vmStates.shelvedOffloaded, taskState: null, powerState: powerStates.shutdown }, [taskStates.shelving, taskStates.shelvingOffloading]);
  }
  instance.set('availability_zone', null);
  await deps.tracker.abortClaim(admin, instance);
  if (deps.options.trackInstanceChanges) await deps.conductor.scheduler.deleteInstance(admin, deps.options.host, uuid);
  await reapQuietly(deps);
}
