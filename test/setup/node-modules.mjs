/** node_modules as package-lock.json says, from `npm ci`, only when it is not so already. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { run, withRetries } from './commands.mjs';
import { root } from './paths.mjs';

/** True if npm's own record of what it installed agrees with the lock file. Optional packages (other platforms') may be absent. */
export function modulesFresh() {
  const record = join(root, 'node_modules/.package-lock.json');
  if (!existsSync(record)) return false;
  const installed = JSON.parse(readFileSync(record, 'utf8')).packages;
  const locked = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
  return Object.entries(locked).every(([path, entry]) =>
    path === '' || (installed[path] === undefined ? entry.optional === true : installed[path].integrity === entry.integrity && installed[path].version === entry.version));
}

export async function installModules(note = () => {}) {
  if (modulesFresh()) return;
  await withRetries(4, note, () => run(['npm', 'ci', '--no-audit', '--no-fund'], { note, cwd: root }));
}
