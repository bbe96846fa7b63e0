/** What must be there before anything of this project can run: a Node that is new enough, root, packages, node_modules, a build. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './commands.mjs';
import { installModules, modulesFresh } from './node-modules.mjs';
import { installPackages, packagesPresent } from './packages.mjs';
import { root } from './paths.mjs';

/** A sentence for the person who started it, or null if this machine will do. */
export function whyNot(what) {
  const needed = Number(/\d+/.exec(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).engines.node)[0]);
  if (Number(process.versions.node.split('.')[0]) < needed) return `${what} needs Node ${needed} or newer; this is ${process.version}.`;
  if (process.platform !== 'linux') return `${what} runs on Linux (Debian): its FreeBSD node is made of stand-ins. On FreeBSD itself see README.md, Install.`;
  if (process.getuid() !== 0) {
    return `${what} needs root: it installs Debian packages, starts an OpenStack control plane on 127.0.0.1 and makes network devices in a namespace.\n`
      + `Please run it as root, best in a virtual machine that you can throw away:  sudo env "PATH=$PATH" ${what}`;
  }
  return null;
}

/** @param progress from createProgress */
export async function prepare(progress) {
  if (!packagesPresent()) await progress.phase('Debian packages', installPackages);
  if (!modulesFresh()) await progress.phase('npm ci', installModules);
  await progress.phase('build', (note) => run(['npm', 'run', '--silent', 'build'], { note, cwd: root }));
}
