/** Puts the storage of qcow2 disks together. */
import { join } from 'node:path';
import { AgentError } from '../../lib/errors.js';
import type { DiskStorage } from '../by-form.js';
import type { InstanceUuid } from '../../lib/ids.js';
import { createChainCheckpoints } from './chain-checkpoints.js';
import { createChainCopies } from './chain-copies.js';
import { createChainDisks, type ChainDisksDeps } from './chain-disks.js';
import { tidyDisks } from './chain-nodes.js';
import { createChains, type ChainsDeps } from './chain-places.js';
import { createChainStates } from './chain-states.js';
import { chainsOf } from './each-chain.js';
import { createImageFiles, isLeftImage } from './image-files.js';
import type { ImageStore } from '../image-store.js';

export interface ChainStorage {
  readonly disks: DiskStorage;
  readonly store: ImageStore;
  /** Makes the folders, and removes what imports have left. AgentError `command-missing` without qemu-img. */
  prepare(): Promise<void>;
  /** Whether the instance has its disks here. */
  has(instance: InstanceUuid): Promise<boolean>;
  /** As NodeStorage.flattenDisks. */
  flatten(instance: InstanceUuid): Promise<void>;
  /** What all files take, and what their file system has left; without the folder, nothing and null. */
  usage(): Promise<{ usedBytes: bigint; availableBytes: bigint | null }>;
}

export function createChainStorage(options: ChainsDeps): ChainStorage {
  const { host } = options;
  const { files } = host;
  const chains = createChains(options);
  const { places } = chains;
  const store = createImageFiles(options, chains);
  const deps: ChainDisksDeps = { ...options, chains, store };
  const sizeOf = async (folder: string, depth: number): Promise<bigint> => {
    let sum = 0n;
    for (const name of await files.list(folder)) sum += depth === 0 ? ((await files.sizeBytes(join(folder, name))) ?? 0n) : await sizeOf(join(folder, name), depth - 1);
    return sum;
  };
  return {
    store,
    disks: { ...createChainDisks(deps), ...createChainStates(deps), ...createChainCheckpoints(deps), ...createChainCopies(deps) },
    async prepare() {
      if (host.toolPath('qemu-img') === undefined) throw new AgentError('command-missing', 'disks of qcow2 files need qemu-img; install the package qemu-tools', { details: { tool: 'qemu-img' } });
      for (const folder of [places.root, places.images, places.instances, places.graveyard]) await files.makeDirectory(folder);
      for (const name of await files.list(places.images)) if (isLeftImage(name)) await files.remove(join(places.images, name), places.images);
    },
    has: (instance) => files.exists(places.instance(instance)),
    async flatten(instance) {
      for (const { chain } of await chainsOf(chains, instance)) await chain.flatten();
      await tidyDisks(deps, instance);
    },
    usage: async () => ({
      usedBytes: (await sizeOf(places.images, 0)) + (await sizeOf(places.instances, 2)),
      availableBytes: (await files.exists(places.root)) ? await files.freeBytes(places.root) : null,
    }),
  };
}
