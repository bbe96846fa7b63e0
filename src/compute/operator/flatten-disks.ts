import { vmStates } from '../../objects/index.js';
import { operatorRefused, type OperatorMethod, type OperatorWork } from './carry-out.js';
import type { FlattenOrder } from './orders.js';

/**
 * Makes the qcow2 disks of a stopped server rest on their image alone, so that nothing the guest reads goes through a long chain of files. Its checkpoints stay as they
 * are. Cut off, a disk has the same content: it may be done again.
 */
export const flattenDisksForOperator: OperatorMethod<FlattenOrder, null> = { rpc: 'operator_flatten_disks', gate: 'rebuild', needsSettledServer: true, run: flatten };

async function flatten({ deps, instance, order, run }: OperatorWork<FlattenOrder>): Promise<null> {
  if ((await deps.storage.formOf(order.instance)) === 'raw') throw operatorRefused('the server has ZFS volumes, which are in no chain of files');
  if (instance.get('vm_state') !== vmStates.stopped) throw operatorRefused('the server is active, and its disks are copied while it is off: stop it first');
  await run([{ name: 'flatten-disks', look: async () => 'not-done', act: () => deps.storage.flattenDisks(order.instance) }]);
  return null;
}
