import { dropCheckpoint } from '../drop-checkpoint.js';
import { nodeFor, operatorRefused, type OperatorMethod, type OperatorWork } from './carry-out.js';
import type { DeleteOrder } from './orders.js';

/**
 * Takes a node out of the tree; its children become its parent's. One that an image of Glance stands for is its users', unless the operator insists: then their image leads
 * nowhere. The state of the server does not matter.
 */
export const deleteCheckpointForOperator: OperatorMethod<DeleteOrder, null> = { rpc: 'operator_delete_checkpoint', gate: 'snapshot', needsSettledServer: false, run: remove };

async function remove(work: OperatorWork<DeleteOrder>): Promise<null> {
  const { deps, order: { instance, checkpoint, isForced }, isResumed, run } = work;
  if (!isResumed) {
    const { keeper } = await nodeFor(work);
    if (keeper === 'nova' && !isForced) throw operatorRefused(`the image ${checkpoint} stands for this checkpoint: "openstack image delete ${checkpoint}" deletes both. With --force the checkpoint goes now, and the image leads nowhere`);
  }
  await run([{ name: 'drop-checkpoint', look: async () => 'not-done', act: () => dropCheckpoint(deps, instance, checkpoint) }]);
  return null;
}
