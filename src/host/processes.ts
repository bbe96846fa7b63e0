/**
 * Processes, by ps(1). A pid proves nothing: pids are reused, and after a restart of the agent a guest is no longer our child.
 * So each process carries its start time and title, and a signal is sent only to one that still has both.
 *
 * Command forms (all that we use; FreeBSD 13.2 to 15, seen in freebsd/transcripts/system.json):
 *   ps -axww -o pid,ppid,lstart,rss,time,state,command             every process
 *   ps -ww -o pid,ppid,lstart,rss,time,state,command -p PID        one process; exit 1 and only the heading if there is none
 * run with LC_ALL=C and TZ=UTC, so that `lstart` has one shape and no summer-time hole.
 */
import { AgentError } from '../lib/errors.js';
import type { HostProcesses, ProcessInfo, ProcessProof, RunOptions, RunResult } from './host.js';

/** The columns of every ps call, in the order in which `parsePs` reads them. */
export const psColumns = 'pid,ppid,lstart,rss,time,state,command';
/** Arguments that list every process. */
export const psListArguments: readonly string[] = ['-axww', '-o', psColumns];
/** Arguments that show one process. */
export const psFindArguments = (pid: number): readonly string[] => ['-ww', '-o', psColumns, '-p', String(pid)];

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const LINE = /^\s*(\d+)\s+(\d+)\s+(-|\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4})\s+(\d+)\s+(\d+(?::\d+)*)(?:\.(\d+))?\s+(\S+)(?:\s+(.*))?$/;
/** ps adds the program's name behind a title that a process gave itself: `bhyve: vm1 (bhyve)`. */
const TITLE_SUFFIX = / \([^() ]+\)$/;

/**
 * Reads the output of ps (heading and lines). Titles come without the program name that ps adds in brackets.
 * A process whose start ps does not know (`-`) gets start 0, which no proof matches.
 * AgentError `command-output-unreadable` for a line of another shape.
 */
export function parsePs(output: string): ProcessInfo[] {
  return output.split('\n').slice(1).filter((line) => line.trim() !== '').map(parsePsLine);
}

function parsePsLine(line: string): ProcessInfo {
  const match = LINE.exec(line);
  if (match === null) throw new AgentError('command-output-unreadable', 'ps printed a line that we cannot read', { details: { tool: 'ps' } });
  const [, pid, parentPid, start, rss, time, fraction, state, command] = match;
  return {
    pid: Number(pid),
    parentPid: Number(parentPid),
    startedAtSeconds: start === '-' ? 0 : parseStart(start!),
    residentKiB: Number(rss),
    cpuSeconds: time!.split(':').reduce((sum, part) => sum * 60 + Number(part), 0) + (fraction === undefined ? 0 : Number(`0.${fraction}`)),
    state: state!,
    command: (command ?? '').replace(TITLE_SUFFIX, ''),
  };
}

/** `Mon Nov 23 05:03:46 2026`, in UTC, as epoch seconds. */
function parseStart(text: string): number {
  const [, month, day, hour, minute, second, year] = /^\w{3} (\w{3}) ([ \d]\d) (\d\d):(\d\d):(\d\d) (\d{4})$/.exec(text) ?? [];
  const monthIndex = MONTHS.indexOf(month ?? '');
  if (monthIndex < 0) throw new AgentError('command-output-unreadable', 'ps printed a start time that we cannot read', { details: { tool: 'ps' } });
  return Date.UTC(Number(year), monthIndex, Number(day), Number(hour), Number(minute), Number(second)) / 1000;
}

/**
 * Whether `info` is the process that `proof` describes. The start may differ by a second: ps of FreeBSD computes it from
 * the boot time, which moves when the clock is set.
 */
export function matchesProof(info: ProcessInfo, proof: ProcessProof): boolean {
  if (info.pid !== proof.pid || info.startedAtSeconds === 0) return false;
  if (Math.abs(info.startedAtSeconds - proof.startedAtSeconds) > 1) return false;
  return typeof proof.command === 'string' ? info.command === proof.command : proof.command.test(info.command);
}

export interface ProcessesDeps {
  /** Runs ps with the environment that the header names. */
  runPs(args: readonly string[], options: RunOptions): Promise<RunResult>;
  /** Sends a signal; false if there is no such process. */
  kill(pid: number, signal: NodeJS.Signals): boolean;
  readonly spawnDetached: HostProcesses['spawnDetached'];
}

/**
 * One ps at a time. Who asks while one runs shares the next with all others who wait: it begins after their questions, so nobody is told what
 * was before it asked, and fifty builds at once do not start fifty of them.
 */
function createListing(deps: Pick<ProcessesDeps, 'runPs'>): { list(): Promise<ProcessInfo[]>; isBusy(): boolean } {
  let current: Promise<ProcessInfo[]> | undefined;
  let next: Promise<ProcessInfo[]> | undefined;
  const run = (): Promise<ProcessInfo[]> => {
    current = deps.runPs(psListArguments, {}).then(({ stdout }) => parsePs(stdout)).finally(() => { current = undefined; });
    return current;
  };
  return {
    isBusy: () => current !== undefined,
    list() {
      if (current === undefined) return run();
      next ??= current.then(() => undefined, () => undefined).then(() => { // a failure is told to those who asked before
        next = undefined;
        return run();
      });
      return next;
    },
  };
}

export function createProcesses(deps: ProcessesDeps): HostProcesses {
  const listing = createListing(deps);
  const find = async (pid: number): Promise<ProcessInfo | undefined> => {
    if (!Number.isSafeInteger(pid) || pid <= 0) return undefined;
    if (listing.isBusy()) return (await listing.list()).find((info) => info.pid === pid);
    const { stdout } = await deps.runPs(psFindArguments(pid), { okExits: [1] });
    return parsePs(stdout).find((info) => info.pid === pid);
  };
  return {
    list: () => listing.list(),
    find,
    async signal(proof, signal) {
      const info = await find(proof.pid);
      if (info === undefined || !matchesProof(info, proof)) return false;
      return deps.kill(proof.pid, signal);
    },
    spawnDetached: deps.spawnDetached,
  };
}
