/**
 * The parts of the lab that all nodes share: the compiled stand-ins and the zfs-fuse daemon. zfs-fuse has fixed paths
 * (/var/run/zfs), so there is one daemon a machine; each node has a pool of its own in it.
 */
import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdirSync, openSync, readFileSync, readdirSync, rmSync, statSync, closeSync, utimesSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { isAlive } from './stand-ins/lib/lab-node.js';
import { openZfsFuse } from './stand-ins/lib/zfs-fuse.js';

const run = promisify(execFile);

/** Top of the checkout, also when this file runs compiled. */
export const repository = dirname(dirname(dirname(fileURLToPath(import.meta.url)))).replace(/\/dist$/, '');
export const compiled = join(repository, 'dist/test/lab/stand-ins');
export const runRoot = '/run/nova-bhyve-lab';
const pidFile = join(runRoot, 'zfs-fuse.pid');
const lockFile = join(runRoot, 'lab.lock');

/** Compiles the stand-ins if a source is newer; they are programs of their own and cannot run from TypeScript. */
export async function ensureStandIns(): Promise<void> {
  const sources = join(repository, 'test/lab/stand-ins');
  const newest = Math.max(...filesBelow(sources).map((file) => statSync(file).mtimeMs));
  const stamp = join(repository, 'dist/.lab-tsbuildinfo');
  const isFresh = existsSync(join(compiled, 'bhyve.js')) && existsSync(stamp) && statSync(stamp).mtimeMs >= newest;
  if (isFresh) return;
  await withMachineLock(async () => {
    await run(process.execPath, [join(repository, 'node_modules/typescript/bin/tsc'), '-p', join(repository, 'test/lab/tsconfig.json')]);
    // The compiler leaves its notes alone when a file is newer but the same.
    utimesSync(stamp, new Date(), new Date());
  });
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.name.endsWith('.ts')).map((entry) => join(entry.parentPath, entry.name));
}

async function answers(): Promise<boolean> {
  try {
    (await openZfsFuse()).close();
    return true;
  } catch {
    return false;
  }
}

/** Starts zfs-fuse unless it answers. True if it was started: then no pool is imported yet. */
export async function ensureZfsFuse(): Promise<boolean> {
  mkdirSync(runRoot, { recursive: true });
  return withMachineLock(async () => {
    if (await answers()) return false;
    // zfs-fuse ends at once when there is a pid file, also one that a killed daemon left.
    const pid = pidOfZfsFuse();
    if (pid !== 0 && isAlive(pid)) process.kill(pid, 'SIGKILL'); // alive, but deaf
    await until(() => pid === 0 || !isAlive(pid), 60_000, 'a zfs-fuse that does not answer does not end either');
    rmSync(pidFile, { force: true });
    // Attributes are cached for a moment only: sizes change behind the kernel's back at a rollback.
    const args = ['-p', pidFile, '--no-kstat-mount', '-a', '0.1', '-e', '1', '-m', '128'];
    const { LAB_NODE: _node, ...environment } = process.env;
    await new Promise<void>((resolve, reject) => {
      const child = spawn('zfs-fuse', args, { stdio: 'ignore', env: environment, cwd: '/' });
      child.once('error', reject);
      child.once('exit', (code) => (code === 0 ? resolve() : reject(new Error(`zfs-fuse ended with ${code} as it started`))));
    });
    await until(answers, 60_000, 'zfs-fuse does not answer');
    return true;
  });
}

/** 0 if the file names no zfs-fuse: pids are used again. */
function pidOfZfsFuse(): number {
  const pid = existsSync(pidFile) ? Number(readFileSync(pidFile, 'utf8')) : 0;
  const title = `/proc/${pid}/comm`;
  return pid !== 0 && existsSync(title) && readFileSync(title, 'utf8').trim() === 'zfs-fuse' ? pid : 0;
}

/** Ends zfs-fuse if we started it and nobody has a pool in it. */
export async function stopZfsFuseIfIdle(): Promise<void> {
  await withMachineLock(async () => {
    const pid = pidOfZfsFuse();
    if (pid === 0 || !isAlive(pid)) return;
    const { stdout } = await run('/usr/sbin/zpool', ['list', '-H', '-o', 'name']);
    if (stdout.trim() !== '') return;
    process.kill(pid, 'SIGTERM');
    await until(async () => !isAlive(pid), 60_000, 'zfs-fuse does not end');
    rmSync(pidFile, { force: true });
  });
}

export async function until(condition: () => Promise<boolean> | boolean, limitMs: number, complaint: string | (() => string)): Promise<void> {
  for (const end = Date.now() + limitMs; !(await condition()); ) {
    if (Date.now() > end) throw new Error(`${typeof complaint === 'string' ? complaint : complaint()} (waited ${limitMs} ms)`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** One at a time among all processes that prepare lab nodes on this machine. */
export async function withMachineLock<T>(work: () => Promise<T>): Promise<T> {
  mkdirSync(runRoot, { recursive: true });
  await until(() => takeLock(), 120_000, `${lockFile} is held`);
  try {
    return await work();
  } finally {
    rmSync(lockFile, { force: true });
  }
}

function takeLock(): boolean {
  try {
    const file = openSync(lockFile, 'wx');
    writeSync(file, String(process.pid));
    closeSync(file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  const owner = Number(existsSync(lockFile) ? readFileSync(lockFile, 'utf8') : 0);
  if (owner !== 0 && !isAlive(owner)) rmSync(lockFile, { force: true });
  return false;
}
