/** zfs(8) on zfs-fuse. `zfs -labmount` is the lab's own: mounts all volumes and makes their nodes after a start of the engine. */
import { currentNode, withLockAsync } from './lib/lab-node.js';
import { Exit, out, runTool } from './lib/tool.js';
import type { ZfsContext } from './lib/zfs-context.js';
import { zfsHold, zfsHolds, zfsPromote, zfsRename, zfsRollback } from './lib/zfs-change.js';
import { createDatasets } from './lib/zfs-datasets.js';
import { zfsDestroy } from './lib/zfs-destroy.js';
import { openZfsFuse } from './lib/zfs-fuse.js';
import { zfsClone, zfsCreate, zfsSnapshot } from './lib/zfs-make.js';
import { zfsInherit, zfsSet } from './lib/zfs-set.js';
import { zfsGet, zfsList } from './lib/zfs-show.js';
import { zfsUsage } from './lib/zfs-usage.js';
import { attachVolume, keyOf, linkVolume } from './lib/zvol.js';

type Command = (context: ZfsContext, args: readonly string[]) => Promise<number>;

const readers: Readonly<Record<string, Command>> = { list: zfsList, get: zfsGet, holds: zfsHolds };
const writers: Readonly<Record<string, Command>> = {
  create: zfsCreate, destroy: zfsDestroy, snapshot: zfsSnapshot, snap: zfsSnapshot, clone: zfsClone, promote: zfsPromote, rename: zfsRename, rollback: zfsRollback,
  set: zfsSet, inherit: zfsInherit, hold: async (context, args) => zfsHold(context, args, 'hold'), release: async (context, args) => zfsHold(context, args, 'release'),
  '-labmount': mountAll,
};

async function mountAll(context: ZfsContext): Promise<number> {
  for (const dataset of await context.datasets.tree(context.node.pool)) {
    if (dataset.kind !== 'volume') continue;
    await attachVolume(context.datasets.engine, context.node, dataset.name, keyOf(dataset));
    linkVolume(context.node, dataset);
  }
  return 0;
}

runTool(async ([name, ...args]) => {
  const node = currentNode();
  if (name === undefined) throw new Exit(2, `missing command\n${zfsUsage}`);
  if (name === 'version' || name === '-V' || name === '--version') {
    out(`zfs-${node.facts.zfsVersion}\nzfs-kmod-${node.facts.zfsVersion}\n`);
    return 0;
  }
  if (['wait', 'mount', 'unmount', 'umount'].includes(name)) return 0; // file systems of the lab are never mounted
  const command = readers[name] ?? writers[name];
  if (command === undefined) throw new Exit(2, `unrecognized command '${name}'\n${zfsUsage}`);
  const engine = await openZfsFuse();
  const context: ZfsContext = { node, datasets: createDatasets(engine, node) };
  try {
    return name in writers ? await withLockAsync(node, 'zfs', async () => command(context, args)) : await command(context, args);
  } finally {
    engine.close();
  }
});
