/** The steps of a rebuild that goes to a node of the server's checkpoint tree. The guest is down. */
import { parseInstanceUuid } from '../../lib/ids.js';
import type { Step } from '../../journal/index.js';
import type { CheckpointNode } from '../../storage/index.js';
import { rootBytesOf } from '../fetch-image.js';
import type { Operation } from '../operation.js';
import { endRescue } from '../rescue/rescue-steps.js';
import type { RebuildArguments } from './arguments.js';

/**
 * No node is lost by it; until the root disk has been changed the undo leaves the present disks. Disks that the node does not have stay as they are, a root disk that
 * has grown since grows again, and the firmware's variables stay: a node has none of its own.
 */
export function restoreSteps({ id, args: { instance }, deps }: Operation<RebuildArguments>, node: CheckpointNode): readonly Step[] {
  const { storage, driver } = deps;
  const uuid = parseInstanceUuid(instance.get('uuid'));
  return [
    endRescue(deps, uuid),
    {
      name: 'restore-disks',
      look: async () => 'not-done', // idempotent
      act: async () => {
        // What a suspended guest remembers does not go with other disks.
        await storage.letGo(uuid);
        await driver.dropSave(uuid);
        await storage.restoreCheckpoint(uuid, node.id, id);
        await storage.growDisk(uuid, 'root', rootBytesOf(instance.get('flavor')) ?? 0n);
      },
      undo: async () => {
        for (const role of node.roles) await storage.dropReplacement(uuid, role);
      },
    },
  ];
}
