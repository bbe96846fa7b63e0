/** kldunload(8): for tests that take vmm away. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { currentNode, withLock } from './lib/lab-node.js';
import { unload } from './lib/kernel-modules.js';
import { Exit, getopt, runTool } from './lib/tool.js';

runTool((args) => {
  const node = currentNode();
  const { operands } = getopt(args, 'fvi:n:');
  const name = operands.at(-1) ?? args.at(-1);
  if (name === undefined) throw new Exit(64, 'usage: kldunload [-fv] -i id ...\n       kldunload [-fv] [-n] name ...\n');
  return withLock(node, 'modules', () => {
    if (name === 'zfs' || (name === 'vmm' && existsSync(join(node.dev, 'vmm')))) throw new Exit(1, "kldunload: can't unload file: Device busy\n");
    if (!unload(node, name)) throw new Exit(1, `kldunload: can't find file ${name}\n`);
    return 0;
  });
});
