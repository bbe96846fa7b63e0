/**
 * The state of an instance's disks to which a resize can be reverted: a snapshot of each, named by the move. Only one move is kept: a snapshot of
 * an earlier one, whose end was never seen, goes with the next.
 *
 *   keep ──▶ disks change ──revert──▶ as they were ──forget──▶ no mark left
 *                  └───────forget (confirmed)──────▶ no mark left
 *
 * A disk without a mark is buried by the revert only if it says itself that it was made for this move: so a revert that was killed while it
 * removed the marks may begin again.
 */
import type { InstanceUuid } from '../lib/ids.js';
import { buryDisk, disks, type InstanceDisksDeps } from './instance-disks.js';
import { whileBusy } from './while-busy.js';
import { markProperties } from './marks.js';
import type { NodeStorage } from './types.js';
import { waitForNode } from './zvol-nodes.js';

type KeptDisks = Pick<NodeStorage, 'keepDisks' | 'revertDisks' | 'forgetKept'>;

const PREFIX = '@move-';
const markOf = (dataset: string, move: string): string => `${dataset}${PREFIX}${move}`;

export const createKeptDisks = (deps: InstanceDisksDeps): KeptDisks => ({
  keepDisks: (instance, move) => keepDisks(deps, instance, move),
  revertDisks: (instance, move) => revertDisks(deps, instance, move),
  forgetKept: (instance, move) => forgetKept(deps, instance, move),
});

/** Names of all snapshots of the instance's disks. */
async function snapshotsOf({ zfs, layout }: InstanceDisksDeps, instance: InstanceUuid): Promise<ReadonlySet<string>> {
  const datasets = await zfs.get(layout.instance(instance), markProperties, { recursive: true });
  return new Set([...datasets.keys()].filter((name) => name.includes('@')));
}

async function keepDisks(deps: InstanceDisksDeps, instance: InstanceUuid, move: string): Promise<void> {
  const snapshots = await snapshotsOf(deps, instance);
  for (const { dataset } of await disks(deps, instance)) {
    for (const name of snapshots) {
      if (name.startsWith(`${dataset}${PREFIX}`) && name !== markOf(dataset, move)) await deps.zfs.destroySnapshot(name);
    }
    if (!snapshots.has(markOf(dataset, move))) await deps.zfs.snapshot(markOf(dataset, move));
  }
}

async function revertDisks(deps: InstanceDisksDeps, instance: InstanceUuid, move: string): Promise<void> {
  const snapshots = await snapshotsOf(deps, instance);
  for (const { role, dataset, madeFor } of await disks(deps, instance)) {
    if (snapshots.has(markOf(dataset, move))) {
      await whileBusy(deps.clock, () => deps.zfs.rollback(markOf(dataset, move)));
      await waitForNode(deps, dataset);
    } else if (madeFor === move) {
      await buryDisk(deps, { instance, role });
    }
  }
}

async function forgetKept(deps: InstanceDisksDeps, instance: InstanceUuid, move: string): Promise<void> {
  const snapshots = await snapshotsOf(deps, instance);
  for (const { dataset } of await disks(deps, instance)) {
    if (snapshots.has(markOf(dataset, move))) await deps.zfs.destroySnapshot(markOf(dataset, move));
  }
}
