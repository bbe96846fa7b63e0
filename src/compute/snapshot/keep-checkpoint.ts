/**
 * The steps that make a node of the checkpoint tree. Without memory it is a snapshot of the disks under a guest that goes on. With memory the guest stands still for
 * it, and disks and memory are of the same moment:
 *
 *   save the guest ─▶ keep the save, snapshot the disks ─▶ let the guest go on
 *
 * Killed anywhere, the guest goes on (bring-back.ts), and the node is given up with its image (abandon-image.ts); an operator's stays if it is whole
 * (operator/create-checkpoint.ts).
 */
import type { AgentError } from '../../lib/errors.js';
import { parseInstanceUuid, type CheckpointId, type InstanceUuid } from '../../lib/ids.js';
import type { Step } from '../../journal/index.js';
import { vmStates, type NovaObjectOf } from '../../objects/index.js';
import type { CheckpointKeeping, CheckpointMemory, CheckpointNode } from '../../storage/index.js';
import { powerStates } from '../../virt/index.js';
import type { CheckpointKind } from '../checkpoint-image.js';
import type { ComputeDeps } from '../deps.js';
import { dropCheckpoint } from '../drop-checkpoint.js';
import { letDisksGo, restoreGuest, saveGuest } from '../machine-steps.js';
import { bringBack } from './bring-back.js';

export interface NodeWork {
  readonly deps: ComputeDeps;
  readonly instance: NovaObjectOf<'Instance'>;
  readonly checkpoint: CheckpointId;
  readonly keeping: CheckpointKeeping;
  /** Runs steps of the operation. */
  readonly run: (steps: readonly Step[]) => Promise<void>;
  /** The error for whoever asked, when the guest cannot be saved. */
  readonly refused: (reason: string) => AgentError;
}

/** What it took. */
export interface KeptNode {
  /** How long the guest stood still: from the request to save it until bhyve had it back. Null: not at all. */
  readonly stopMs: number | null;
}

/**
 * Makes the node. `full` of a guest that is off is a node without memory, because there is none; of a suspended server it has the memory of its save. Throws what
 * `refused` makes for a guest that cannot be saved, which was not touched then.
 */
export async function keepCheckpoint(work: NodeWork, kind: CheckpointKind): Promise<KeptNode> {
  const { deps, instance } = work;
  const uuid = parseInstanceUuid(instance.get('uuid'));
  const power = await deps.driver.powerState(uuid);
  const isOn = power === powerStates.running || power === powerStates.paused;
  const isSaved = !isOn && instance.get('vm_state') === vmStates.suspended && (await deps.driver.hasSave(uuid));
  if (kind === 'disk' || !(isOn || isSaved)) {
    await work.run([keepDisks(work, isOn || isSaved ? 'running' : 'off')]);
    return { stopMs: null };
  }
  if (!isSaved) return stopAndKeep(work);
  await work.run([keepWithMemory(work)]);
  return { stopMs: null };
}

async function stopAndKeep(work: NodeWork): Promise<KeptNode> {
  const { deps, instance } = work;
  const uuid = parseInstanceUuid(instance.get('uuid'));
  const why = await deps.driver.whyNoSuspend(uuid);
  if (why !== null) throw work.refused(`its memory cannot be saved: ${why}`);
  const fromMs = deps.clock.monotonicMs();
  let toMs = fromMs;
  await work.run([
    { ...saveGuest(deps, uuid), undo: () => bringBack(deps, instance) },
    keepWithMemory(work),
    restoreGuest(deps, uuid, () => { toMs = deps.clock.monotonicMs(); }),
    letDisksGo(deps, uuid),
  ]);
  return { stopMs: toMs - fromMs };
}

/** `keep` puts aside what goes with the disks. The files first: whatever is in the pool then has its memory. */
function keepStep({ deps, instance, checkpoint, keeping }: NodeWork, guest: CheckpointNode['guest'], keep: (uuid: InstanceUuid) => Promise<CheckpointMemory | null>): Step {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  return {
    name: 'keep-checkpoint',
    look: async () => 'not-done', // idempotent
    act: async () => deps.storage.createCheckpoint(uuid, checkpoint, guest, await keep(uuid), keeping),
    undo: () => dropCheckpoint(deps, uuid, checkpoint),
  };
}

const keepDisks = (work: NodeWork, guest: CheckpointNode['guest']): Step => keepStep(work, guest, async (uuid) => {
  await work.deps.driver.keepVariables(uuid, work.checkpoint);
  return null;
});

const keepWithMemory = (work: NodeWork): Step => keepStep(work, 'running', (uuid) => work.deps.driver.keepSave(uuid, work.checkpoint));
