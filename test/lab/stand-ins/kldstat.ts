/** kldstat(8). */
import { currentNode } from './lib/lab-node.js';
import { fileLine, isLoaded, loadedFiles, moduleId } from './lib/kernel-modules.js';
import { Exit, getopt, getoptMessage, out, runTool } from './lib/tool.js';

const heading = 'Id Refs Address                Size Name\n';

runTool((args) => {
  const node = currentNode();
  const { options, bad } = getopt(args, 'dhi:m:n:qv');
  if (bad !== undefined) throw new Exit(1, `${getoptMessage('kldstat', bad)}usage: kldstat [-dhqv] [-i id] [-n filename]\n       kldstat [-dq] [-m modname]\n`);
  const value = (flag: string): string | undefined => options.find((option) => option.flag === flag)?.value;
  const isQuiet = options.some((option) => option.flag === 'q');
  const files = loadedFiles(node);
  const missing = (what: string): Exit => new Exit(1, isQuiet ? '' : `kldstat: can't find ${what}: No such file or directory\n`);
  const module = value('m');
  if (module !== undefined) {
    if (!isLoaded(node, module)) throw missing(`module ${module}`);
    if (!isQuiet) out(`Id  Refs Name\n${String(moduleId(module)).padStart(3)}    1 ${module}\n`);
    return 0;
  }
  const [id, name] = [value('i'), value('n')];
  const wanted = files.filter((file) => (id === undefined || file.id === Number(id)) && (name === undefined || file.name === name || file.name === `${name}.ko`));
  if (wanted.length === 0) throw missing(`file ${name ?? id ?? ''}`);
  if (!isQuiet) out(heading + wanted.map(fileLine).join(''));
  return 0;
});
