/**
 * The lab node that a stand-in runs for. A stand-in is started through NODE/bin/TOOL, a line of sh that sets LAB_NODE to the
 * node's folder; everything that FreeBSD keeps in its kernel (loaded modules, interface descriptions, vmm objects) is kept in
 * NODE/run as small JSON files, changed under a lock because the agent runs commands side by side.
 *
 * NODE/bin      the wrappers           NODE/dev   the device root
 * NODE/profile  name of the profile    NODE/run   state of the "kernel"; gone and made anew at a simulated host reboot
 * NODE/processor  amd or intel         NODE/etc   what an operator would have in /etc and /boot, and what a test wants to go wrong
 */
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { type Profile, type ProfileFacts, factsOf, isProfile } from './profiles.js';

export interface StandInNode {
  readonly name: string;
  readonly path: string;
  readonly dev: string;
  readonly run: string;
  /** Network namespace that holds the node's interfaces. */
  readonly netns: string;
  readonly pool: string;
  readonly profile: Profile;
  readonly facts: ProfileFacts;
  readonly processor: Processor;
}

/** Whose processor the host claims to have. */
export type Processor = 'amd' | 'intel';

/** The node of this process, from LAB_NODE; ends the process with 70 if there is none: then nobody started it through bin/. */
export function currentNode(): StandInNode {
  const path = process.env['LAB_NODE'];
  if (path === undefined || !existsSync(join(path, 'profile'))) {
    process.stderr.write('stand-in: LAB_NODE does not name the folder of a lab node; use NODE/bin/TOOL\n');
    process.exit(70);
  }
  return openNode(path);
}

export function openNode(path: string): StandInNode {
  const name = basename(path);
  const profile = readFileSync(join(path, 'profile'), 'utf8').trim();
  if (!isProfile(profile)) throw new Error(`${path}/profile names no known profile: ${profile}`);
  return { name, path, dev: join(path, 'dev'), run: join(path, 'run'), netns: `nb-${name}`, pool: `lab-${name}`, profile, facts: factsOf(profile), processor: processorOf(path) };
}

/** NODE/processor; a node of before that file is AMD's. */
function processorOf(path: string): Processor {
  const file = join(path, 'processor');
  return existsSync(file) && readFileSync(file, 'utf8').trim() === 'intel' ? 'intel' : 'amd';
}

/** What the node's loader.conf sets; a real one is read at boot only. */
export const loaderTunable = (node: StandInNode, name: string): string | undefined => nodeSetting(node, 'loader.conf', name);

/** A line name="value" of NODE/etc/FILE. */
export function nodeSetting(node: StandInNode, fileName: string, name: string): string | undefined {
  const file = join(node.path, 'etc', fileName);
  const line = existsSync(file) ? readFileSync(file, 'utf8').split('\n').find((text) => text.startsWith(`${name}=`)) : undefined;
  return line?.slice(name.length + 1).replaceAll('"', '').trim();
}

/** One JSON file of NODE/run; `initial` if it is not there yet. */
export function readState<T>(node: StandInNode, file: string, initial: T): T {
  try {
    return JSON.parse(readFileSync(join(node.run, file), 'utf8')) as T;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return initial;
    throw error;
  }
}

/** Replaces one JSON file of NODE/run by rename. */
export function writeState(node: StandInNode, file: string, value: unknown): void {
  const path = join(node.run, file);
  mkdirSync(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}`;
  writeFileSync(temporary, JSON.stringify(value));
  renameSync(temporary, path);
}

const LOCK_LIMIT_MS = 30_000;
const sleeper = new Int32Array(new SharedArrayBuffer(4));

/** Blocks the whole process: stand-ins are short programs, and this is what their originals do in the kernel. */
export function sleepMs(milliseconds: number): void {
  Atomics.wait(sleeper, 0, 0, milliseconds);
}

/** Runs `work` alone among all stand-ins of the node that take the same lock. A lock of a dead process is taken over. */
export function withLock<T>(node: StandInNode, name: string, work: () => T): T {
  const release = takeLock(node, name);
  try {
    return work();
  } finally {
    release();
  }
}

export async function withLockAsync<T>(node: StandInNode, name: string, work: () => Promise<T>): Promise<T> {
  const release = takeLock(node, name);
  try {
    return await work();
  } finally {
    release();
  }
}

function takeLock(node: StandInNode, name: string): () => void {
  const path = join(node.run, `${name}.lock`);
  const until = Date.now() + LOCK_LIMIT_MS;
  for (;;) {
    try {
      const file = openSync(path, 'wx');
      writeSync(file, String(process.pid));
      closeSync(file);
      return () => {
        rmSync(path, { force: true });
      };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    dropDeadLock(path);
    if (Date.now() > until) throw new Error(`lock ${path} is held for more than ${LOCK_LIMIT_MS} ms`);
    sleepMs(5);
  }
}

/** Two waiters may both see a dead owner; the rename lets only one of them remove the file. */
function dropDeadLock(path: string): void {
  let owner: number;
  try {
    owner = Number(readFileSync(path, 'utf8'));
    // An empty file is a lock whose owner has not written its pid yet, or died before it could.
    if (owner === 0 && Date.now() - statSync(path).mtimeMs < 1000) return;
  } catch {
    return; // released in between
  }
  if (owner !== 0 && isAlive(owner)) return;
  const grave = `${path}.dead.${process.pid}`;
  try {
    renameSync(path, grave);
    rmSync(grave, { force: true });
  } catch {
    // another waiter was quicker
  }
}

/** Whether a process with this pid exists and is not a zombie. */
export function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return !/^[ZX]$/.test(stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3));
  } catch {
    return false;
  }
}

/** Seconds since the epoch at which the simulated host booted: creation of NODE/run/boot. */
export function bootSeconds(node: StandInNode): number {
  return readState(node, 'boot.json', { seconds: Math.floor(Date.now() / 1000) }).seconds;
}
