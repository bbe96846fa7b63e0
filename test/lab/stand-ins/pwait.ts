/** pwait(1): waits until processes are gone. An exit status is not known here: `-v` says that the process ended. */
import { isAlive, sleepMs } from './lib/lab-node.js';
import { Exit, getopt, getoptMessage, out, runTool } from './lib/tool.js';

const usage = 'usage: pwait [-t timeout] [-ov] pid ...\n';

runTool((args) => {
  const { options, operands, bad } = getopt(args, 'ort:v');
  if (bad !== undefined) throw new Exit(64, getoptMessage('pwait', bad) + usage);
  if (operands.length === 0) throw new Exit(64, usage);
  const value = options.find(({ flag }) => flag === 't')?.value;
  const has = (flag: string): boolean => options.some((option) => option.flag === flag);
  const seconds = value === undefined ? Infinity : Number(/^[\d.]+/.exec(value)?.[0] ?? 0) * (value.endsWith('m') ? 60 : value.endsWith('h') ? 3600 : 1);
  const until = Date.now() + seconds * 1000;
  let left = operands.map(Number).filter((pid) => isAlive(pid));
  while (left.length > 0) {
    if (Date.now() > until) return 124;
    sleepMs(20);
    const gone = left.filter((pid) => !isAlive(pid));
    if (has('v')) out(gone.map((pid) => `${pid}: terminated.\n`).join(''));
    left = left.filter((pid) => !gone.includes(pid));
    if (has('o') && gone.length > 0) return 0;
  }
  return 0;
});
