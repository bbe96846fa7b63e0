/**
 * rctl(8): rules of processes, kept and shown and gone with their process, as on FreeBSD; nothing is slowed down by them here. Only the forms that
 * an agent uses: -a RULE, -r FILTER, [-l] and no argument at all.
 */
import { currentNode, isAlive, loaderTunable, readState, type StandInNode, withLock, writeState } from './lib/lab-node.js';
import { Exit, getopt, out, runTool } from './lib/tool.js';

const usage = 'usage: rctl [ -h ] [-a rule | -l filter | -r filter | -u subject | filter]\n';
const FILE = 'rctl.json';
const resources: Readonly<Record<string, readonly string[]>> = {
  pcpu: ['deny', 'log', 'devctl', 'sig'], readbps: ['throttle', 'log', 'devctl', 'sig'], writebps: ['throttle', 'log', 'devctl', 'sig'],
  readiops: ['throttle', 'log', 'devctl', 'sig'], writeiops: ['throttle', 'log', 'devctl', 'sig'], memoryuse: ['deny', 'log', 'devctl', 'sig'], vmemoryuse: ['deny', 'log', 'devctl', 'sig'],
};

const living = (node: StandInNode): string[] => readState<string[]>(node, FILE, []).filter((rule) => isAlive(Number(rule.split(':')[1])));

function add(node: StandInNode, rule: string): void {
  const failure = (reason: string): Exit => new Exit(1, `rctl: failed to add rule '${rule}': ${reason}\n`);
  const match = /^process:(\d+):([a-z]+):([a-z]+)=(\d+)$/.exec(rule);
  if (match === null || resources[match[2]!]?.includes(match[3]!.replace(/^sig.*/, 'sig')) !== true) throw failure('Invalid argument');
  if (!isAlive(Number(match[1]))) throw failure('No such process');
  withLock(node, 'rctl', () => writeState(node, FILE, [...new Set([...living(node), rule])]));
}

runTool((args) => {
  const node = currentNode();
  if (loaderTunable(node, 'kern.racct.enable') !== '1') throw new Exit(1, 'rctl: RACCT/RCTL present, but disabled; enable using kern.racct.enable=1 tunable\n');
  const { options, operands, bad } = getopt(args, 'a:hl:r:u:');
  if (bad !== undefined) throw new Exit(1, usage);
  const action = options.find(({ flag }) => flag !== 'h');
  const filter = action?.value ?? operands[0] ?? '';
  switch (action?.flag) {
    case 'a':
      add(node, filter);
      return 0;
    case 'r':
      withLock(node, 'rctl', () => writeState(node, FILE, living(node).filter((rule) => !rule.startsWith(filter))));
      return 0;
    case 'u': throw new Exit(1, 'rctl: this stand-in does not count usage\n');
    default:
      out(living(node).filter((rule) => rule.startsWith(filter)).map((rule) => `${rule}\n`).join(''));
      return 0;
  }
});
