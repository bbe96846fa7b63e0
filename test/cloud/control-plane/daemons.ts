/**
 * Long-running programs without an init system. A daemon is ours if its pid file's pid still has the kernel start time written beside it;
 * a pid alone proves nothing. Each daemon leads its own process group, so that stopping it takes its workers along.
 */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, readSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Polls `check` until it gives something other than null, undefined or false; throws what `failure` says after `limitMs`. */
export async function until<T>(limitMs: number, failure: () => string, check: () => Promise<T> | T, everyMs = 100): Promise<NonNullable<T>> {
  const end = performance.now() + limitMs;
  for (;;) {
    const value = await check();
    if (value !== null && value !== undefined && value !== false) return value;
    if (performance.now() > end) throw new Error(failure());
    await sleep(everyMs);
  }
}

/** The environment of Debian's programs: no proxy, no other Python first in PATH. */
export const daemonEnv: Readonly<Record<string, string>> = {
  PATH: '/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8', HOME: '/root', PYTHONUNBUFFERED: '1',
};

export interface DaemonSpec {
  readonly name: string;
  readonly argv: readonly [string, ...string[]];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Where it logs to; by default NAME.log in the lab's logs. */
  readonly log?: string;
}

export interface Daemons {
  /** The pid if it is alive and ours, else null. */
  pid(name: string): number | null;
  /** Starts it unless it is alive; true if it was started now. */
  start(spec: DaemonSpec): boolean;
  /** TERM, then after `graceMs` KILL to its whole group. Says whether it had to be killed. */
  stop(name: string, graceMs?: number): Promise<'was-down' | 'stopped' | 'killed'>;
  kill(name: string): Promise<void>;
  logOf(name: string): string;
  /** The end of its log, for a person to read after a failure. */
  tail(name: string, lines?: number): string;
  names(): string[];
}

/** Field 22 of /proc/PID/stat: ticks since boot at which the process started; null if there is none or it is a zombie. */
export function startTimeOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? null : fields[19] ?? null;
  } catch {
    return null;
  }
}

/** Members of a dead daemon's group: same group and session as it led, and younger than it. */
function orphansOf(id: number, startTime: string): number[] {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number).filter((pid) => {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const [, , group, session, ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return Number(group) === id && Number(session) === id && Number(rest[15]) >= Number(startTime);
    } catch {
      return false; // it ended while we looked
    }
  });
}

/** The last `lines` lines of a file, reading no more than its last 64 KiB, and nothing before octet `from`. */
export function tailOf(path: string, lines = 25, from = 0): string {
  if (!existsSync(path)) return '';
  const size = statSync(path).size;
  const buffer = Buffer.alloc(Math.max(0, Math.min(size - from, 65_536)));
  const fd = openSync(path, 'r');
  try {
    readSync(fd, buffer, 0, buffer.length, size - buffer.length);
  } finally {
    closeSync(fd);
  }
  return buffer.toString('utf8').trimEnd().split('\n').slice(-lines).join('\n');
}

/** Sends a signal to a process, or to a group when negative; that it is gone already is fine. */
function signal(target: number, name: NodeJS.Signals): void {
  try {
    process.kill(target, name);
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code !== 'ESRCH') throw err;
  }
}

/** With `leaderOnly` the rest of a daemon's group is never touched: guests outlive their agent. */
export function createDaemons(paths: { readonly run: string; readonly logs: string; readonly leaderOnly?: boolean }): Daemons {
  const target = (id: number): number => (paths.leaderOnly === true ? id : -id);
  mkdirSync(paths.run, { recursive: true });
  mkdirSync(paths.logs, { recursive: true });
  const pidFile = (name: string): string => join(paths.run, `${name}.pid`);
  const logs = new Map<string, string>();
  const logOf = (name: string): string => logs.get(name) ?? join(paths.logs, `${name}.log`);

  function pid(name: string): number | null {
    if (!existsSync(pidFile(name))) return null;
    const [id, startTime, log] = readFileSync(pidFile(name), 'utf8').trim().split(' ');
    if (log !== undefined) logs.set(name, log);
    return id !== undefined && startTime !== undefined && startTimeOf(Number(id)) === startTime ? Number(id) : null;
  }

  function start(spec: DaemonSpec): boolean {
    if (pid(spec.name) !== null) return false;
    reapOrphans(spec.name);
    const log = spec.log ?? join(paths.logs, `${spec.name}.log`);
    const fd = openSync(log, 'a');
    const [command, ...args] = spec.argv;
    const child = spawn(command, args, { detached: true, stdio: ['ignore', fd, fd], env: { ...daemonEnv, ...spec.env }, cwd: spec.cwd ?? '/' });
    closeSync(fd);
    child.on('error', () => undefined);
    child.unref();
    const startTime = child.pid === undefined ? null : startTimeOf(child.pid);
    if (child.pid === undefined || startTime === null) throw new Error(`${spec.name} could not be started: ${spec.argv.join(' ')}`);
    logs.set(spec.name, log);
    writeFileSync(pidFile(spec.name), `${child.pid} ${startTime} ${log}\n`);
    return true;
  }

  /** Workers that outlived a daemon which died would keep its port or its lock. */
  function reapOrphans(name: string): void {
    if (paths.leaderOnly === true || !existsSync(pidFile(name))) return;
    const [id, startTime] = readFileSync(pidFile(name), 'utf8').trim().split(' ');
    for (const orphan of orphansOf(Number(id), startTime ?? '')) signal(orphan, 'SIGKILL');
  }

  async function stop(name: string, graceMs = 15_000): Promise<'was-down' | 'stopped' | 'killed'> {
    const id = pid(name);
    if (id === null) {
      reapOrphans(name);
      rmSync(pidFile(name), { force: true });
      return 'was-down';
    }
    signal(id, 'SIGTERM');
    const hasEnded = await until(graceMs, () => '', () => pid(name) === null).catch(() => false);
    if (!hasEnded || paths.leaderOnly !== true) signal(target(id), 'SIGKILL'); // itself, or whatever is left of its workers
    await until(5_000, () => `${name} (pid ${id}) survives SIGKILL`, () => pid(name) === null);
    rmSync(pidFile(name), { force: true });
    return hasEnded ? 'stopped' : 'killed';
  }

  async function kill(name: string): Promise<void> {
    const id = pid(name);
    if (id === null) return;
    signal(target(id), 'SIGKILL');
    await until(5_000, () => `${name} (pid ${id}) survives SIGKILL`, () => pid(name) === null);
  }

  return {
    pid, start, stop, kill, logOf, tail: (name, lines) => tailOf(logOf(name), lines),
    names: () => readdirSync(paths.run).filter((file) => file.endsWith('.pid')).map((file) => file.slice(0, -4)),
  };
}

/** True if something accepts a connection on host:port within a second. */
export function portOpen(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 1_000 });
    const end = (answer: boolean) => (): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', end(true)).once('timeout', end(false)).once('error', end(false));
  });
}
