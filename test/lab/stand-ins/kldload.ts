/** kldload(8). */
import { currentNode, withLock } from './lib/lab-node.js';
import { isKnown, isLoaded, load } from './lib/kernel-modules.js';
import { Exit, err, getopt, getoptMessage, out, runTool } from './lib/tool.js';

const usage = 'usage: kldload [-nqv] file ...\n';

runTool((args) => {
  const node = currentNode();
  const { options, operands, bad } = getopt(args, 'nqv');
  if (bad !== undefined) throw new Exit(1, getoptMessage('kldload', bad) + usage);
  if (operands.length === 0) throw new Exit(1, usage);
  const has = (flag: string): boolean => options.some((option) => option.flag === flag);
  return withLock(node, 'modules', () => {
    let code = 0;
    for (const file of operands) {
      const name = file.replace(/^\/boot\/kernel\//, '').replace(/\.ko$/, '');
      if (isLoaded(node, name)) {
        if (has('n')) {
          if (has('v')) out(`${file} is already loaded\n`);
          continue;
        }
        if (!has('q')) err(`kldload: can't load ${file}: module already loaded or in kernel\n`);
        code = 1;
      } else if (!isKnown(name)) {
        if (!has('q')) err(file.startsWith('/') ? `kldload: an error occurred while loading module ${file}. Please check dmesg(8) for more details.\n` : `kldload: can't load ${file}: No such file or directory\n`);
        code = 1;
      } else {
        load(node, name);
        if (has('v')) out(`Loaded ${file}, id=9\n`);
      }
    }
    return code;
  });
});
