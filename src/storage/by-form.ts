/** Sends what concerns the disks of an instance to where they are: zvols, or chains of qcow2 files. An instance has all its disks in one form, recorded by where they are. */
import type { InstanceUuid } from '../lib/ids.js';
import type { DiskForm, NodeStorage } from './types.js';

/** What both forms of disks do; a copy of a node's disk can be had of zvols alone, and only files are in chains. */
export type DiskStorage = Omit<NodeStorage, 'takeCheckpointCopy' | 'flattenDisks' | 'prepare' | 'usage' | 'ensureImage' | 'images' | 'dropImage' | 'formOf'>;

export function disksByForm(disks: Readonly<Record<DiskForm, DiskStorage>>, formOf: NodeStorage['formOf']): DiskStorage {
  const by = <Args extends unknown[], T>(method: (of: DiskStorage) => (instance: InstanceUuid, ...args: Args) => Promise<T>) =>
    async (instance: InstanceUuid, ...args: Args): Promise<T> => method(disks[await formOf(instance)])(instance, ...args);
  const { raw, qcow2 } = disks;
  return {
    createDiskFromImage: by((of) => of.createDiskFromImage), createBlankDisk: by((of) => of.createBlankDisk), fillDisk: by((of) => of.fillDisk), growDisk: by((of) => of.growDisk),
    replaceFromImage: by((of) => of.replaceFromImage), replaceWithBlank: by((of) => of.replaceWithBlank), dropReplacement: by((of) => of.dropReplacement),
    keepDisks: by((of) => of.keepDisks), revertDisks: by((of) => of.revertDisks), forgetKept: by((of) => of.forgetKept),
    holdStill: by((of) => of.holdStill), stillness: by((of) => of.stillness), letGo: by((of) => of.letGo),
    disks: by((of) => of.disks), buryDisk: by((of) => of.buryDisk), buryDisks: by((of) => of.buryDisks),
    takeSnapshot: by((of) => of.takeSnapshot), openSnapshot: by((of) => of.openSnapshot), dropSnapshot: by((of) => of.dropSnapshot),
    createCheckpoint: by((of) => of.createCheckpoint), checkpoints: by((of) => of.checkpoints), restoreCheckpoint: by((of) => of.restoreCheckpoint),
    deleteCheckpoint: by((of) => of.deleteCheckpoint), tidyCheckpoints: by((of) => of.tidyCheckpoints),
    formats: raw.formats,
    async reap() {
      const [one, other] = [await raw.reap(), await qcow2.reap()];
      return { destroyed: one.destroyed + other.destroyed, left: one.left + other.left };
    },
    instancesWithDisks: async () => [...new Set([...(await raw.instancesWithDisks()), ...(await qcow2.instancesWithDisks())])],
    instancesWithCheckpoints: async () => [...new Set([...(await raw.instancesWithCheckpoints()), ...(await qcow2.instancesWithCheckpoints())])],
    dropLeftSnapshots: async (isOpen) => (await raw.dropLeftSnapshots(isOpen)) + (await qcow2.dropLeftSnapshots(isOpen)),
  };
}
