/**
 * What surrounds nearly every method of nova-compute (nova-contract 5.2): the instance action event (E), the fault (F) and the
 * task-state revert (T). The API's view of an operation is made of them. From outside: T, E, F, body; so a failure first records
 * the fault, then the event, then clears the task.
 */
import type { InstanceUuid } from '../lib/ids.js';
import { parseInstanceUuid } from '../lib/ids.js';
import type { NovaObjectOf } from '../objects/index.js';
import type { RequestContext } from '../rpc/context.js';
import { isRemote } from '../rpc/index.js';
import type { ComputeDeps } from './deps.js';
import { faultText, isInstanceGone, isInterrupted, isTaskStateConflict } from './error-text.js';

export interface Wrappers {
  readonly revertsTask: boolean;
  /** Name of the action event, e.g. 'compute_stop_instance'; null for none. */
  readonly event: string | null;
  readonly recordsFault: boolean;
}

type Deps = Pick<ComputeDeps, 'conductor' | 'log' | 'options'>;

/** Runs `body` inside the wrappers; rethrows what it threw. Nothing is said of an operation that the agent's end interrupts: it is not over. */
export async function wrapped<T>(
  deps: Deps,
  wrappers: Wrappers,
  context: RequestContext,
  instance: NovaObjectOf<'Instance'>,
  body: () => Promise<T>,
): Promise<T> {
  try {
    return await withEvent(deps, wrappers, context, instance, body);
  } catch (error) {
    if (wrappers.revertsTask && !isInterrupted(error) && !isTaskStateConflict(error)) await revertTask(deps, context, instance);
    throw error;
  }
}

async function withEvent<T>(deps: Deps, wrappers: Wrappers, context: RequestContext, instance: NovaObjectOf<'Instance'>, body: () => Promise<T>): Promise<T> {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  const hasEvent = wrappers.event !== null && (await startEvent(deps, context, uuid, wrappers.event));
  try {
    const result = await body();
    if (hasEvent) await finishEvent(deps, context, uuid, wrappers.event, null);
    return result;
  } catch (error) {
    if (isInterrupted(error)) throw error;
    if (wrappers.recordsFault && !isInstanceGone(error)) await recordFault(deps, context, uuid, error);
    if (hasEvent) await finishEvent(deps, context, uuid, wrappers.event, error);
    throw error;
  }
}

/** False when the request has no action row (our own work): then there is nothing to finish either. */
async function startEvent(deps: Deps, context: RequestContext, uuid: InstanceUuid, event: string): Promise<boolean> {
  try {
    await deps.conductor.actions.eventStart(context, uuid, event, deps.options.host);
    return true;
  } catch (error) {
    if (!isRemote(error, 'InstanceActionNotFound') && !isInstanceGone(error)) throw error;
    deps.log.info({ event, instance: uuid }, 'request has no action record');
    return false;
  }
}

async function finishEvent(deps: Deps, context: RequestContext, uuid: InstanceUuid, event: string, error: unknown): Promise<void> {
  const text = error === null ? null : faultText(error);
  try {
    await deps.conductor.actions.eventFinish(context, uuid, event, text === null ? null : { message: text.message, trace: text.details });
  } catch (err) {
    // The operation itself is over; a missing event must not turn success into failure.
    deps.log.warn({ err, event, instance: uuid }, 'action event left open');
  }
}

/** InstanceFault.create; failures are logged, because the first error matters more. */
export async function recordFault(deps: Deps, context: RequestContext, uuid: InstanceUuid, error: unknown): Promise<void> {
  const { code, message, details } = faultText(error);
  try {
    await deps.conductor.faults.create(context, { instance: uuid, code, message, details, host: deps.options.host });
  } catch (err) {
    deps.log.warn({ err, instance: uuid }, 'fault not recorded');
  }
}

async function revertTask(deps: Deps, context: RequestContext, instance: NovaObjectOf<'Instance'>): Promise<void> {
  try {
    instance.set('task_state', null);
    await deps.conductor.instances.save(context, instance);
  } catch (err) {
    if (!isInstanceGone(err)) deps.log.warn({ err, instance: instance.get('uuid') }, 'task state not reverted');
  }
}
