import { parseInstanceUuid } from '../../lib/ids.js';
import { vmStates } from '../../objects/index.js';
import type { CheckpointMemory, CheckpointNode } from '../../storage/index.js';
import { whyNoMemory, type CheckpointKind } from '../checkpoint-image.js';
import { isDeletedMeanwhile, isInterrupted, isTaskStateConflict } from '../error-text.js';
import { stopOptions } from '../grace.js';
import { actAll, endGuest, reapQuietly } from '../machine-steps.js';
import { bringUp } from '../power-steps.js';
import { forgetSteps, goOnSteps, isRemade, restoreSteps } from '../rebuild/restore-steps.js';
import { saveState, saveWithPower } from '../save-state.js';
import { showIfLeftSaved } from '../snapshot/bring-back.js';
import { recordFault } from '../wrappers.js';
import { nodeFor, operatorRefused, type OperatorMethod, type OperatorWork } from './carry-out.js';
import type { RestoreOrder } from './orders.js';

type Work = OperatorWork<RestoreOrder>;

export interface RestoredCheckpoint {
  readonly node: CheckpointNode;
  readonly content: CheckpointKind;
  readonly isRunning: boolean;
}

/** What the server's image was before, in the journal. */
const imageNote = 'image';

/**
 * The same server on the disks of a node, which no other node is lost by. One that was active runs afterwards: its guest goes on from the memory of the node, or is started
 * if the node has none. One that was stopped stays off, whatever memory the node has. Everything that can be refused is refused while the guest still runs, and until the
 * disks have been changed a failure leaves the server as it was; after a restart in the middle it goes on. If the guest does not go on from its memory, the server is
 * suspended with it, as after a rebuild; if it does not start, the server is stopped.
 */
export const restoreCheckpointForOperator: OperatorMethod<RestoreOrder, RestoredCheckpoint> = { rpc: 'operator_restore_checkpoint', gate: 'rebuild', needsSettledServer: true, run: restore };

async function restore(work: Work): Promise<RestoredCheckpoint> {
  const { deps, instance, log } = work;
  const isOff = instance.get('vm_state') === vmStates.stopped;
  try {
    const node = await nodeFor(work);
    const memory = await memoryFor(work, node, isOff);
    await goTo(work, { node, memory }, isOff);
    await reapQuietly(deps);
    return { node, content: memory === null ? 'disk' : 'full', isRunning: !isOff };
  } catch (error) {
    const begun = deps.journal.operation(work.id);
    const isUntouched = begun?.steps.size === 0 && begun.notes[imageNote] === undefined;
    if (isInterrupted(error) || isDeletedMeanwhile(error) || isUntouched) throw error;
    await settle(work, error).catch((err: unknown) => { log.error({ err }, 'server not put back as it was before the restore'); });
    throw error;
  }
}

async function memoryFor({ deps, order, signal, isResumed, progress }: Work, node: CheckpointNode, isOff: boolean): Promise<CheckpointMemory | null> {
  if (order.content === 'disk' || node.memory === null) return null;
  if (isOff) {
    progress('the server is stopped and stays so: the memory of the checkpoint is not used');
    return null;
  }
  progress('reading the memory of the checkpoint');
  const why = await whyNoMemory(deps, order.instance, node, { isUnderWay: isResumed, signal });
  if (why !== null) throw operatorRefused(`the guest cannot go on from this checkpoint: ${why}; --kind disk goes to its disks alone`);
  return node.memory;
}

async function goTo(work: Work, { node, memory }: { node: CheckpointNode; memory: CheckpointMemory | null }, isOff: boolean): Promise<void> {
  const { id, deps, context, instance, isResumed, run } = work;
  const going = { id, args: { instance }, deps };
  if (isResumed && (await isRemade(going, memory))) {
    if (memory !== null) await run(await forgetSteps(going));
  } else {
    await claim(work, node);
    await run([
      endGuest(deps, parseInstanceUuid(instance.get('uuid')), stopOptions(deps.options, instance, true)),
      ...restoreSteps(going, { node, memory }),
      ...(isOff ? [] : memory === null ? bringUp(deps, instance, deps.ports.cached(instance)) : goOnSteps(going)),
    ]);
  }
  // Suspended: cut off just when it was found that the guest did not go on; now it did.
  await saveWithPower(deps, context, instance, instance.get('vm_state') === vmStates.suspended ? { vmState: vmStates.active } : {});
}

/**
 * The server becomes one of the image that its disk was made of, which is another if it was rebuilt since; the last look at its task goes with it. What that image says of the
 * machine stays as it is now.
 */
async function claim({ id, deps, context, instance, isResumed }: Work, { image }: CheckpointNode): Promise<void> {
  if (image === null || image === instance.get('image_ref')) return;
  const before = instance.get('image_ref') ?? '';
  instance.set('image_ref', image);
  try {
    await saveState(deps, context, instance, {}, isResumed ? undefined : [null]);
    await deps.journal.note(id, imageNote, before);
  } catch (error) {
    throw isTaskStateConflict(error) ? operatorRefused('Nova has begun something with the server meanwhile; try again when that is over') : error;
  }
}

/** What the server is now that it is not what was wanted. */
async function settle({ id, deps, context, instance, order, log }: Work, error: unknown): Promise<void> {
  const root = (await deps.storage.disks(order.instance)).find(({ role }) => role === 'root');
  const wasActive = instance.get('vm_state') === vmStates.active;
  if (root !== undefined && root.madeFor !== id) {
    const before = deps.journal.operation(id)?.notes[imageNote];
    if (before !== undefined) instance.set('image_ref', before);
    if (wasActive) await actAll(bringUp(deps, instance, deps.ports.cached(instance)));
  } else if (!(await showIfLeftSaved(deps, instance))) {
    if (root === undefined) instance.set('vm_state', vmStates.error);
    else if ((await deps.driver.state(order.instance)).kind !== 'running') instance.set('vm_state', vmStates.stopped);
  }
  await saveWithPower(deps, context, instance, {});
  if (wasActive && instance.get('vm_state') !== vmStates.active) await recordFault(deps, context, order.instance, error);
  log.warn({ vmState: instance.get('vm_state') }, 'server after a restore that failed');
}
