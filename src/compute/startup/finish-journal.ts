/**
 * What the journal says was under way when the agent ended. An operation that never began is run as if its message came now. Of those
 * that began, a build is undone (the row becomes ERROR by the recovery table, as Nova does) unless its row says that it was through,
 * a snapshot or backup is given up (its moment has passed), what the operator had asked for is finished, and the others are run again: their steps look before they act.
 */
import type { InstanceUuid, OperationId } from '../../lib/ids.js';
import type { JournalledOperation } from '../../journal/index.js';
import { vmStates, type NovaObjectOf } from '../../objects/index.js';
import type { WireMessage } from '../../rpc/index.js';
import type { ComputeDeps } from '../deps.js';
import { removeFromMachine } from '../machine-steps.js';
import { finishForOperator, isOperatorsOperation } from '../operator/finish.js';
import { abandonImage } from '../snapshot/abandon-image.js';

const buildRpc = 'build_and_run_instance';
const imageRpcs: ReadonlySet<string> = new Set(['snapshot_instance', 'backup_instance']);

export interface JournalPlan {
  /** To be dispatched once the service serves, oldest first. */
  readonly again: readonly { readonly message: WireMessage; readonly instance: InstanceUuid | null }[];
  /** Instances that the recovery table must leave alone. */
  readonly instances: ReadonlySet<InstanceUuid>;
  readonly resumed: ReadonlySet<OperationId>;
}

const isMessage = (payload: unknown): payload is WireMessage => typeof payload === 'object' && payload !== null;

/** Pure: what to do with each unfinished operation. */
export function planJournal(unfinished: readonly JournalledOperation[]): JournalPlan & Readonly<Record<'undo' | 'abandon' | 'finish' | 'close', readonly JournalledOperation[]>> {
  const isBegunBuild = (one: JournalledOperation): boolean => one.hasBegun && one.rpc === buildRpc;
  const undo = unfinished.filter(isBegunBuild);
  const isBegunImage = (one: JournalledOperation): boolean => one.hasBegun && imageRpcs.has(one.rpc) && isMessage(one.payload);
  const isBegunByOperator = (one: JournalledOperation): boolean => one.hasBegun && isOperatorsOperation(one);
  const rest = unfinished.filter((one) => !isBegunBuild(one) && !isBegunImage(one) && !isBegunByOperator(one));
  const isAgain = (one: JournalledOperation): boolean => isMessage(one.payload) && !isOperatorsOperation(one);
  const again = rest.filter(isAgain);
  const finish = unfinished.filter(isBegunByOperator);
  return {
    undo,
    abandon: unfinished.filter(isBegunImage),
    finish,
    close: rest.filter((one) => !isAgain(one)), // our own work, and what no operator waits for: whoever wanted it will want it again
    again: again.map((one) => ({ message: one.payload as WireMessage, instance: one.instance })),
    instances: new Set([...again, ...finish].flatMap((one) => (one.instance === null ? [] : [one.instance]))),
    resumed: new Set(again.filter((one) => one.hasBegun).map((one) => one.id)),
  };
}

/** vm_states that say nothing against undoing: the server never was its user's. */
const unfinishedStates: ReadonlySet<string | null> = new Set([vmStates.building, vmStates.error, vmStates.deleted]);

/**
 * Undoes and closes what will not be run again. `instances` are the rows that name this host. A build that cannot be undone now stays
 * for the next start.
 */
export async function settleJournal(deps: ComputeDeps, plan: ReturnType<typeof planJournal>, instances: readonly NovaObjectOf<'Instance'>[]): Promise<void> {
  for (const operation of plan.close) await deps.journal.end(operation.id, 'undone');
  const rows = new Map(instances.map((instance) => [instance.get('uuid'), instance]));
  for (const operation of plan.undo) {
    const { id: op, instance } = operation;
    const vmState = instance === null ? undefined : rows.get(instance)?.get('vm_state');
    if (vmState !== undefined && !unfinishedStates.has(vmState)) {
      await deps.journal.end(op, 'succeeded'); // killed between the last save and the end of the entry
      continue;
    }
    try {
      if (instance !== null) await removeFromMachine(deps, instance);
      await deps.journal.end(op, 'undone');
      deps.log.info({ op, instance }, 'interrupted build undone');
    } catch (err) {
      deps.log.error({ err, op, instance }, 'interrupted build not undone; kept for the next start');
    }
  }
  for (const operation of plan.finish) await finishForOperator(deps, operation, operation.instance === null ? undefined : rows.get(operation.instance));
  for (const operation of plan.abandon) {
    try {
      await abandonImage(deps, operation, operation.instance === null ? undefined : rows.get(operation.instance));
    } catch (err) {
      deps.log.error({ err, op: operation.id, instance: operation.instance }, 'interrupted image not settled; kept for the next start');
    }
  }
}
