/** What nova-compute's timers ask for through the compute API of Nova: an action record, the state that the API sets, then the method. The caller holds the gate. */
import { parseInstanceUuid } from '../lib/ids.js';
import { taskStates, type NovaObjectOf } from '../objects/index.js';
import type { RequestContext } from '../rpc/context.js';
import type { ComputeDeps } from './deps.js';
import { performOwn } from './operation.js';
import { unrescueInstance } from './rescue/unrescue-instance.js';
import { confirmResize } from './resize/confirm-resize.js';

/** Ends a rescue (rescue_timeout). The conductor refuses when somebody else took the instance meanwhile. */
export async function unrescueAsApi(deps: ComputeDeps, context: RequestContext, instance: NovaObjectOf<'Instance'>, signal: AbortSignal): Promise<void> {
  instance.set('task_state', taskStates.unrescuing);
  await deps.conductor.instances.save(context, instance, { expectedTaskState: [null] });
  await deps.conductor.actions.actionStart(context, parseInstanceUuid(instance.get('uuid')), 'unrescue');
  await performOwn(deps, unrescueInstance, context, { instance }, signal);
}

/** Confirms a resize (resize_confirm_window). */
export async function confirmAsApi(
  deps: ComputeDeps, context: RequestContext, instance: NovaObjectOf<'Instance'>, migration: NovaObjectOf<'Migration'>, signal: AbortSignal,
): Promise<void> {
  migration.set('status', 'confirming');
  await deps.conductor.migrations.save(context, migration);
  await deps.conductor.actions.actionStart(context, parseInstanceUuid(instance.get('uuid')), 'confirmResize');
  await performOwn(deps, confirmResize, context, { instance, migration, request_spec: null }, signal);
}
