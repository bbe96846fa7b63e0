import { z } from 'zod';
import { parseInstanceUuid } from '../../lib/ids.js';
import { novaFaults, refuse } from '../../lib/nova-faults.js';
import { runSteps } from '../../journal/index.js';
import { taskStates, vmStates } from '../../objects/index.js';
import { stopOptions } from '../grace.js';
import { actAll, endGuest } from '../machine-steps.js';
import { anything, instanceArgument, type InstanceMethod, type Operation } from '../operation.js';
import { bringUp } from '../power-steps.js';
import { saveState } from '../save-state.js';
import { flavorArgument, migrationArgument, moveAttributes, oldVmState, sameHostOnly } from './arguments.js';
import { saveStatus } from '../resources/move-claim.js';
import { forgetKept, keepDisks, refuseShrinking } from './disk-steps.js';
import { isDue, settleFailure } from './failure.js';

const args = z.looseObject({
  instance: instanceArgument, flavor: flavorArgument, migration: migrationArgument, clean_shutdown: z.boolean().default(true), image: anything.optional(), request_spec: anything.optional(),
});
type Args = z.infer<typeof args>;

/**
 * The source's part of a resize: end the guest, mark its disks so that a revert finds them as they are, hand over. A failure here is undone
 * wholly: the disks lose their marks, a server that ran runs again and keeps its state, and its user reads the fault.
 */
export const resizeInstance: InstanceMethod<Args> = {
  kind: 'instance',
  rpc: 'resize_instance',
  availability: sameHostOnly,
  args,
  wrappers: { revertsTask: true, event: 'compute_resize_instance', recordsFault: true },
  gate: 'resize',
  isJournalled: true,
  resumeTasks: [taskStates.resizePrep, taskStates.resizeMigrating, taskStates.resizeMigrated],
  run: resize,
};

async function resize(operation: Operation<Args>): Promise<null> {
  const { args: { instance, migration }, context, deps, log, isResumed } = operation;
  if (!(await isDue(deps, context, { instance, migration }, isResumed ? ['pre-migrating', 'migrating', 'post-migrating'] : ['pre-migrating']))) return null;
  try {
    await deps.conductor.instances.load(context, instance, moveAttributes);
    await handOver(operation);
  } catch (error) {
    log.warn({ err: error }, 'resize failed; going back');
    await settleFailure(deps, context, { instance, migration }, error, () => stayAsBefore(operation));
    throw error;
  }
  return null;
}

async function handOver(operation: Operation<Args>): Promise<void> {
  const { args: { instance, migration }, context, deps, wireArgs } = operation;
  if (migration.get('dest_compute') !== deps.options.host) throw refuse(novaFaults.migrationPreCheckError('moves between hosts are not supported by this host yet'));
  // Killed between the last save and the message: only that is missing.
  if (instance.get('task_state') !== taskStates.resizeMigrated) await moveAway(operation);
  // Disks do not travel within a host, so there is nothing to say about them.
  await deps.conductor.continueOn(context, deps.options.host, 'finish_resize', {
    instance, migration, image: wireArgs['image'], disk_info: '', request_spec: wireArgs['request_spec'] ?? null,
  });
}

async function moveAway({ id, args: { instance, flavor, migration, clean_shutdown }, context, deps, signal, isResumed }: Operation<Args>): Promise<void> {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  const begun = taskStates.resizeMigrating;
  await deps.ports.refresh(context, instance);
  await saveStatus(deps.conductor, context, migration, 'migrating');
  await saveState(deps, context, instance, { taskState: begun }, isResumed ? [taskStates.resizePrep, begun] : taskStates.resizePrep);
  refuseShrinking(instance.get('flavor'), flavor);
  await runSteps(deps.journal, id, [
    endGuest(deps, uuid, stopOptions(deps.options, instance, clean_shutdown)),
    keepDisks(deps, uuid, migration.get('uuid')),
  ], signal);
  await saveStatus(deps.conductor, context, migration, 'post-migrating');
  instance.set('old_flavor', instance.get('flavor'));
  await saveState(deps, context, instance, { taskState: taskStates.resizeMigrated }, begun);
}

/** The guest as it was before. If that fails too, the instance is in error and a hard reboot may help. */
async function stayAsBefore({ args: { instance, migration }, deps, log }: Operation<Args>): Promise<void> {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  const wasStopped = oldVmState(instance) === vmStates.stopped;
  try {
    await actAll([forgetKept(deps, uuid, migration.get('uuid')), ...(wasStopped ? [] : bringUp(deps, instance, deps.ports.cached(instance)))]);
  } catch (err) {
    log.error({ err }, 'server not put back as it was before the resize');
    instance.set('vm_state', vmStates.error); // saved with the task revert
  }
}
