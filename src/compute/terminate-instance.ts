import { z } from 'zod';
import { parseInstanceUuid } from '../lib/ids.js';
import { runSteps, type Step } from '../journal/index.js';
import { parseOptionalArgument, type NovaObjectOf, vmStates, toNovaTime } from '../objects/index.js';
import type { RequestContext } from '../rpc/context.js';
import { elevated } from '../rpc/context.js';
import { powerStates } from '../virt/index.js';
import type { ComputeDeps } from './deps.js';
import { isInstanceGone, isTaskStateConflict } from './error-text.js';
import { actAll, reapQuietly, removalSteps } from './machine-steps.js';
import { instanceArgument, type InstanceMethod, type Operation } from './operation.js';
import { saveState } from './save-state.js';

const args = z.looseObject({ instance: instanceArgument, bdms: z.unknown().transform((value) => parseOptionalArgument('BlockDeviceMappingList', value)) });
type Args = z.infer<typeof args>;

/** Delete. Works in every vm_state and during every other task; deleting what is not there is success. */
export const terminateInstance: InstanceMethod<Args> = {
  kind: 'instance',
  rpc: 'terminate_instance',
  args,
  wrappers: { revertsTask: true, event: 'compute_terminate_instance', recordsFault: true },
  gate: 'delete',
  isJournalled: true,
  run: terminate,
};

async function terminate({ id, args: { instance }, context, deps, signal }: Operation<Args>): Promise<null> {
  try {
    await deleteInstance(deps, context, instance, (steps) => runSteps(deps.journal, id, steps, signal));
  } catch (error) {
    // The row is gone: the API deleted it alone. What is ours on this machine was removed by the steps before.
    if (isInstanceGone(error)) return null;
    if (!isTaskStateConflict(error)) instance.set('vm_state', vmStates.error); // saved with the task revert
    throw error;
  }
  await reapQuietly(deps);
  return null;
}

/**
 * The whole deletion (nova-contract 6.3). No step has an undo: from the first on we only go forward, however often we are restarted.
 * The row goes last, because it is what brings us back here.
 */
export async function deleteInstance(
  deps: ComputeDeps, context: RequestContext, instance: NovaObjectOf<'Instance'>, run: (steps: readonly Step[]) => Promise<void>,
): Promise<void> {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  const { conductor, options, ports, placement, tracker, waiters } = deps;
  waiters.clear(uuid);
  const admin = elevated(context);
  const forward = (name: string, act: () => Promise<unknown>): Step => ({
    name, look: async () => 'not-done', act: async () => { await act(); },
  });
  const markDeleted = async (): Promise<void> => {
    instance.set('terminated_at', toNovaTime(deps.clock.now()));
    instance.set('cleaned', true); // nothing is left here for the pending-deletes duty
    await saveState(deps, context, instance, { vmState: vmStates.deleted, taskState: null, powerState: powerStates.noState });
  };
  await run([
    ...removalSteps(deps, uuid),
    forward('release-ports', () => ports.release(admin, instance)),
    forward('mark-deleted', markDeleted),
    forward('release-usage', () => tracker.release(admin, instance)),
    // If this fails the row must stay: it is the only record of the allocation's owner.
    forward('remove-allocation', () => (options.isDeferredDeleteOn ? placement.removeAllocations(uuid) : placement.deleteAllocations(uuid))),
    forward('clean-console-tokens', () => conductor.consoleTokens.cleanForInstance(admin, uuid)),
    forward('tell-schedulers', () => (options.trackInstanceChanges ? conductor.scheduler.deleteInstance(admin, options.host, uuid) : Promise.resolve())),
    forward('destroy-row', () => conductor.instances.destroy(context, instance)),
  ]);
}

/** The same for work that nobody asked for by a message: steps that look before they act need no journal, whoever calls comes again. */
export const deleteWithoutJournal = (deps: ComputeDeps, context: RequestContext, instance: NovaObjectOf<'Instance'>, signal: AbortSignal): Promise<void> =>
  deleteInstance(deps, context, instance, (steps) => actAll(steps, signal));
