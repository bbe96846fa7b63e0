/** What nova-compute's timers ask for through the compute API of Nova: an action record, the state that the API sets, then the method. The caller holds the gate. */
import { parseInstanceUuid } from '../lib/ids.js';
import { taskStates, type NovaObjectOf } from '../objects/index.js';
import type { RequestContext } from '../rpc/context.js';
import type { ComputeDeps } from './deps.js';
import { performOwn } from './operation.js';
import { unrescueInstance } from './rescue/unrescue-instance.js';
import { saveStatus } from './resources/move-claim.js';

/** Ends a rescue (rescue_timeout). The conductor refuses when somebody else took the instance meanwhile. */
export async function unrescueAsApi(deps: ComputeDeps, context: RequestContext, instance: NovaObjectOf<'Instance'>, signal: AbortSignal): Promise<void> {
  instance.set('task_state', taskStates.unrescuing);
  await deps.conductor.instances.save(context, instance, { expectedTaskState: [null] });
  await deps.conductor.actions.actionStart(context, parseInstanceUuid(instance.get('uuid')), 'unrescue');
  await performOwn(deps, unrescueInstance, context, { instance }, signal);
}

/**
 * Asks this host to confirm a resize (resize_confirm_window). Through the broker, as Nova does: the migration that is marked here is not found unconfirmed
 * again, so the request must outlive us. One that cannot be sent leaves the migration as it was.
 */
export async function confirmAsApi(deps: ComputeDeps, context: RequestContext, instance: NovaObjectOf<'Instance'>, migration: NovaObjectOf<'Migration'>): Promise<void> {
  const { conductor, options } = deps;
  await saveStatus(conductor, context, migration, 'confirming');
  try {
    await conductor.actions.actionStart(context, parseInstanceUuid(instance.get('uuid')), 'confirmResize');
    await conductor.continueOn(context, options.host, 'confirm_resize', { instance, migration });
  } catch (error) {
    await saveStatus(conductor, context, migration, 'finished');
    throw error;
  }
}
