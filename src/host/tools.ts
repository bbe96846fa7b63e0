/** Where the tools are. Looked for once, so that a later change of PATH or a new file in it cannot change what we run. */
import { accessSync, constants, statSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import type { ToolName } from './host.js';

/** Every tool that the agent may call. */
export const toolNames: readonly ToolName[] = [
  'bhyve', 'bhyvectl', 'zfs', 'zpool', 'ifconfig', 'sysctl', 'kldstat', 'kldload', 'ps', 'daemon', 'makefs', 'qemu-img', 'uname',
  'freebsd-version', 'sh', 'netstat', 'uptime', 'limits', 'pciconf', 'dd', 'rctl', 'mke2fs', 'newfs_msdos',
];

/** Absolute path of each tool that PATH has; relative entries of PATH are passed over. */
export function findTools(path: string): ReadonlyMap<ToolName, string> {
  const folders = path.split(':').filter((folder) => isAbsolute(folder));
  const found = new Map<ToolName, string>();
  for (const tool of toolNames) {
    const file = folders.map((folder) => join(folder, tool)).find(isExecutable);
    if (file !== undefined) found.set(tool, file);
  }
  return found;
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false; // absent or not ours to run: both mean "not here"
  }
}
