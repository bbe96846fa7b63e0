/**
 * One command from start to end: its own process group, a time limit (the whole group is killed), an output limit, an
 * environment that holds nothing but what programs need to run. Secrets are in none of argv, environment, log or error.
 */
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import type { Clock } from '../lib/clock.js';
import { AgentError } from '../lib/errors.js';
import type { RunOptions, RunResult, ToolName } from './host.js';

const DEFAULT_TIMEOUT_MS = 30_000;
const DEFAULT_OUTPUT_BYTES = 4 * 1024 * 1024;
/** Octets of stderr that are kept (its end); what an error carries of it is shorter. */
const STDERR_BYTES = 64 * 1024;
const STDERR_DETAIL_CHARS = 1000;
const AFTER_EXIT_MS = 5_000;

export interface Command {
  readonly tool: ToolName;
  /** Absolute path of the program. */
  readonly file: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly options: RunOptions;
  /** What goes to stdin; takes the place of `options.stdin`. */
  readonly source?: AsyncIterable<Uint8Array>;
}

/** Without stdin where there is nothing to say: a pipe less is a third less of what starting a command costs us. */
type Child = ChildProcessByStdio<Writable | null, Readable, Readable>;
interface Exit { readonly code: number | null; readonly signal: NodeJS.Signals | null }

/** Why a command is being ended before its time; the first reason stays. */
interface Ending {
  readonly reason: Error | undefined;
  end(reason: Error): void;
}

/**
 * Runs it and gives its answer. AgentError `command-missing` (the program cannot be started), `command-failed`,
 * `command-timeout`, `command-output-too-large`; the signal's reason if aborted; the source's own error if that failed.
 */
export async function runCommand(command: Command, clock: Clock): Promise<RunResult> {
  const { tool, options } = command;
  if (options.signal?.aborted === true) throw abortReason(options.signal);
  const child = start(command);
  const exited = exitOf(child, tool, clock);
  const ending = endingOf(child);
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const timer = clock.after(timeoutMs, () =>
    ending.end(new AgentError('command-timeout', `${tool} took longer than ${timeoutMs} ms`, { retry: 'later', details: { tool, timeoutMs } })));
  const onAbort = (): void => ending.end(abortReason(options.signal));
  options.signal?.addEventListener('abort', onAbort, { once: true });
  try {
    const stdout = collect(child.stdout, options.maxOutputBytes ?? DEFAULT_OUTPUT_BYTES, 'head', () => ending.end(
      new AgentError('command-output-too-large', `${tool} printed more than we read`, { details: { tool } })));
    const stderr = collect(child.stderr, STDERR_BYTES, 'tail');
    const [exit] = await Promise.all([exited, feed(child, command, ending)]);
    if (ending.reason !== undefined) throw ending.reason;
    return answer(command, exit, stdout(), stderr());
  } finally {
    timer.cancel();
    options.signal?.removeEventListener('abort', onAbort);
  }
}

function start(command: Command): Child {
  // The overloads of spawn know no stdin that is one or the other.
  return spawn(command.file, command.args, {
    cwd: command.options.cwd ?? '/',
    env: command.env,
    stdio: [command.source === undefined && command.options.stdin === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    detached: true, // a group of its own, so that helpers it started end with it
  }) as Child;
}

/** Resolves when the process has ended and its pipes are closed, or soon after its end. */
function exitOf(child: Child, tool: ToolName, clock: Clock): Promise<Exit> {
  return new Promise((resolve, reject) => {
    child.once('error', (cause) => reject(new AgentError('command-missing', `${tool} could not be started`, { cause, details: { tool } })));
    let timer: { cancel(): void } | undefined;
    // A daemon that it left behind may keep the pipes open: what the command itself had to say is in them by now.
    child.once('exit', () => { timer = clock.after(AFTER_EXIT_MS, () => closePipes(child)); });
    child.once('close', (code, signal) => {
      timer?.cancel();
      resolve({ code, signal });
    });
  });
}

function endingOf(child: Child): Ending {
  let reason: Error | undefined;
  return {
    get reason() {
      return reason;
    },
    end(why) {
      if (reason !== undefined) return;
      reason = why;
      killGroup(child.pid);
      // A helper that left the group may hold the pipes open; we do not wait for it.
      closePipes(child);
    },
  };
}

function closePipes({ stdin, stdout, stderr }: Child): void {
  for (const stream of [stdin, stdout, stderr]) stream?.destroy();
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error; // ESRCH: it has ended by itself
  }
}

/** Keeps the first or the last `maxBytes` of a stream; the function gives the text so far. */
function collect(stream: Readable, maxBytes: number, keep: 'head' | 'tail', onOverflow?: () => void): () => string {
  let chunks: Buffer[] = [];
  let bytes = 0;
  stream.on('error', () => undefined); // a pipe torn down by us; the exit tells what happened
  stream.on('data', (chunk: Buffer) => {
    if (keep === 'head' && bytes + chunk.length > maxBytes) return onOverflow?.();
    chunks.push(chunk);
    bytes += chunk.length;
    if (keep === 'tail' && bytes > 2 * maxBytes) {
      chunks = [Buffer.concat(chunks).subarray(-maxBytes)];
      bytes = maxBytes;
    }
  });
  return () => (keep === 'tail' ? Buffer.concat(chunks).subarray(-maxBytes) : Buffer.concat(chunks)).toString('utf8');
}

/** Writes stdin at the pace at which the command reads it. A command that closes it early is judged by its exit. */
async function feed({ stdin }: Child, command: Command, ending: Ending): Promise<void> {
  if (stdin === null) return;
  let isClosed = false;
  let wake: (() => void) | undefined;
  const close = (): void => {
    isClosed = true;
    wake?.();
  };
  stdin.on('error', close); // EPIPE
  stdin.once('close', close);
  stdin.on('drain', () => wake?.());
  if (command.source === undefined) {
    stdin.end(command.options.stdin ?? '');
    return;
  }
  const woken = (): Promise<void> => new Promise((resolve) => {
    wake = resolve;
    if (isClosed) resolve();
  });
  const iterator = command.source[Symbol.asyncIterator]();
  let pending: Promise<IteratorResult<Uint8Array>> | undefined;
  try {
    while (!isClosed) {
      pending ??= iterator.next();
      const next = await Promise.race([pending, woken().then(() => undefined)]);
      if (next === undefined) continue; // closed while the source was silent, or a late drain: ask the same chunk again
      pending = undefined;
      if (next.done === true) break;
      if (!isClosed && !stdin.write(next.value)) await woken();
    }
    stdin.end();
  } catch (error) {
    ending.end(error instanceof Error ? error : new AgentError('command-input-failed', `the input of ${command.tool} failed`, { cause: error }));
  } finally {
    if (isClosed) abandon(iterator, pending);
  }
}

/** A source that hangs must not hold up the command's end, so nobody waits for its last words. */
function abandon(iterator: AsyncIterator<Uint8Array>, pending: Promise<unknown> | undefined): void {
  pending?.catch(() => undefined);
  void Promise.resolve(iterator.return?.()).catch(() => undefined);
}

function answer(command: Command, exit: Exit, stdout: string, stderr: string): RunResult {
  const { tool, options } = command;
  // As a shell counts: 128 + number of the signal, so that callers may list it.
  const code = exit.code ?? 128 + (exit.signal === 'SIGKILL' ? 9 : exit.signal === 'SIGTERM' ? 15 : exit.signal === 'SIGABRT' ? 6 : exit.signal === 'SIGSEGV' ? 11 : 0);
  const accepted = options.okExits === 'any' || code === 0 || options.okExits?.includes(code) === true;
  if (accepted) return { code, stdout, stderr };
  throw new AgentError('command-failed', `${tool} failed`, {
    details: { tool, code, ...(exit.signal === null ? {} : { signal: exit.signal }), stderr: stderr.trim().slice(-STDERR_DETAIL_CHARS) },
  });
}

function abortReason(signal: AbortSignal | undefined): Error {
  const reason: unknown = signal?.reason;
  return reason instanceof Error ? reason : new AgentError('aborted', 'the work was cancelled');
}
