/** The steps that take a server to a node of its checkpoint tree, for a rebuild and for the operator. The guest is down. */
import { parseInstanceUuid, type ImageId, type InstanceUuid, type OperationId } from '../../lib/ids.js';
import type { Step } from '../../journal/index.js';
import type { NovaObjectOf } from '../../objects/index.js';
import type { CheckpointMemory, CheckpointNode, DiskRole } from '../../storage/index.js';
import type { ComputeDeps } from '../deps.js';
import { rootBytesOf } from '../fetch-image.js';
import { letDisksGo, plugVifs, restoreGuest, restoreStep } from '../machine-steps.js';
import type { Operation } from '../operation.js';
import { endRescue } from '../rescue/rescue-steps.js';

/** The operation that goes there; its id marks the disks that it puts in their place. */
type Going = Pick<Operation<{ readonly instance: NovaObjectOf<'Instance'> }>, 'id' | 'args' | 'deps'>;

/** Where a server goes: to the disks of a node, and to its memory if the guest is to go on from there. */
export interface Return {
  readonly node: CheckpointNode;
  readonly memory: CheckpointMemory | null;
  /** The images, in the cache, that its disks are made of where this host does not have the node. The root disk is among them. */
  readonly images?: ReadonlyMap<DiskRole, ImageId> | null;
}

/**
 * No node is lost by it; until the root disk has been changed the undo leaves the present disks. Disks that the node does not have stay as they are, and without memory
 * a root disk that has grown since grows again. The firmware's variables are the node's.
 *
 * With memory its save becomes the guest's own last, tied to the disks as they are then. Once it lies there the step is never done again: a guest may have gone on from
 * it and written to them.
 */
export function restoreSteps(operation: Going, { node, memory, images }: Return): readonly Step[] {
  const { id, args: { instance }, deps } = operation;
  const { storage, driver } = deps;
  const uuid = parseInstanceUuid(instance.get('uuid'));
  return [
    endRescue(deps, uuid),
    {
      name: 'restore-disks',
      look: async () => (memory !== null && (await isLaidOut(deps, uuid, id)) ? 'done' : 'not-done'), // idempotent
      act: async () => {
        // What a suspended guest remembers does not go with other disks.
        await storage.letGo(uuid);
        await driver.dropSave(uuid);
        if (images === undefined || images === null) await storage.restoreCheckpoint(uuid, node.id, id);
        for (const [role, image] of images ?? []) await storage.replaceFromImage(uuid, role, image, null, id);
        await driver.putBackVariables(uuid, node.id);
        if (memory !== null) await driver.putBackSave(uuid, node.id, await storage.holdStill(uuid));
        else await storage.growDisk(uuid, 'root', rootBytesOf(instance.get('flavor')) ?? 0n);
      },
      undo: async () => {
        for (const role of node.roles) await storage.dropReplacement(uuid, role);
      },
    },
  ];
}

/** What brings the guest up from the memory: it goes on, where a rebuild would start it. */
export function goOnSteps({ args: { instance }, deps }: Going): readonly Step[] {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  return [plugVifs(deps, uuid, () => deps.ports.cached(instance), () => undefined), restoreGuest(deps, uuid), letDisksGo(deps, uuid)];
}

/** What takes away the rest of a save that the guest has gone on from. */
export async function forgetSteps({ args: { instance }, deps }: Going): Promise<readonly Step[]> {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  return [...((await deps.driver.hasSave(uuid)) ? [restoreGuest(deps, uuid)] : []), letDisksGo(deps, uuid)];
}

/** The root disk was put in its place by this rebuild. */
const hasDisksOf = async ({ storage }: ComputeDeps, uuid: InstanceUuid, id: OperationId): Promise<boolean> =>
  (await storage.disks(uuid)).some(({ role, madeFor }) => role === 'root' && madeFor === id);

/** The disks are the node's, and its save is the guest's. The save comes after all of them. */
const isLaidOut = async (deps: ComputeDeps, uuid: InstanceUuid, id: OperationId): Promise<boolean> => (await deps.driver.hasSave(uuid)) && hasDisksOf(deps, uuid, id);

/**
 * Killed after the guest came up: one that runs on the new disk is the one that was wanted. One that went on from memory, gave its save up and ended since is as well: its disks
 * have been written to, and the memory goes with them no more.
 */
export async function isRemade({ id, args: { instance }, deps }: Going, memory: CheckpointMemory | null): Promise<boolean> {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  if (!(await hasDisksOf(deps, uuid, id))) return false;
  if ((await deps.driver.state(uuid)).kind === 'running') return true;
  const hasGoneOn = memory !== null && deps.journal.operation(id)?.steps.has(restoreStep) === true;
  return hasGoneOn && !(await deps.driver.hasSave(uuid));
}
