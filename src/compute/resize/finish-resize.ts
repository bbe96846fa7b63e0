import { z } from 'zod';
import { parseInstanceUuid } from '../../lib/ids.js';
import { runSteps } from '../../journal/index.js';
import { taskStates, toNovaTime, vmStates } from '../../objects/index.js';
import { elevated } from '../../rpc/context.js';
import { actAll } from '../machine-steps.js';
import { anything, instanceArgument, type InstanceMethod, type Operation } from '../operation.js';
import { bringUp } from '../power-steps.js';
import { saveState } from '../save-state.js';
import { saveStatus } from '../resources/move-claim.js';
import { migrationArgument, moveAttributes, oldVmState, sameHostOnly, stashedFlavor } from './arguments.js';
import { fitDisks } from './disk-steps.js';
import { isDue, settleFailure } from './failure.js';
import { putBackSteps } from './put-back.js';
import { clearStash, setFlavor } from './row.js';

const args = z.looseObject({ instance: instanceArgument, migration: migrationArgument, image: anything.optional(), disk_info: anything.optional(), request_spec: anything.optional() });
type Args = z.infer<typeof args>;

/**
 * The destination's second part: the row gets the new flavor, the disks its sizes, and the guest is made from both. A server that was stopped
 * stays off. A failure goes back to what there was; only if that fails as well is the server in error, with the place of the new flavor.
 */
export const finishResize: InstanceMethod<Args> = {
  kind: 'instance',
  rpc: 'finish_resize',
  availability: sameHostOnly,
  args,
  wrappers: { revertsTask: true, event: 'compute_finish_resize', recordsFault: true },
  gate: 'resize',
  isJournalled: true,
  resumeTasks: [taskStates.resizeMigrated, taskStates.resizeFinish],
  run: finish,
};

async function finish(operation: Operation<Args>): Promise<null> {
  const { args: { instance, migration }, context, deps, log, isResumed } = operation;
  if (!(await isDue(deps, context, { instance, migration }, isResumed ? ['post-migrating', 'finished'] : ['post-migrating']))) return null;
  try {
    await deps.conductor.instances.load(context, instance, moveAttributes);
    await makeResized(operation);
  } catch (error) {
    log.warn({ err: error }, 'resize not finished; going back');
    await settleFailure(deps, context, { instance, migration }, error, () => goBack(operation));
    throw error;
  }
  if (deps.options.trackInstanceChanges) await deps.conductor.scheduler.updateInstances(context, deps.options.host, [instance]);
  return null;
}

async function makeResized({ id, args: { instance, migration }, context, deps, signal, isResumed }: Operation<Args>): Promise<void> {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  const flavor = stashedFlavor(instance, 'new_flavor');
  setFlavor(instance, flavor);
  const vifs = await deps.ports.rebind(elevated(context), instance, deps.options.host);
  const expected = isResumed ? [taskStates.resizeMigrated, taskStates.resizeFinish] : taskStates.resizeMigrated;
  await saveState(deps, context, instance, { taskState: taskStates.resizeFinish }, expected);
  await runSteps(deps.journal, id, [
    fitDisks(deps, uuid, flavor, migration.get('uuid')),
    ...(oldVmState(instance) === vmStates.stopped ? [] : bringUp(deps, instance, vifs)),
  ], signal);
  await saveStatus(deps.conductor, context, migration, 'finished');
  instance.set('launched_at', toNovaTime(deps.clock.now()));
  await saveState(deps, context, instance, { vmState: vmStates.resized, taskState: null }, taskStates.resizeFinish);
}

/** Flavor, disks and guest as before the resize; the wrapper saves the row. */
async function goBack({ args: { instance, migration }, deps, log }: Operation<Args>): Promise<void> {
  const before = oldVmState(instance);
  setFlavor(instance, stashedFlavor(instance, 'old_flavor'));
  try {
    await actAll(putBackSteps(deps, instance, migration, deps.ports.cached(instance)));
    instance.set('vm_state', before);
  } catch (err) {
    log.error({ err }, 'server not put back as it was before the resize; a hard reboot may help');
    instance.set('vm_state', vmStates.error);
  }
  clearStash(instance);
}
