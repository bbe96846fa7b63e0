/** What the operator had asked for when the agent ended. It goes before all that Nova wants of the server: it had the gate. */
import type { z } from 'zod';
import type { JournalledOperation } from '../../journal/index.js';
import type { NovaObjectOf } from '../../objects/index.js';
import type { ComputeDeps } from '../deps.js';
import { perform, type OperatorMethod, type Target } from './carry-out.js';
import { createCheckpointForOperator } from './create-checkpoint.js';
import { flattenDisksForOperator } from './flatten-disks.js';
import { deleteCheckpointForOperator } from './delete-checkpoint.js';
import { createOrder, deleteOrder, flattenOrder, restoreOrder } from './orders.js';
import { restoreCheckpointForOperator } from './restore-checkpoint.js';

type Finish = (deps: ComputeDeps, operation: JournalledOperation, instance: NovaObjectOf<'Instance'>) => Promise<void>;

const finishing = <Order extends Target>(method: OperatorMethod<Order, unknown>, schema: z.ZodType<Order>): readonly [string, Finish] => [method.rpc, async (deps, operation, instance) => {
  const order = schema.parse(operation.payload);
  await deps.gate.run(order.instance, method.gate, async (signal) => {
    await perform(deps, method, { id: operation.id, context: deps.ownContext(), instance, order, signal, isResumed: true, progress: () => undefined });
  });
}];

const methods: ReadonlyMap<string, Finish> = new Map([
  finishing(createCheckpointForOperator, createOrder), finishing(restoreCheckpointForOperator, restoreOrder), finishing(deleteCheckpointForOperator, deleteOrder), finishing(flattenDisksForOperator, flattenOrder),
]);

export const isOperatorsOperation = ({ rpc }: Pick<JournalledOperation, 'rpc'>): boolean => methods.has(rpc);

/** Behind the gate and not waited for. `row` as it was read at start; undefined: the server is gone from this host, and with it what was to be done. */
export async function finishForOperator(deps: ComputeDeps, operation: JournalledOperation, row: NovaObjectOf<'Instance'> | undefined): Promise<void> {
  const finish = methods.get(operation.rpc);
  if (row === undefined || finish === undefined) return deps.journal.end(operation.id, 'undone');
  finish(deps, operation, row).catch((err: unknown) => deps.log.error({ err, op: operation.id, instance: operation.instance }, 'interrupted operation for the operator not finished'));
}
