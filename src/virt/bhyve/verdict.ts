/**
 * What the supervisor writes about a guest, and what it means. Both files are `key=value` lines, written to a temporary name and renamed.
 *
 *   status   exists while a supervisor looks after the guest:  phase, supervisor, boot, run, pid, since
 *   verdict  exists after the guest ended:                     exit, at, stopping, run, reason
 *
 * bhyve's exit (bhyve-facts 5.1, freebsd/README.md): 0 rebooted (also suspended, before 15.1) · 1 powered off · 2 halted · 3 triple fault ·
 * 4 set-up error or destroyed from outside · 5 suspended (15.1) · 128+n by signal n, as sh reports it.
 */
import type { Verdict } from '../types.js';

export interface SupervisorStatus {
  readonly phase: 'running' | 'restarting';
  readonly supervisorPid: number;
  /** Boot of the host in which this was written; another one means that the file is stale. */
  readonly boot: string;
  /** Counts bhyve's starts under this supervisor, from 1. */
  readonly run: number;
  readonly pid: number;
  /** Epoch seconds at which bhyve was forked. */
  readonly sinceSeconds: number;
}

export interface StoredVerdict {
  /** As sh has it: 128+n for a signal. Null when nobody saw the exit. */
  readonly exit: number | null;
  readonly atSeconds: number;
  /** The agent had asked for the end. */
  readonly isStopping: boolean;
  readonly isSuspending: boolean;
  readonly reason: string;
}

function parsePairs(text: string): Map<string, string> {
  const pairs = new Map<string, string>();
  for (const line of text.split('\n')) {
    const at = line.indexOf('=');
    if (at > 0) pairs.set(line.slice(0, at), line.slice(at + 1));
  }
  return pairs;
}

const integer = (value: string | undefined): number | undefined => (value !== undefined && /^\d{1,15}$/.test(value) ? Number(value) : undefined);

/** Undefined for a file that is not what a supervisor writes. */
export function parseStatus(text: string): SupervisorStatus | undefined {
  const pairs = parsePairs(text);
  const phase = pairs.get('phase');
  const [supervisorPid, run, pid, sinceSeconds] = ['supervisor', 'run', 'pid', 'since'].map((key) => integer(pairs.get(key)));
  const boot = pairs.get('boot');
  if (phase !== 'running' && phase !== 'restarting') return undefined;
  if (supervisorPid === undefined || run === undefined || pid === undefined || sinceSeconds === undefined || boot === undefined) return undefined;
  return { phase, supervisorPid, boot, run, pid, sinceSeconds };
}

/** Undefined for a file that is neither a supervisor's nor ours. */
export function parseVerdict(text: string): StoredVerdict | undefined {
  const pairs = parsePairs(text);
  const atSeconds = integer(pairs.get('at'));
  const exit = pairs.get('exit');
  if (atSeconds === undefined || exit === undefined) return undefined;
  return {
    exit: integer(exit) ?? null,
    atSeconds,
    isStopping: pairs.get('stopping') === 'yes',
    isSuspending: pairs.get('suspending') === 'yes',
    reason: pairs.get('reason') ?? '',
  };
}

/** The same text as a supervisor writes; for guests whose supervisor could not. */
export function renderVerdict(verdict: StoredVerdict): string {
  return `exit=${verdict.exit ?? 'unknown'}\nat=${verdict.atSeconds}\nstopping=${verdict.isStopping ? 'yes' : 'no'}\n`
    + `suspending=${verdict.isSuspending ? 'yes' : 'no'}\nreason=${verdict.reason.replaceAll('\n', ' ')}\n`;
}

// The numbers of FreeBSD; only those that end a process by default and that bhyve was seen to die of.
const signals: Readonly<Record<number, string>> = {
  1: 'SIGHUP', 2: 'SIGINT', 3: 'SIGQUIT', 4: 'SIGILL', 6: 'SIGABRT', 8: 'SIGFPE', 9: 'SIGKILL', 10: 'SIGBUS', 11: 'SIGSEGV', 12: 'SIGSYS', 13: 'SIGPIPE', 15: 'SIGTERM',
};

/** What a stored verdict means. A guest that we ended ourselves is powered off, however it went. */
export function interpretVerdict(stored: StoredVerdict): Verdict {
  const at = new Date(stored.atSeconds * 1000).toISOString();
  const signal = stored.exit !== null && stored.exit > 128 ? (signals[stored.exit - 128] ?? `signal ${stored.exit - 128}`) : null;
  const crashed = (reason: string): Verdict => ({
    kind: 'crashed', at, exitCode: signal === null ? stored.exit : null, signal, reason: stored.reason === '' ? reason : stored.reason,
  });
  if (stored.exit === 5 || (stored.exit === 0 && stored.isSuspending)) return { kind: 'suspended', at };
  if (stored.isStopping) return { kind: stored.exit === 2 ? 'halted' : 'powered-off', at };
  switch (stored.exit) {
    case 0:
      return stored.reason === '' ? { kind: 'rebooted', at } : crashed('');
    case 1:
      return { kind: 'powered-off', at };
    case 2:
      return { kind: 'halted', at };
    case 3:
      return crashed('the guest triple-faulted');
    case 4:
      return crashed('bhyve could not set the guest up, or it was destroyed from outside');
    case null:
      return crashed('nobody saw how bhyve ended');
    default:
      return crashed(signal === null ? `bhyve ended with ${stored.exit}` : `bhyve was ended by ${signal}`);
  }
}
