import { AgentError } from '../../lib/errors.js';
import { inSlot } from '../../lib/slots.js';
import type { CheckpointNode } from '../../storage/index.js';
import type { CheckpointKind } from '../checkpoint-image.js';
import { dropCheckpoint } from '../drop-checkpoint.js';
import { isDeletedMeanwhile, isInterrupted } from '../error-text.js';
import { saveStep } from '../machine-steps.js';
import { saveWithPower } from '../save-state.js';
import { comeBack, showIfLeftSaved } from '../snapshot/bring-back.js';
import { keepCheckpoint } from '../snapshot/keep-checkpoint.js';
import { recordFault } from '../wrappers.js';
import { nodeFor, operatorRefused, type OperatorMethod, type OperatorWork } from './carry-out.js';
import type { CreateOrder } from './orders.js';

export interface CreatedCheckpoint {
  readonly node: CheckpointNode;
  readonly content: CheckpointKind;
  /** How long the guest stood still; null: not at all. */
  readonly stopMs: number | null;
}

/**
 * A node of the checkpoint tree that no image stands for: it stays until the operator deletes it, or the server goes. `full` of a server that is stopped has no
 * memory, because there is none. Interrupted by a restart, a node that is whole stays and one that is not goes; the guest goes on either way.
 */
export const createCheckpointForOperator: OperatorMethod<CreateOrder, CreatedCheckpoint> = { rpc: 'operator_create_checkpoint', gate: 'snapshot', needsSettledServer: true, run: create };

async function create(work: OperatorWork<CreateOrder>): Promise<CreatedCheckpoint> {
  if (work.isResumed) return settle(work);
  return inSlot(work.deps.snapshotSlots, work.signal, async () => {
    await refuseUnwanted(work);
    return created(work, await keep(work));
  });
}

async function created(work: OperatorWork<CreateOrder>, stopMs: number | null): Promise<CreatedCheckpoint> {
  const node = await nodeFor(work);
  return { node, content: node.memory === null ? 'disk' : 'full', stopMs };
}

async function refuseUnwanted({ deps, order: { instance, name, chainKind } }: OperatorWork<CreateOrder>): Promise<void> {
  if (chainKind !== null && (await deps.storage.formOf(instance)) === 'raw') throw operatorRefused(`--kind ${chainKind} is for servers on qcow2 disks, and this one has ZFS volumes: --kind disk`);
  const nodes = await deps.storage.checkpoints(instance);
  const { maxCheckpoints } = deps.options;
  if (nodes.length >= maxCheckpoints) throw operatorRefused(`the server has ${nodes.length} checkpoints, and [checkpoint]max_per_instance is ${maxCheckpoints}: delete one first`);
  const taken = name === null ? undefined : nodes.find((node) => node.name === name);
  if (taken !== undefined) throw operatorRefused(`the server has a checkpoint of that name already: ${taken.id}`);
}

async function keep(work: OperatorWork<CreateOrder>): Promise<number | null> {
  const { deps, context, instance, order, run } = work;
  try {
    const { stopMs } = await keepCheckpoint({
      deps, instance, checkpoint: order.checkpoint, chainKind: order.chainKind, keeping: { keeper: 'operator', name: order.name }, run,
      refused: (reason) => operatorRefused(`${reason}; --kind disk makes a checkpoint of the disks alone`),
    }, order.content);
    return stopMs;
  } catch (error) {
    if (isInterrupted(error) || isDeletedMeanwhile(error) || order.content === 'disk') throw error;
    if (await showIfLeftSaved(deps, instance)) await recordFault(deps, context, order.instance, error);
    await saveWithPower(deps, context, instance, {});
    throw error;
  }
}

/** After a restart: the guest first. A node in the pool has all its disks, and its memory if there is to be one. */
async function settle(work: OperatorWork<CreateOrder>): Promise<CreatedCheckpoint> {
  const { id, deps, instance, order } = work;
  if (deps.journal.operation(id)?.steps.has(saveStep) === true) await comeBack(deps, instance);
  if ((await deps.storage.checkpoints(order.instance)).some((node) => node.id === order.checkpoint)) return created(work, null);
  await dropCheckpoint(deps, order.instance, order.checkpoint);
  throw new AgentError('interrupted', 'the agent was restarted while the checkpoint was made');
}
