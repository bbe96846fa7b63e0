/** freebsd-version(1): one line for each of -k, -r, -u; -u alone without options. */
import { currentNode } from './lib/lab-node.js';
import { Exit, getopt, getoptMessage, out, runTool } from './lib/tool.js';

runTool((args) => {
  const { facts } = currentNode();
  const { options, bad } = getopt(args, 'kruj:');
  if (bad !== undefined) throw new Exit(1, `${getoptMessage('freebsd-version', bad)}usage: freebsd-version [-kru] [-j jail]\n`);
  const count = new Set(options.map(({ flag }) => flag)).size;
  out(`${facts.release}\n`.repeat(Math.max(1, count)));
  return 0;
});
