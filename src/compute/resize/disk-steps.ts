/**
 * What a resize does to the disks. The guest is down from the first of these steps until the last.
 *
 *   keep     a snapshot of every disk, named by the migration: what a revert goes back to
 *   fit      grow, add or remake disks for the flavor; what is new is marked with the migration
 *   confirm  the snapshots go
 *   revert   new disks go, the others go back to their snapshots (with their sizes); then the snapshots go
 */
import { novaFaults, refuse } from '../../lib/nova-faults.js';
import type { InstanceUuid } from '../../lib/ids.js';
import type { Step } from '../../journal/index.js';
import type { NovaObjectOf } from '../../objects/index.js';
import type { ComputeDeps } from '../deps.js';
import { reapQuietly } from '../machine-steps.js';

type Deps = Pick<ComputeDeps, 'storage' | 'log'>;
const GiB = 1024n ** 3n;
const MiB = 1024n ** 2n;

/** Disks only grow: what lies at the end of a larger one would be cut off. Swap holds nothing and may be of any size. */
export function refuseShrinking(current: NovaObjectOf<'Flavor'>, wanted: NovaObjectOf<'Flavor'>): void {
  if (wanted.get('root_gb') < current.get('root_gb') || wanted.get('ephemeral_gb') < current.get('ephemeral_gb')) {
    throw refuse(novaFaults.resizeError('Unable to resize disk down.'));
  }
}

/** Marks the state to which a revert goes back. */
export function keepDisks({ storage }: Deps, instance: InstanceUuid, move: string): Step {
  return {
    name: 'keep-disks',
    look: async () => 'not-done', // idempotent
    act: () => storage.keepDisks(instance, move),
    undo: () => storage.forgetKept(instance, move),
  };
}

/** Makes the disks what the flavor says. */
export function fitDisks({ storage }: Deps, instance: InstanceUuid, flavor: NovaObjectOf<'Flavor'>, move: string): Step {
  const fit = async (): Promise<void> => {
    const [rootGiB, ephemeralGiB, swapMiB] = [flavor.get('root_gb'), flavor.get('ephemeral_gb'), flavor.get('swap')].map(BigInt) as [bigint, bigint, bigint];
    const present = new Map((await storage.disks(instance)).map((disk) => [disk.role, disk]));
    if (rootGiB > 0n) await storage.growDisk(instance, 'root', rootGiB * GiB);
    if (ephemeralGiB > 0n) {
      if (present.has('eph0')) await storage.growDisk(instance, 'eph0', ephemeralGiB * GiB);
      else await storage.replaceWithBlank(instance, 'eph0', ephemeralGiB * GiB, move);
    }
    if (swapMiB === 0n) await storage.buryDisk(instance, 'swap');
    else if (present.get('swap')?.bytes !== swapMiB * MiB || present.get('swap')?.madeFor === move) {
      await storage.replaceWithBlank(instance, 'swap', swapMiB * MiB, move);
      await storage.fillDisk(instance, 'swap', 'swap'); // also after a kill between the two
    }
  };
  return { name: 'fit-disks', look: async () => 'not-done', act: fit, undo: async () => undefined };
}

/** The disks as they were when they were marked. Nothing to go back to: nothing is done. */
export function revertDisks({ storage }: Deps, instance: InstanceUuid, move: string): Step {
  return { name: 'revert-disks', look: async () => 'not-done', act: () => storage.revertDisks(instance, move), undo: async () => undefined };
}

/** There is nothing to go back to any more. No undo: this is the end of the move. */
export function forgetKept(deps: Deps, instance: InstanceUuid, move: string): Step {
  return {
    name: 'forget-kept',
    look: async () => 'not-done',
    act: async () => {
      await deps.storage.forgetKept(instance, move);
      await reapQuietly(deps as ComputeDeps);
    },
  };
}
