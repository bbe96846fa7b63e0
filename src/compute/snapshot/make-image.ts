/**
 * An image of an instance's root disk, as snapshot, backup and shelve need it. The guest is not stopped: the disk is kept as it is at this moment
 * (storage/disk-snapshots.ts) and read from that copy, however long Glance takes.
 *
 *   keep the disk ─▶ task "pending upload" ─▶ (qcow2) ─▶ task "uploading" ─▶ describe ─▶ upload ─▶ let the copy go
 */
import { novaFaults, refuse } from '../../lib/nova-faults.js';
import { parseInstanceUuid, type ImageId, type OperationId } from '../../lib/ids.js';
import { runSteps } from '../../journal/index.js';
import { powerStates } from '../../virt/index.js';
import type { NovaObjectOf } from '../../objects/index.js';
import type { Logger } from '../../observe/index.js';
import type { ChainKind } from '../../storage/index.js';
import type { RequestContext } from '../../rpc/context.js';
import type { ComputeDeps } from '../deps.js';
import { isImageGone } from '../error-text.js';
import { uploadDisk } from './upload-disk.js';

export interface ImageWork {
  readonly id: OperationId;
  readonly deps: ComputeDeps;
  readonly context: RequestContext;
  readonly instance: NovaObjectOf<'Instance'>;
  readonly image: ImageId;
  /** Of a checkpoint of qcow2 disks; null or left out: as the host does it. */
  readonly chainKind?: ChainKind | null;
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** Called when the copy is there and the upload is next, and when it begins. */
  readonly onStage: (stage: 'pending-upload' | 'uploading') => Promise<void>;
}

/** Fills the queued image. What was kept of the disk is gone afterwards, whatever happened. */
export async function makeImage(work: ImageWork): Promise<void> {
  const { id, deps, context, instance, image, log, signal, onStage } = work;
  const { storage } = deps;
  const uuid = parseInstanceUuid(instance.get('uuid'));
  await refuseUnquiesced(work);
  await deps.glance.show(context, image); // gone already: nothing needs to be kept
  await runSteps(deps.journal, id, [{
    name: 'keep-disk', look: async () => 'not-done', act: () => storage.takeSnapshot(uuid, id), undo: () => storage.dropSnapshot(uuid, id),
  }], signal);
  try {
    await onStage('pending-upload');
    const content = await storage.openSnapshot(uuid, id, { format: deps.options.snapshots.format, isCompressed: deps.options.snapshots.isCompressed, signal });
    await onStage('uploading');
    await deps.glance.update(context, image, attributesOf(instance, content.diskFormat));
    await uploadDisk(work, content);
  } finally {
    await dropDiskCopy(work);
  }
  log.info({ image }, 'image of the disk is in glance');
}

/** bhyve guests have no agent that could be told to flush: an image that insists on it cannot be made while the guest runs. */
export async function refuseUnquiesced({ deps, instance }: ImageWork): Promise<void> {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  const isRequired = /^(1|t|true|on|y|yes)$/i.test(instance.get('system_metadata')['image_os_require_quiesce'] ?? '');
  const power = await deps.driver.powerState(uuid);
  if (!isRequired || (power !== powerStates.running && power !== powerStates.paused)) return;
  throw refuse(novaFaults.instanceQuiesceNotSupported(uuid, 'this host has no way to quiesce a running guest; stop the server first'));
}

/** What Nova says of an image that it makes; kernel and ramdisk are of times before disks had a loader. */
export function attributesOf(instance: NovaObjectOf<'Instance'>, diskFormat: string): Record<string, string> {
  const osType = instance.maybe('os_type') ?? '';
  return {
    disk_format: diskFormat, container_format: 'bare', image_location: 'snapshot', image_state: 'available', owner_id: instance.maybe('project_id') ?? '',
    ...(osType === '' ? {} : { os_type: osType }),
  };
}

/** Lets go of what was kept for the operation, if anything. A failure is logged: the duty comes by later. */
export async function dropDiskCopy({ id, deps, instance, log }: Pick<ImageWork, 'id' | 'deps' | 'instance' | 'log'>): Promise<void> {
  try {
    await deps.storage.dropSnapshot(parseInstanceUuid(instance.get('uuid')), id);
  } catch (err) {
    log.warn({ err }, 'copy of the disk not removed; the periodic duty will do it');
  }
}

/** An image that nobody will ever fill is deleted; one that is complete stays, and true is the answer then. Failures are logged: the cause matters more. */
export async function dropUnfilledImage(deps: Pick<ComputeDeps, 'glance'>, context: RequestContext, image: ImageId, log: Logger): Promise<boolean> {
  try {
    if ((await deps.glance.show(context, image)).status === 'active') return true;
    await deps.glance.remove(context, image);
    log.info({ image }, 'unfilled image deleted');
  } catch (err) {
    if (!isImageGone(err)) log.warn({ err, image }, 'unfilled image not deleted');
  }
  return false;
}
