/** Puts the parts together: tools, commands, files, processes, sysctl. */
import { spawn } from 'node:child_process';
import { open } from 'node:fs/promises';
import { constants } from 'node:os';
import { assert } from '../lib/assert.js';
import type { Clock } from '../lib/clock.js';
import { AgentError, codeOf } from '../lib/errors.js';
import type { Logger, Metrics } from '../observe/index.js';
import { runCommand } from './command.js';
import { createFiles } from './files.js';
import type { Host, HostProcesses, RunOptions, RunResult, ToolName } from './host.js';
import { connectTcp, listenForSockets, listenTcp } from './listen.js';
import { createProcesses } from './processes.js';
import { createSysctl } from './sysctl.js';
import { findTools } from './tools.js';

export interface HostOptions {
  /** `/dev`, or the lab's folder in its place. */
  readonly deviceRoot: string;
  /** Folders to look for tools in, separated by colons; also the PATH of what we run. */
  readonly path: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** The real host. Looks for the tools once, now; a missing one is an error only when it is called. */
export function createHost(options: HostOptions): Host {
  assert(options.deviceRoot.startsWith('/'), 'the device root is an absolute path');
  const tools = findTools(options.path);
  const env = { PATH: options.path, LC_ALL: 'C', HOME: '/' };

  const execute = async (tool: ToolName, args: readonly string[], runOptions: RunOptions,
    extra: { env?: Record<string, string>; source?: AsyncIterable<Uint8Array> } = {}): Promise<RunResult> => {
    const file = requireTool(tools, tool);
    const startedMs = options.clock.monotonicMs();
    let outcome = 'ok';
    try {
      return await runCommand({ tool, file, args, env: { ...env, ...extra.env }, options: runOptions,
        ...(extra.source === undefined ? {} : { source: extra.source }) }, options.clock);
    } catch (error) {
      outcome = codeOf(error) ?? 'error';
      throw error;
    } finally {
      const ms = Math.round(options.clock.monotonicMs() - startedMs);
      options.metrics.observe('agent_command_seconds', ms / 1000, { tool, outcome });
      options.log.debug({ tool, args, ms, outcome }, 'ran a command');
    }
  };

  return {
    deviceRoot: options.deviceRoot,
    toolPath: (tool) => tools.get(tool),
    run: (tool, args, runOptions = {}) => execute(tool, args, runOptions),
    runWithInput: (tool, args, source, runOptions = {}) => execute(tool, args, runOptions, { source }),
    files: createFiles(),
    listen: listenTcp,
    listenForSockets,
    connect: connectTcp,
    processes: createProcesses({
      runPs: (args, runOptions) => execute('ps', args, runOptions, { env: { TZ: 'UTC' } }),
      kill: killProcess,
      spawnDetached: async (tool, args, spawnOptions) => spawnDetached(requireTool(tools, tool), args, env, spawnOptions),
    }),
    sysctl: createSysctl((args) => execute('sysctl', args, { okExits: [1] })),
  };
}

function requireTool(tools: ReadonlyMap<ToolName, string>, tool: ToolName): string {
  const file = tools.get(tool);
  if (file !== undefined) return file;
  throw new AgentError('command-missing', `this host has no ${tool} in the PATH of the agent`, { details: { tool } });
}

function killProcess(pid: number, signal: NodeJS.Signals): boolean {
  assert(signal in constants.signals, 'a known signal');
  try {
    process.kill(pid, signal);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false; // it ended between the look and the signal
    throw new AgentError('signal-failed', 'a process could not be signalled', { cause: error, details: { pid, signal } });
  }
}

/** stdout and stderr go to `stdoutPath` (appended) or nowhere; the process leads a session of its own. */
async function spawnDetached(file: string, args: readonly string[], env: Record<string, string>,
  options: Parameters<HostProcesses['spawnDetached']>[2]): Promise<number> {
  const output = options.stdoutPath === undefined ? undefined : await open(options.stdoutPath, 'a', 0o600);
  try {
    const target = output === undefined ? 'ignore' : output.fd;
    const child = spawn(file, args, { cwd: options.cwd, env, detached: true, stdio: ['ignore', target, target] });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', (cause) => reject(new AgentError('command-missing', 'a process could not be started', { cause, details: { file } })));
    });
    child.unref();
    return child.pid!;
  } finally {
    await output?.close();
  }
}
