/** Gives the volumes that a guest is about to use their sizes back, should a tool have cut the file that stands for the device. */
import { join, relative } from 'node:path';
import type { BhyveConfig, ConfigTree } from './bhyve-config.js';
import type { StandInNode } from './lab-node.js';
import { createDatasets } from './zfs-datasets.js';
import { openZfsFuse } from './zfs-fuse.js';
import { keyOf, resizeVolume } from './zvol.js';

function leaves(tree: ConfigTree): string[] {
  return [...tree.values()].flatMap((value) => (typeof value === 'string' ? [value] : leaves(value)));
}

export async function repairVolumes(node: StandInNode, config: BhyveConfig): Promise<void> {
  const top = join(node.dev, 'zvol');
  const names = leaves(config.node('pci') ?? new Map<string, ConfigTree>()).filter((path) => path.startsWith(`${top}/`)).map((path) => relative(top, path));
  if (names.length === 0) return;
  const engine = await openZfsFuse();
  try {
    for (const name of names) {
      const dataset = await createDatasets(engine, node).find(name);
      if (dataset?.kind === 'volume') resizeVolume(node, keyOf(dataset), BigInt(String(dataset.raw('lab:volsize')?.value)));
    }
  } finally {
    engine.close();
  }
}
