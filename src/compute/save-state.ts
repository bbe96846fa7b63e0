/** Saves of an instance's state, with the expected-task check that guards against racing API requests (nova-contract 5.3). */
import { parseInstanceUuid } from '../lib/ids.js';
import type { NovaObjectOf } from '../objects/index.js';
import type { RequestContext } from '../rpc/context.js';
import type { ExpectedTaskState } from '../conductor/index.js';
import type { ComputeDeps } from './deps.js';

export interface StateChange {
  readonly vmState?: string;
  /** Null clears the task. */
  readonly taskState?: string | null;
  readonly powerState?: number;
}

type Deps = Pick<ComputeDeps, 'conductor'>;

/** Sets and saves; with `expected` the row's task_state must be one of these, or the conductor refuses. */
export async function saveState(
  deps: Deps, context: RequestContext, instance: NovaObjectOf<'Instance'>, change: StateChange, expected?: ExpectedTaskState,
): Promise<void> {
  if (change.vmState !== undefined) instance.set('vm_state', change.vmState);
  if (change.taskState !== undefined) instance.set('task_state', change.taskState);
  if (change.powerState !== undefined) instance.set('power_state', change.powerState);
  await deps.conductor.instances.save(context, instance, expected === undefined ? {} : { expectedTaskState: expected });
}

/** Reads the guest's power state and saves it together with the rest. */
export async function saveWithPower(
  deps: Pick<ComputeDeps, 'conductor' | 'driver'>, context: RequestContext, instance: NovaObjectOf<'Instance'>, change: StateChange, expected?: ExpectedTaskState,
): Promise<void> {
  const powerState = await deps.driver.powerState(parseInstanceUuid(instance.get('uuid')));
  await saveState(deps, context, instance, { ...change, powerState }, expected);
}
