/**
 * Unshelve (nova-contract 6.6): the scheduler has chosen this host for a server that is on none. It is built from the image that shelving made, with the
 * ports, addresses and names that it always had. A failure takes everything away again and leaves the server as it was: shelved_offloaded, on no host, with
 * its image. The row never names that image as the server's own: Nova's does for a while, and a crash in between leaves it there.
 */
import { z } from 'zod';
import { AgentError } from '../../lib/errors.js';
import { parseImageId, parseInstanceUuid } from '../../lib/ids.js';
import { novaFaults } from '../../lib/nova-faults.js';
import { runSteps } from '../../journal/index.js';
import { taskStates, toNovaTime, vmStates } from '../../objects/index.js';
import { elevated } from '../../rpc/context.js';
import { imageArgument, textProperties } from '../build/request.js';
import { requireAllocation } from '../build/require-allocation.js';
import { spawnSteps } from '../build/spawn-steps.js';
import { refuseUnsupported } from '../build/supported.js';
import { isDeletedMeanwhile, isInterrupted } from '../error-text.js';
import { refuseUnfit, showImage } from '../fetch-image.js';
import { localDisks } from '../local-disks.js';
import { removeFromMachine } from '../machine-steps.js';
import { anything, instanceArgument, type InstanceMethod, type Operation } from '../operation.js';
import { saveState, saveWithPower } from '../save-state.js';
import { imagePropertiesOf, normalProperties } from '../shape/index.js';
import { removeShelvedImage, withoutShelvedKeys } from './shelved-keys.js';

const args = z.looseObject({
  instance: instanceArgument, image: imageArgument.nullish(), node: z.string().nullish(), accel_uuids: z.array(z.unknown()).nullish(),
  filter_properties: z.looseObject({ limits: anything.optional() }).nullish(),
});
type Args = z.infer<typeof args>;

export const unshelveInstance: InstanceMethod<Args> = {
  kind: 'instance',
  rpc: 'unshelve_instance',
  args,
  wrappers: { revertsTask: true, event: 'compute_unshelve_instance', recordsFault: true },
  gate: 'unshelve',
  isJournalled: true,
  run: unshelve,
};

async function unshelve(operation: Operation<Args>): Promise<null> {
  const { args: { instance, image }, context, deps, isResumed, log } = operation;
  const task = instance.get('task_state');
  if (!isResumed || task === taskStates.unshelving || task === taskStates.spawning) {
    try {
      await saveState(deps, context, instance, { taskState: taskStates.spawning });
      await attempt(operation);
    } catch (error) {
      if (!isInterrupted(error)) await giveBack(operation, error);
      if (!isDeletedMeanwhile(error)) throw error;
      log.info({ err: error }, 'server is being deleted; not unshelved');
      return null;
    }
  }
  // Last, so that a server always has its disk somewhere. A restart in between comes back to here.
  if (instance.get('vm_state') === vmStates.active && image?.id !== undefined && image.id !== instance.get('image_ref')) {
    await removeShelvedImage(deps, context, parseImageId(image.id), log);
  }
  return null;
}

async function attempt(operation: Operation<Args>): Promise<void> {
  const { args, context, deps, signal } = operation;
  const { instance } = args;
  const uuid = parseInstanceUuid(instance.get('uuid'));
  const admin = elevated(context);
  await deps.conductor.instances.load(context, instance, ['flavor', 'info_cache', 'metadata', 'system_metadata', 'keypairs']);
  const blockDevices = await deps.conductor.blockDevices.byInstance(admin, uuid);
  const disks = localDisks(blockDevices, instance.get('flavor'), deps.options.defaultEphemeralFormat); // begin anew: shelving keeps the root disk only
  refuseUnsupported({
    args: { instance, accel_uuids: args.accel_uuids }, blockDevices, disks, properties: { ...normalProperties(textProperties(args.image?.properties)), ...imagePropertiesOf(instance) },
    capabilities: deps.driver.capabilities, hasScreens: deps.options.vnc !== null, formats: deps.storage.formats,
  });
  const imageId = args.image?.id;
  if (imageId === undefined) throw withoutImage(uuid);
  await requireAllocation(operation);
  await deps.tracker.claim(admin, instance, { node: args.node ?? null, limits: args.filter_properties?.limits });
  const vifs = await deps.ports.rebind(context, instance, deps.options.host);
  const image = await showImage(deps, context, imageId);
  refuseUnfit(instance.get('flavor'), image);
  await runSteps(deps.journal, operation.id, spawnSteps(operation, { image, injectedFiles: [], adminPassword: null, blockDevices, disks, hasTaggedPorts: true, vifs: async () => vifs }), signal);
  instance.set('system_metadata', withoutShelvedKeys(instance.get('system_metadata')));
  instance.set('launched_at', toNovaTime(deps.clock.now()));
  await saveWithPower(deps, context, instance, { vmState: vmStates.active, taskState: null }, taskStates.spawning);
  if (deps.options.trackInstanceChanges) await deps.conductor.scheduler.updateInstances(context, deps.options.host, [instance]);
}

function withoutImage(uuid: string): AgentError {
  const reason = 'the server has no image to be unshelved from, and volumes are not supported by this host yet';
  return new AgentError('unsupported-request', reason, { wire: novaFaults.buildAbort(uuid, reason) });
}

/** What cannot be taken away is logged: the row must go back in any case, or the server would be stuck on a host that it is not on. */
async function giveBack({ args: { instance }, context, deps, log }: Operation<Args>, error: unknown): Promise<void> {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  const admin = elevated(context);
  log.warn({ err: error }, 'unshelve failed');
  deps.waiters.clear(uuid);
  try {
    await removeFromMachine(deps, uuid);
    if (!isDeletedMeanwhile(error)) await deps.ports.unbind(admin, instance);
  } catch (err) {
    log.error({ err }, 'clean-up after the failed unshelve failed');
  }
  if (isDeletedMeanwhile(error)) return; // the delete that is waiting does the rest
  await deps.placement.deleteAllocations(uuid);
  instance.set('vm_state', vmStates.shelvedOffloaded);
  await deps.tracker.abortClaim(admin, instance);
}
