/**
 * The QEMU process of a guest, spoken to by QMP over its stdin and stdout. It dies with us, however we die: the kernel kills it
 * when its parent is gone (PR_SET_PDEATHSIG), so that a SIGKILL of bhyve ends the guest as it does on FreeBSD.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { StandInNode } from './lab-node.js';
import { stopTogether } from './stop-together.js';

export interface Machine {
  readonly pid: number;
  /** Why the guest stopped by itself, as soon as QEMU tells: `guest-reset`, `guest-shutdown`, `guest-panic`, …. */
  readonly ended: Promise<{ reason: string | undefined; exitCode: number | null; signal: NodeJS.Signals | null; stderr: string }>;
  command(name: string, args?: Readonly<Record<string, unknown>>): Promise<unknown>;
  /** The guest's kernel has switched ACPI on: SCI_EN of PM1 control, which QEMU's chipset has at 0x604 once firmware has placed it. */
  hasAcpi(): Promise<boolean>;
  kill(): void;
}

/** Starts QEMU inside the node's network namespace. It is found neither by ps nor by pgrep of the node. */
export async function startMachine(node: StandInNode, args: readonly string[]): Promise<Machine> {
  const command = [`--net=/run/netns/${node.netns}`, 'setpriv', '--pdeathsig', 'KILL', 'qemu-system-x86_64', ...args, '-qmp', 'stdio', '-monitor', 'none'];
  const child = spawn('nsenter', command, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, LAB_HIDDEN: '1' } });
  const talk = converse(child);
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', reject);
  });
  const machine: Machine = {
    pid: child.pid!,
    ended: talk.ended,
    command: talk.command,
    hasAcpi: async () => {
      const answer = await talk.command('human-monitor-command', { 'command-line': 'i /h 0x604' });
      const value = Number(/=\s*(0x[0-9a-f]+)/i.exec(String(answer))?.[1] ?? 0);
      return value !== 0xffff && (value & 1) === 1;
    },
    kill: () => {
      child.kill('SIGKILL');
    },
  };
  await talk.ready;
  stopTogether(machine.pid);
  return machine;
}

interface Message {
  readonly QMP?: unknown;
  readonly return?: unknown;
  readonly error?: { readonly desc: string };
  readonly event?: string;
  readonly data?: { readonly reason?: string };
}

function converse(child: ChildProcess): {
  command: Machine['command']; ended: Machine['ended']; ready: Promise<void>;
} {
  const waiting: { resolve: (value: unknown) => void; reject: (error: Error) => void }[] = [];
  let reason: string | undefined;
  let stderr = '';
  let text = '';
  let markReady: () => void = () => undefined;
  const ready = new Promise<void>((resolve) => {
    markReady = resolve;
  });
  const command: Machine['command'] = async (name, args) =>
    new Promise((resolve, reject) => {
      waiting.push({ resolve, reject });
      child.stdin!.write(`${JSON.stringify({ execute: name, ...(args === undefined ? {} : { arguments: args }) })}\n`);
    });
  const take = (message: Message): void => {
    if (message.QMP !== undefined) void command('qmp_capabilities').then(markReady, markReady);
    else if (message.event === 'SHUTDOWN') reason ??= message.data?.reason;
    else if (message.error !== undefined) waiting.shift()?.reject(new Error(message.error.desc));
    else if ('return' in message) waiting.shift()?.resolve(message.return);
  };
  child.stdout!.on('data', (data: Buffer) => {
    text += data.toString('utf8');
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
      const line = text.slice(0, end).trim();
      text = text.slice(end + 1);
      if (line !== '') take(JSON.parse(line) as Message);
    }
  });
  child.stderr!.on('data', (data: Buffer) => {
    stderr = (stderr + data.toString('utf8')).slice(-4000);
  });
  child.stdin!.on('error', () => undefined);
  const ended = new Promise<Awaited<Machine['ended']>>((resolve) => {
    child.once('close', (exitCode, signal) => {
      for (const other of waiting) other.reject(new Error('qemu ended'));
      markReady();
      resolve({ reason, exitCode, signal, stderr });
    });
  });
  return { command, ended, ready };
}
