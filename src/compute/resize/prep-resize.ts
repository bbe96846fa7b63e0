import { z } from 'zod';
import { AgentError } from '../../lib/errors.js';
import { parseInstanceUuid } from '../../lib/ids.js';
import { novaFaults, refuse } from '../../lib/nova-faults.js';
import { taskStates, type NovaObjectOf } from '../../objects/index.js';
import { elevated } from '../../rpc/context.js';
import { refuseWithInside } from '../checkpoint-image.js';
import { faultText, isInstanceGone, isInterrupted, isTaskStateConflict } from '../error-text.js';
import { anything, instanceArgument, type InstanceMethod, type Operation } from '../operation.js';
import { capabilitiesFor, imagePropertiesOf, unsupportedMachine } from '../shape/index.js';
import { recordFault } from '../wrappers.js';
import { flavorArgument, migrationArgument, moveAttributes, sameHostOnly } from './arguments.js';
import { unfillableEphemeral } from './disk-steps.js';
import { isDue, settleFailure } from './failure.js';

const filterProperties = z.looseObject({ retry: z.looseObject({}).nullish() });
const args = z.looseObject({
  instance: instanceArgument, flavor: flavorArgument, migration: migrationArgument, node: z.string().nullish(), clean_shutdown: z.boolean().default(true),
  filter_properties: filterProperties.nullish(), image: anything.optional(), request_spec: anything.optional(), host_list: anything.optional(),
});
type Args = z.infer<typeof args>;

/**
 * The destination's part of a resize: look whether this host can have the instance with its new flavor, take the place, and tell the source to
 * go on. Here the source is this host too: moves between hosts are refused, and what is refused is offered to another host if there is one.
 */
export const prepResize: InstanceMethod<Args> = {
  kind: 'instance',
  rpc: 'prep_resize',
  availability: sameHostOnly,
  args,
  wrappers: { revertsTask: true, event: 'compute_prep_resize', recordsFault: true },
  gate: 'resize',
  isJournalled: true,
  resumeTasks: [taskStates.resizePrep],
  run: prep,
};

async function prep(operation: Operation<Args>): Promise<null> {
  const { args: { instance, migration }, context, deps, log } = operation;
  if (!(await isDue(deps, context, { instance, migration }, ['accepted', 'pre-migrating']))) return null;
  try {
    await deps.conductor.instances.load(context, instance, moveAttributes);
    await attempt(operation);
  } catch (error) {
    log.warn({ err: error }, 'move to this host refused');
    await settleFailure(deps, context, { instance, migration }, error, async () => undefined);
    if (isInterrupted(error) || isTaskStateConflict(error) || isInstanceGone(error) || !(await offerElsewhere(operation, error))) throw error;
  }
  return null;
}

async function attempt({ args: { instance, flavor, migration, node, clean_shutdown }, context, deps, wireArgs }: Operation<Args>): Promise<void> {
  refuseMove(deps.options.host, instance, flavor);
  const capabilities = capabilitiesFor(deps.driver.capabilities, await deps.storage.formOf(parseInstanceUuid(instance.get('uuid'))));
  const reason = unsupportedMachine({ flavor, properties: imagePropertiesOf(instance), capabilities, hasScreens: deps.options.vnc !== null })
    ?? unfillableEphemeral(deps, instance.get('flavor'), flavor);
  if (reason !== null) throw refuse(novaFaults.computeResourcesUnavailable(reason));
  await refuseWithInside(deps, instance.get('uuid'), 'resizing');
  instance.set('new_flavor', flavor);
  instance.set('system_metadata', { ...instance.get('system_metadata'), old_vm_state: instance.get('vm_state') ?? 'active' });
  // Nova expects nothing here; with it a request that was given up while it waited for us (recovery clears resize_prep) does not begin.
  await deps.conductor.instances.save(context, instance, { expectedTaskState: taskStates.resizePrep });
  const { allocations } = await deps.placement.allocationsOf(instance.get('uuid'));
  if (allocations[deps.tracker.providerUuid] === undefined) {
    throw new AgentError('no-allocation', 'Placement has no allocation of this server on this host', { wire: novaFaults.computeResourcesUnavailable('no allocation in Placement') });
  }
  await deps.tracker.claimMove(elevated(context), instance, { migration, flavor, node: node ?? null });
  // Through the broker, as Nova does: the next part is a message of its own, which survives us and waits for its turn behind this one.
  await deps.conductor.continueOn(context, deps.options.host, 'resize_instance', {
    instance, migration, image: wireArgs['image'], flavor, clean_shutdown, request_spec: wireArgs['request_spec'] ?? null,
  });
}

function refuseMove(host: string, instance: NovaObjectOf<'Instance'>, flavor: NovaObjectOf<'Flavor'>): void {
  if (instance.get('host') !== host) throw refuse(novaFaults.migrationPreCheckError('moves between hosts are not supported by this host yet'));
  if (flavor.get('id') === instance.get('instance_type_id')) throw refuse(novaFaults.unableToMigrateToSelf(instance.get('uuid'), host));
}

/** Asks the conductor for the next host of the list; false when the request allows no retry, or when it could not be asked. */
async function offerElsewhere(operation: Operation<Args>, error: unknown): Promise<boolean> {
  const { args: { instance, flavor, filter_properties: filters }, context, deps, wireArgs, log } = operation;
  if (filters?.retry === undefined || filters.retry === null) return false;
  const text = faultText(error);
  try {
    instance.set('task_state', taskStates.resizePrep);
    await deps.conductor.instances.save(context, instance);
    await deps.conductor.moveElsewhere(context, {
      instance, flavor, live: false, rebuild: false, block_migration: null, disk_over_commit: null, reservations: null, clean_shutdown: true,
      scheduler_hint: { filter_properties: { ...filters, retry: { ...filters.retry, exc: [`${text.message}\n`] } } },
      request_spec: wireArgs['request_spec'] ?? null, host_list: wireArgs['host_list'] ?? null,
    });
  } catch (err) {
    log.error({ err }, 'the conductor could not be asked for another host');
    return false;
  }
  log.info('move offered to another host');
  await recordFault(deps, context, parseInstanceUuid(instance.get('uuid')), error);
  return true;
}
