/**
 * The end of a build that failed: nothing of it may remain here, because the row loses its host and Nova's API deletes such servers
 * without asking us.
 */
import { vmStates, taskStates } from '../../objects/index.js';
import { AgentError } from '../../lib/errors.js';
import { parseInstanceUuid } from '../../lib/ids.js';
import { novaFaults } from '../../lib/nova-faults.js';
import { elevated } from '../../rpc/context.js';
import { faultText, isInstanceGone } from '../error-text.js';
import { removeFromMachine } from '../machine-steps.js';
import type { Operation } from '../operation.js';
import { recordFault } from '../wrappers.js';
import { setNetworkAllocated } from './network-flag.js';
import type { BuildFailure } from './outcome.js';
import type { BuildArguments } from './request.js';

/** Frees the ports, takes everything off this machine, and gives the instance back to the scheduler or to its user. */
export async function giveUp(operation: Operation<BuildArguments>, failure: BuildFailure, error: unknown): Promise<void> {
  const { args, context, deps, log } = operation;
  const uuid = parseInstanceUuid(args.instance.get('uuid'));
  log.warn({ err: error, failure: failure.kind }, 'build failed');
  deps.metrics.count('agent_build_failures_count', { kind: failure.kind });
  deps.waiters.clear(uuid);
  let cleanUpError: unknown = null;
  try {
    await removeFromMachine(deps, uuid);
    await deps.ports.release(elevated(context), args.instance, args.requested_networks);
    setNetworkAllocated(args.instance, false);
  } catch (err) {
    cleanUpError = err;
    log.error({ err }, 'clean-up after the failed build failed');
  }
  if (failure.kind === 'deleted') return; // the delete that is waiting does the rest
  const canReschedule = failure.kind === 'reschedule' && cleanUpError === null && hasRetry(args);
  if (!(failure.kind === 'reschedule' && failure.byPolicy)) await deps.tracker.recordBuildFailure();
  try {
    await (canReschedule ? reschedule(operation, error) : abort(operation, failure, error));
  } catch (err) {
    if (!isInstanceGone(err)) throw err;
  }
}

const hasRetry = (args: BuildArguments): boolean => args.filter_properties?.retry !== null && args.filter_properties?.retry !== undefined;

async function abort(operation: Operation<BuildArguments>, failure: BuildFailure, error: unknown): Promise<void> {
  const { args: { instance }, context, deps } = operation;
  const uuid = parseInstanceUuid(instance.get('uuid'));
  await recordFault(deps, context, uuid, abortError(uuid, failure, error));
  await deps.tracker.abortClaim(elevated(context), instance);
  instance.set('vm_state', vmStates.error);
  instance.set('task_state', null);
  await deps.conductor.instances.save(context, instance);
  await deps.placement.deleteAllocations(uuid);
}

/** BuildAbortException with the reason that a user should read. */
export function abortError(uuid: string, failure: BuildFailure, error: unknown): AgentError {
  const reason = failure.kind === 'abort' && failure.reason !== null ? failure.reason : faultText(error).message;
  return error instanceof AgentError && error.wire?.className === 'BuildAbortException'
    ? error
    : new AgentError('build-aborted', reason, { wire: novaFaults.buildAbort(uuid, reason), cause: error });
}

async function reschedule(operation: Operation<BuildArguments>, error: unknown): Promise<void> {
  const { args: { instance }, context, deps, wireArgs, log } = operation;
  const uuid = parseInstanceUuid(instance.get('uuid'));
  const text = faultText(error);
  instance.set('availability_zone', null);
  await deps.tracker.abortClaim(elevated(context), instance);
  instance.set('task_state', taskStates.scheduling);
  await deps.conductor.instances.save(context, instance);
  await deps.placement.deleteAllocations(uuid);
  const filters = wireArgs['filter_properties'] as Record<string, unknown>;
  const retry = filters['retry'] as Record<string, unknown>;
  log.info('build given back to the scheduler');
  await deps.conductor.rebuildElsewhere(context, {
    instances: [instance],
    image: wireArgs['image'],
    filter_properties: { ...filters, retry: { ...retry, exc: [`${text.message}\n`, `${text.details}\n`], exc_reason: text.message } },
    admin_password: wireArgs['admin_password'],
    injected_files: wireArgs['injected_files'],
    requested_networks: wireArgs['requested_networks'],
    security_groups: wireArgs['security_groups'],
    request_spec: wireArgs['request_spec'],
    host_lists: [wireArgs['host_list'] ?? []],
  });
}
