import { AgentError } from '../../lib/errors.js';
import { parseInstanceUuid } from '../../lib/ids.js';
import { novaFaults } from '../../lib/nova-faults.js';
import { runSteps } from '../../journal/index.js';
import { isBootFromVolume, taskStates, toNovaTime, vmStates, type NovaObjectOf } from '../../objects/index.js';
import type { GlanceImage } from '../../openstack/index.js';
import { forgetCheckpoint, isCheckpointImage, isCheckpointOf, memoryOfImage, nodeHere, nodeOfImage, refuseWithInside, returnToImage } from '../checkpoint-image.js';
import { decodeFiles } from '../build/request.js';
import { refuseUnsupported } from '../build/supported.js';
import { localDisks } from '../local-disks.js';
import { capabilitiesFor, normalProperties } from '../shape/index.js';
import { isDeletedMeanwhile, isInterrupted, isTaskStateConflict } from '../error-text.js';
import { cacheImage, refuseUnfit, rootBytesOf, showImage } from '../fetch-image.js';
import { stopOptions } from '../grace.js';
import { actAll, endGuest, reapQuietly } from '../machine-steps.js';
import type { InstanceMethod, Operation } from '../operation.js';
import { bringUp } from '../power-steps.js';
import { saveState, saveWithPower } from '../save-state.js';
import { showIfLeftSaved } from '../snapshot/bring-back.js';
import { isStored } from '../stored-checkpoint.js';
import { rebuildArguments, type RebuildArguments } from './arguments.js';
import { importCheckpoint } from './import-checkpoint.js';
import { refuseEvacuation } from './refuse-evacuation.js';
import { configDriveStep, remakeSteps } from './remake-steps.js';
import { forgetSteps, goOnSteps, isRemade, restoreSteps, type Return } from './restore-steps.js';

type Rebuild = Operation<RebuildArguments>;

const { rebuilding, rebuildBlockDeviceMapping, rebuildSpawning } = taskStates;
/** What the config drive and the guest's definition say of the row. */
const attributes = ['flavor', 'info_cache', 'metadata', 'system_metadata', 'keypairs', 'security_groups'] as const;

/**
 * Rebuild: the same server (ports, addresses, name) on a new disk. Everything that can be refused is refused while the guest still runs, and
 * the old disk goes only when the new one is there; so a rebuild that fails before that leaves the server as it was. With an image that stands for
 * a checkpoint of this server, its disks become those of the checkpoint, and its guest goes on from there if that has memory. One that Glance has of another server
 * is a disk like any other.
 */
export const rebuildInstance: InstanceMethod<RebuildArguments> = {
  kind: 'instance',
  rpc: 'rebuild_instance',
  availability: { status: 'works', reason: 'not evacuation, not servers that boot from a volume' },
  args: rebuildArguments,
  wrappers: { revertsTask: true, event: 'compute_rebuild_instance', recordsFault: true },
  gate: 'rebuild',
  isJournalled: true,
  resumeTasks: [rebuilding, rebuildBlockDeviceMapping, rebuildSpawning],
  run: rebuild,
};

async function rebuild(operation: Rebuild): Promise<null> {
  const { args, context, deps, log } = operation;
  if (args.recreate) return refuseEvacuation(operation);
  await deps.conductor.instances.load(context, args.instance, attributes);
  try {
    await remake(operation, await acceptedImage(operation));
  } catch (error) {
    if (isDeletedMeanwhile(error)) {
      log.info('instance was deleted while it was rebuilt');
      return null;
    }
    if (isInterrupted(error) || isTaskStateConflict(error)) throw error;
    log.warn({ err: error }, 'rebuild failed');
    await settle(operation);
    throw error;
  }
  await reapQuietly(deps);
  return null;
}

interface Accepted {
  readonly image: GlanceImage;
  /** Where the server goes, if the image stands for a checkpoint. */
  readonly back: Return | null;
}

/** The new image, cached and fit for this host and flavor, or the node that it stands for; anything else is refused here. */
async function acceptedImage(operation: Rebuild): Promise<Accepted> {
  const { args, context, deps, signal } = operation;
  const { instance } = args;
  const blockDevices = args.bdms?.get('objects') ?? (await deps.conductor.blockDevices.byInstance(context, parseInstanceUuid(instance.get('uuid'))));
  if (isBootFromVolume(instance, blockDevices) || args.image_ref === null || args.image_ref === undefined) {
    const reason = 'rebuilding a server that boots from a volume is not supported by this host yet';
    throw new AgentError('unsupported-request', reason, { wire: novaFaults.buildAbort(instance.get('uuid'), reason) });
  }
  const image = await showImage(deps, context, args.image_ref);
  const capabilities = capabilitiesFor(deps.driver.capabilities, await deps.storage.formOf(parseInstanceUuid(instance.get('uuid'))));
  refuseUnsupported({
    args: { instance, accel_uuids: args.accel_uuids }, blockDevices, disks: localDisks(blockDevices, instance.get('flavor'), deps.options.defaultEphemeralFormat),
    properties: normalProperties(image.properties), capabilities, hasScreens: deps.options.vnc !== null, formats: deps.storage.formats,
  });
  decodeFiles(args.injected_files); // what is not base64 is refused before, not after, the old disk is gone
  if (isCheckpointOf(instance.get('uuid'), image) || (isCheckpointImage(image) && !isStored(image))) return { image, back: await acceptedReturn(operation, image, blockDevices) };
  const flavor = instance.get('flavor');
  refuseUnfit(flavor, image);
  await refuseWithInside(deps, instance.get('uuid'), 'rebuilding to another image');
  await cacheImage(deps, context, image, { maxBytes: rootBytesOf(flavor), signal, for: parseInstanceUuid(instance.get('uuid')) });
  return { image, back: null };
}

/** The node that the image stands for, and its memory if the guest can go on from it. */
async function acceptedReturn(operation: Rebuild, image: GlanceImage, blockDevices: readonly NovaObjectOf<'BlockDeviceMapping'>[]): Promise<Return> {
  const { args: { instance, target_state: targetState }, deps, signal, log, isResumed } = operation;
  const uuid = instance.get('uuid');
  const isOff = staysOff(instance, targetState);
  const here = isStored(image) ? await nodeHere(deps, uuid, image) : await nodeOfImage(deps, uuid, image);
  const { node, images } = here === undefined ? await importCheckpoint(operation, image, { isOff, blockDevices }) : { node: here, images: null };
  if (!isOff) return { node, images, memory: await memoryOfImage(deps, uuid, image, node, { isUnderWay: isResumed, signal }) };
  if (node.memory !== null) log.info({ checkpoint: node.id }, 'memory of the checkpoint not used: the server is off');
  return { node, images, memory: null };
}

/** Nova starts a server that was stopped and stops it again; here it stays off. */
const staysOff = (instance: NovaObjectOf<'Instance'>, targetState: unknown): boolean => instance.get('vm_state') === vmStates.stopped || targetState === vmStates.stopped;

async function remake(operation: Rebuild, { image, back }: Accepted): Promise<void> {
  const { id, args: { instance, target_state: targetState, orig_image_ref: before }, context, deps, signal, isResumed } = operation;
  const uuid = parseInstanceUuid(instance.get('uuid'));
  const isOff = staysOff(instance, targetState);
  const memory = back?.memory ?? null;
  const from = (state: string): readonly string[] => (isResumed ? [rebuilding, rebuildBlockDeviceMapping, rebuildSpawning] : [state]);
  if (isResumed && (await isRemade(operation, memory))) {
    if (memory !== null) await runSteps(deps.journal, id, await forgetSteps(operation), signal);
    return reportRebuilt(operation, isOff);
  }
  if (back === null) forgetCheckpoint(instance);
  else returnToImage(instance, back.node, before ?? null);
  await saveWithPower(deps, context, instance, { taskState: rebuilding }, from(rebuilding));
  await runSteps(deps.journal, id, [endGuest(deps, uuid, stopOptions(deps.options, instance, true))], signal);
  await saveState(deps, context, instance, { taskState: rebuildBlockDeviceMapping }, from(rebuilding));
  await saveState(deps, context, instance, { taskState: rebuildSpawning }, from(rebuildBlockDeviceMapping));
  await runSteps(deps.journal, id, [
    ...(back === null ? remakeSteps(operation, image) : restoreSteps(operation, back)),
    // A guest that goes on has read its config drive, and keeps it.
    ...(memory === null ? [configDriveStep(operation, image)] : []),
    ...(isOff ? [] : memory === null ? bringUp(deps, instance, deps.ports.cached(instance)) : goOnSteps(operation)),
  ], signal);
  await reportRebuilt(operation, isOff);
}

async function reportRebuilt({ args: { instance }, context, deps }: Rebuild, isOff: boolean): Promise<void> {
  instance.set('launched_at', toNovaTime(deps.clock.now()));
  await saveWithPower(deps, context, instance, { vmState: isOff ? vmStates.stopped : vmStates.active, taskState: null }, [rebuildSpawning]);
  if (deps.options.trackInstanceChanges) await deps.conductor.scheduler.updateInstances(context, deps.options.host, [instance]);
}

/**
 * With the old disk in its place the server is what it was before, and runs again if it did; without it the server is in error, or suspended if its guest did not go on
 * from the memory of a checkpoint: it may be tried again. Saved with the task revert.
 */
async function settle({ id, args, deps, log }: Rebuild): Promise<void> {
  const { instance } = args;
  const uuid = parseInstanceUuid(instance.get('uuid'));
  try {
    const root = (await deps.storage.disks(uuid)).find(({ role }) => role === 'root');
    if (root?.madeFor === id && (await showIfLeftSaved(deps, instance))) return;
    if (root === undefined || root.madeFor === id) throw new AgentError('disk-missing', 'the old disk is gone already');
    if (typeof args.orig_image_ref === 'string') instance.set('image_ref', args.orig_image_ref);
    if (args.orig_sys_metadata !== undefined && args.orig_sys_metadata !== null) instance.set('system_metadata', args.orig_sys_metadata);
    if (instance.get('vm_state') === vmStates.active) await actAll(bringUp(deps, instance, deps.ports.cached(instance)));
  } catch (err) {
    log.error({ err }, 'server not put back as it was before the rebuild');
    instance.set('vm_state', vmStates.error);
  }
}
