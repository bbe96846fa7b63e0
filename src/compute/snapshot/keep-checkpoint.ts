/**
 * The steps that make a node of the checkpoint tree. Without memory it is a snapshot of the disks under a guest that goes on. With memory the guest stands still for
 * it, and disks and memory are of the same moment:
 *
 *   save the guest ─▶ keep the save, snapshot the disks ─▶ let the guest go on
 *
 * Killed anywhere, the node is given up like any image that was cut off (abandon-image.ts), and the guest goes on (bring-back.ts).
 */
import { parseInstanceUuid, type CheckpointId, type InstanceUuid } from '../../lib/ids.js';
import { runSteps, type Step } from '../../journal/index.js';
import { vmStates } from '../../objects/index.js';
import type { CheckpointMemory, CheckpointNode } from '../../storage/index.js';
import { powerStates } from '../../virt/index.js';
import { checkpointIdOf, checkpointRefused, type CheckpointKind } from '../checkpoint-image.js';
import { dropCheckpoint } from '../drop-checkpoint.js';
import { letDisksGo, restoreGuest, saveGuest } from '../machine-steps.js';
import { bringBack } from './bring-back.js';
import type { ImageWork } from './make-image.js';

/** What it took. */
export interface KeptNode {
  /** How long the guest stood still: from the request to save it until bhyve had it back. Null: not at all. */
  readonly stopMs: number | null;
}

/**
 * Makes the node. `full` of a guest that is off is a node without memory, because there is none; of a suspended server it has the memory of its save. AgentError
 * `checkpoint-refused` for a guest that cannot be saved, which was not touched then.
 */
export async function keepCheckpoint(work: ImageWork, kind: CheckpointKind): Promise<KeptNode> {
  const { deps, instance } = work;
  const uuid = parseInstanceUuid(instance.get('uuid'));
  const power = await deps.driver.powerState(uuid);
  const isOn = power === powerStates.running || power === powerStates.paused;
  const isSaved = !isOn && instance.get('vm_state') === vmStates.suspended && (await deps.driver.hasSave(uuid));
  if (kind === 'disk' || !(isOn || isSaved)) {
    await runSteps(deps.journal, work.id, [keepDisks(work, isOn || isSaved ? 'running' : 'off')], work.signal);
    return { stopMs: null };
  }
  if (!isSaved) return stopAndKeep(work);
  await runSteps(deps.journal, work.id, [keepWithMemory(work)], work.signal);
  return { stopMs: null };
}

async function stopAndKeep(work: ImageWork): Promise<KeptNode> {
  const { deps, instance, image } = work;
  const uuid = parseInstanceUuid(instance.get('uuid'));
  const why = await deps.driver.whyNoSuspend(uuid);
  if (why !== null) throw checkpointRefused(image, `its memory cannot be saved: ${why}; bhyve_checkpoint=disk makes one of the disks alone`);
  const fromMs = deps.clock.monotonicMs();
  let toMs = fromMs;
  await runSteps(deps.journal, work.id, [
    { ...saveGuest(deps, uuid), undo: () => bringBack(deps, instance) },
    keepWithMemory(work),
    restoreGuest(deps, uuid, () => { toMs = deps.clock.monotonicMs(); }),
    letDisksGo(deps, uuid),
  ], work.signal);
  return { stopMs: toMs - fromMs };
}

/** `keep` puts aside what goes with the disks. The files first: whatever is in the pool then has its memory. */
function keepStep({ deps, instance, image, chainKind }: ImageWork, guest: CheckpointNode['guest'], keep: (uuid: InstanceUuid, checkpoint: CheckpointId) => Promise<CheckpointMemory | null>): Step {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  const checkpoint = checkpointIdOf(image);
  return {
    name: 'keep-checkpoint',
    look: async () => 'not-done', // idempotent
    act: async () => deps.storage.createCheckpoint(uuid, checkpoint, guest, await keep(uuid, checkpoint), chainKind),
    undo: () => dropCheckpoint(deps, uuid, checkpoint),
  };
}

const keepDisks = (work: ImageWork, guest: CheckpointNode['guest']): Step => keepStep(work, guest, async (uuid, checkpoint) => {
  await work.deps.driver.keepVariables(uuid, checkpoint);
  return null;
});

const keepWithMemory = (work: ImageWork): Step => keepStep(work, 'running', (uuid, checkpoint) => work.deps.driver.keepSave(uuid, checkpoint));
