import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { AgentError, codeOf } from '../../lib/errors.js';
import { parseInstanceUuid } from '../../lib/ids.js';
import { novaFaults, refuse } from '../../lib/nova-faults.js';
import { runSteps } from '../../journal/index.js';
import type { NetworkInfo } from '../../network/index.js';
import { taskStates, toNovaTime, vmStates } from '../../objects/index.js';
import type { GlanceImage } from '../../openstack/index.js';
import { faultText, isDeletedMeanwhile, isInterrupted, isTaskStateConflict } from '../error-text.js';
import { cacheImage, refuseUnfit, showImage } from '../fetch-image.js';
import { stopOptions } from '../grace.js';
import { actAll, endGuest } from '../machine-steps.js';
import { instanceArgument, type InstanceMethod, type Operation } from '../operation.js';
import { bringUp } from '../power-steps.js';
import { saveWithPower } from '../save-state.js';
import { rescueAttachment, rescueImageReference, type RescueAttachment } from './rescue-request.js';
import { endRescue, rescueConfigDrive, rescueDisk } from './rescue-steps.js';

const args = z.looseObject({
  instance: instanceArgument, rescue_password: z.string().nullish(), rescue_image_ref: z.string().nullish(), clean_shutdown: z.boolean().default(true),
});
type Args = z.infer<typeof args>;
type Rescue = Operation<Args>;

/** What the rescue's config drive and the guest's definition say of the row. */
const attributes = ['flavor', 'info_cache', 'metadata', 'system_metadata', 'keypairs', 'security_groups'] as const;

/**
 * Rescue: the server boots from a fresh disk of another image, with its own root disk beside it. What can be refused is refused while the guest
 * still runs; a failure after that gives the guest back as it was, in the state that it had.
 */
export const rescueInstance: InstanceMethod<Args> = {
  kind: 'instance',
  rpc: 'rescue_instance',
  availability: { status: 'works', reason: 'hw_rescue_device disk and cdrom; hw_rescue_bus virtio, sata and nvme' },
  args,
  wrappers: { revertsTask: true, event: 'compute_rescue_instance', recordsFault: true },
  gate: 'rescue',
  isJournalled: true,
  resumeTasks: [taskStates.rescuing],
  run: rescue,
};

async function rescue(operation: Rescue): Promise<null> {
  const { args: { instance }, context, deps, log } = operation;
  await deps.conductor.instances.load(context, instance, attributes);
  const vifs = await deps.ports.refresh(context, instance);
  try {
    const { image, attachment } = await acceptedImage(operation);
    await boot(operation, image, attachment, vifs);
  } catch (error) {
    if (isInterrupted(error) || isTaskStateConflict(error)) throw error;
    if (isDeletedMeanwhile(error)) return null;
    log.warn({ err: error }, 'rescue failed');
    throw notRescuable(instance.get('uuid'), error);
  }
  instance.set('launched_at', toNovaTime(deps.clock.now()));
  await saveWithPower(deps, context, instance, { vmState: vmStates.rescued, taskState: null }, taskStates.rescuing);
  return null;
}

const notRescuable = (uuid: string, error: unknown): AgentError =>
  error instanceof AgentError && error.wire?.className === 'InstanceNotRescuable' ? error
    : new AgentError('refused', 'the rescue failed', { wire: novaFaults.instanceNotRescuable(uuid, faultText(error).message), cause: error });

async function acceptedImage({ args: { instance, rescue_image_ref: asked }, context, deps, signal }: Rescue): Promise<{ image: GlanceImage; attachment: RescueAttachment }> {
  const uuid = instance.get('uuid');
  const reference = rescueImageReference(instance, asked ?? null);
  if (reference === null) throw refuse(novaFaults.instanceNotRescuable(uuid, 'there is no image to rescue it with'));
  const image = await showImage(deps, context, reference);
  const instanceUuid = parseInstanceUuid(uuid);
  const attachment = rescueAttachment(uuid, image.properties, image.diskFormat, await deps.storage.formOf(instanceUuid));
  refuseUnfit(instance.get('flavor'), { ...image, minDiskGiB: 0 }); // the rescue disk is as large as its image
  await cacheImage(deps, context, image, { maxBytes: null, signal, for: instanceUuid });
  return { image, attachment };
}

async function boot({ id, args: { instance, clean_shutdown: isClean, rescue_password: password }, deps, signal, log }: Rescue, image: GlanceImage, attachment: RescueAttachment, vifs: NetworkInfo): Promise<void> {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  let configDrivePath: string | null = null;
  try {
    await runSteps(deps.journal, id, [
      endGuest(deps, uuid, stopOptions(deps.options, instance, isClean)),
      rescueDisk(deps, uuid, image),
      rescueConfigDrive(deps, instance, uuid, image, vifs, password ?? randomBytes(9).toString('base64url'), (path) => { configDrivePath = path; }),
      ...bringUp(deps, instance, vifs, { ...attachment, configDrivePath: () => configDrivePath }),
    ], signal);
  } catch (error) {
    if (!isInterrupted(error) && codeOf(error) !== 'step-unclear' && !isDeletedMeanwhile(error)) await stayAsBefore();
    throw error;
  }

  /** The server's own guest again, if it ran; the row keeps its state. If that fails too the server is in error (saved with the task revert). */
  async function stayAsBefore(): Promise<void> {
    try {
      await actAll([endGuest(deps, uuid, { graceMs: 0, retryMs: 0 }), endRescue(deps, uuid), ...(instance.get('vm_state') === vmStates.active ? bringUp(deps, instance, vifs) : [])]);
    } catch (err) {
      log.error({ err }, 'server not put back as it was before the rescue');
      instance.set('vm_state', vmStates.error);
    }
  }
}
