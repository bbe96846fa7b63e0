/** The guests of a node as its operator sees them in ps. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { LabNode } from '../../lab/node.js';

/** Guest name → pid of its bhyve, from the node's own ps. */
export async function guestPids(node: LabNode): Promise<Map<string, number>> {
  const { stdout } = await promisify(execFile)(join(node.path, 'bin/ps'), ['-axww', '-o', 'pid,command'], { env: node.env, encoding: 'utf8' });
  return new Map([...stdout.matchAll(/^\s*(\d+)\s+bhyve: (\S+)/gm)].map((match) => [match[2]!, Number(match[1])]));
}
