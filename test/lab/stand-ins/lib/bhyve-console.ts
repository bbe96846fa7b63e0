/** Serial ports: which back ends bhyve takes. */
import { statSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import type { ConsolePlan } from './bhyve-plan.js';
import { deviceFailure } from './bhyve-plan.js';
import type { StandInNode } from './lab-node.js';
import { Exit, strerror } from './tool.js';

/** Reads `path` of com1…com4: `stdio`, `DEV/nmdmNA|B`, and from 15 on `tcp=IP:PORT`. Everything else must be a terminal. */
export function planConsole(node: StandInNode, device: string, path: string): ConsolePlan {
  const failure = (reason?: string): Error => deviceFailure(`Unable to initialize backend '${path}' for LPC device ${device}\n`, reason);
  if (path === 'stdio') return { kind: 'stdio' };
  if (path.startsWith('tcp=') && node.facts.hasTcpConsole) {
    const match = /^tcp=(.+):(\d+)$/.exec(path);
    if (match === null) throw failure();
    return { kind: 'tcp', host: match[1]!.replace(/^\[|\]$/g, ''), port: Number(match[2]) };
  }
  const unit = /^nmdm(\d+)([AB])$/.exec(basename(path));
  if (unit !== null && dirname(path) === node.dev) return { kind: 'nmdm', peer: `${node.dev}/nmdm${unit[1]}${unit[2] === 'A' ? 'B' : 'A'}` };
  let isTerminal: boolean;
  try {
    isTerminal = statSync(path).isCharacterDevice();
  } catch (error) {
    throw failure(strerror(error));
  }
  throw isTerminal ? new Exit(4, `stand-in: a terminal of its own (${path}) is not modelled; use a null modem\n`) : failure('Inappropriate ioctl for device');
}
