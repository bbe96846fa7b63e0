/** uname(1). */
import { currentNode } from './lib/lab-node.js';
import { getopt, getoptMessage, Exit, out, runTool } from './lib/tool.js';

runTool((args) => {
  const { facts, name } = currentNode();
  const { options, bad } = getopt(args, 'abiKmnoprsUv');
  if (bad !== undefined) throw new Exit(1, `${getoptMessage('uname', bad)}usage: uname [-abiKmnoprsUv]\n`);
  const flags = new Set(options.flatMap(({ flag }) => (flag === 'a' ? ['s', 'n', 'r', 'v', 'm'] : [flag === 'o' ? 's' : flag])));
  if (flags.size === 0) flags.add('s');
  const build = `FreeBSD ${facts.release} #0: ${facts.buildDate}     root@builder:/usr/obj/usr/src/amd64.amd64/sys/GENERIC`;
  const values: readonly (readonly [string, string])[] = [
    ['s', 'FreeBSD'], ['n', `${name}.lab.example.org`], ['r', facts.release], ['v', build], ['m', 'amd64'], ['p', 'amd64'], ['i', 'GENERIC'],
    ['K', String(facts.osReleaseDate)], ['U', String(facts.osReleaseDate)], ['b', '1531ad0f49e3b0ef28ffac1bc16853c688c0fbf7'],
  ];
  out(`${values.filter(([flag]) => flags.has(flag)).map(([, value]) => value).join(' ')}\n`);
  return 0;
});
