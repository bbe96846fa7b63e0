/**
 * A snapshot or backup that a restart interrupted is not taken again: its moment has passed (nova-contract 3: the task is cleared). What Nova cannot do, we
 * can, because the journal kept the message: the image that nobody will fill is deleted, and the user's action ends with an error instead of never.
 */
import { AgentError } from '../../lib/errors.js';
import { isUuid, parseImageId, type InstanceUuid } from '../../lib/ids.js';
import type { JournalledOperation } from '../../journal/index.js';
import { taskStates, type NovaObjectOf } from '../../objects/index.js';
import { contextFromWire } from '../../rpc/context.js';
import type { WireMessage } from '../../rpc/index.js';
import { checkpointIdOf } from '../checkpoint-image.js';
import type { ComputeDeps } from '../deps.js';
import { dropCheckpoint } from '../drop-checkpoint.js';
import { faultText } from '../error-text.js';
import { saveStep } from '../machine-steps.js';
import { saveState } from '../save-state.js';
import { recordFault } from '../wrappers.js';
import { comeBack } from './bring-back.js';
import { dropUnfilledImage } from './make-image.js';
import { dropParts } from './store-checkpoint.js';

const imageTasks: readonly string[] = [taskStates.imageSnapshotPending, taskStates.imageSnapshot, taskStates.imageBackup, taskStates.imagePendingUpload, taskStates.imageUploading];

const interrupted = (): AgentError => new AgentError('interrupted', 'the compute service was restarted while the image was made');

/**
 * Clears the task now; the rest goes on behind the instance's gate, because Glance may take its time. `row` is the instance as it was read at start,
 * undefined when it is gone from this host.
 */
export async function abandonImage(deps: ComputeDeps, operation: JournalledOperation, row: NovaObjectOf<'Instance'> | undefined): Promise<void> {
  const task = row?.get('task_state') ?? null;
  const wasUnfinished = task !== null && imageTasks.includes(task);
  if (row !== undefined && wasUnfinished) await saveState(deps, deps.ownContext(), row, { taskState: null }, imageTasks);
  const { instance } = operation;
  if (instance === null) return deps.journal.end(operation.id, 'undone');
  deps.gate.run(instance, 'snapshot', () => settleImage(deps, operation, { instance, row, wasUnfinished })).catch((err: unknown) =>
    deps.log.error({ err, op: operation.id, instance }, 'interrupted image not settled; kept for the next start'));
}

interface Settlement { readonly instance: InstanceUuid; readonly row: NovaObjectOf<'Instance'> | undefined; readonly wasUnfinished: boolean }

async function settleImage(deps: ComputeDeps, operation: JournalledOperation, { instance, row, wasUnfinished }: Settlement): Promise<void> {
  const message = operation.payload as WireMessage;
  const context = contextFromWire(message);
  const log = deps.log.child({ op: operation.id, instance, rpc: operation.rpc });
  // First of all, and whatever the row says by now: a guest that stood still for a checkpoint goes on.
  if (row !== undefined && operation.steps.has(saveStep)) await comeBack(deps, row);
  const { image_id: image } = message['args'] as { image_id?: unknown };
  if (wasUnfinished && isUuid(image)) {
    // A node whose image is complete is wanted; any other is of an image that will never be.
    if (!(await dropUnfilledImage(deps, context, parseImageId(image), log))) {
      await dropParts(deps, context, parseImageId(image), log);
      await dropCheckpoint(deps, instance, checkpointIdOf(image));
    }
    await recordFault(deps, context, instance, interrupted());
  }
  await endEvent(deps, operation, context, wasUnfinished);
  await deps.storage.dropSnapshot(instance, operation.id);
  await deps.journal.end(operation.id, 'undone');
  log.info({ wasUnfinished }, 'interrupted image settled');
}

async function endEvent(deps: ComputeDeps, operation: JournalledOperation, context: ReturnType<typeof contextFromWire>, isFailure: boolean): Promise<void> {
  const { message, details } = faultText(interrupted());
  try {
    await deps.conductor.actions.eventFinish(context, operation.instance!, `compute_${operation.rpc}`, isFailure ? { message, trace: details } : null);
  } catch (err) {
    deps.log.warn({ err, op: operation.id }, 'action event left open');
  }
}
