import { parseInstanceUuid } from '../lib/ids.js';
import { runSteps } from '../journal/index.js';
import { taskStates, vmStates } from '../objects/index.js';
import { endGuest, unplugVifs } from './machine-steps.js';
import type { InstanceMethod, Operation } from './operation.js';
import { onlyInstance, type OnlyInstance } from './questions.js';
import { saveWithPower } from './save-state.js';

/**
 * Deferred delete: off at once, everything kept until it is restored, deleted by force, or reclaim_instance_interval has passed. Nova has set
 * task_state=soft-deleting and deleted_at.
 */
export const softDeleteInstance: InstanceMethod<OnlyInstance> = {
  kind: 'instance',
  rpc: 'soft_delete_instance',
  availability: { status: 'works', reason: 'with [DEFAULT] reclaim_instance_interval above 0, here and in nova-api' },
  args: onlyInstance,
  wrappers: { revertsTask: true, event: 'compute_soft_delete_instance', recordsFault: true },
  gate: 'soft-delete',
  isJournalled: true,
  resumeTasks: [taskStates.softDeleting],
  run: softDelete,
};

async function softDelete({ id, args: { instance }, context, deps, signal }: Operation<OnlyInstance>): Promise<null> {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  await runSteps(deps.journal, id, [endGuest(deps, uuid, { graceMs: 0, retryMs: 0 }), unplugVifs(deps, uuid)], signal);
  await saveWithPower(deps, context, instance, { vmState: vmStates.softDeleted, taskState: null }, taskStates.softDeleting);
  return null;
}
