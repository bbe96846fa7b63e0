/**
 * daemon(8). Without -p, -P, -r, -o or -t the command simply becomes the daemon (own session, parent 1). With one of them a
 * supervisor stays in front of it, as on FreeBSD: it keeps the pid files, collects output and restarts.
 */
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Exit, getopt, getoptMessage, runTool, strerror } from './lib/tool.js';
import { isAlive } from './lib/lab-node.js';

const usage = [
  'usage: daemon [-cfHrS] [-p child_pidfile] [-P supervisor_pidfile]', '              [-u user] [-o output_file] [-t title]', '              [-l syslog_facility] [-s syslog_priority]',
  '              [-T syslog_tag] [-m output_mask] [-R restart_delay_secs]', 'command arguments ...', '',
].join('\n');

interface Asked {
  readonly childPidFile: string | undefined;
  readonly supervisorPidFile: string | undefined;
  readonly output: string | undefined;
  readonly title: string | undefined;
  readonly restartSeconds: number | undefined;
  readonly command: readonly string[];
}

function lockPidFile(path: string | undefined): void {
  if (path === undefined) return;
  const holder = readHolder(path);
  if (holder !== undefined && isAlive(holder)) throw new Exit(3, `daemon: process already running, pid: ${holder}\n`);
  try {
    closeSync(openSync(path, 'w', 0o600));
  } catch (error) {
    throw new Exit(2, `daemon: pidfile \`\`${path}'': ${strerror(error)}\n`);
  }
}

function readHolder(path: string): number | undefined {
  try {
    return Number(readFileSync(path, 'utf8').trim()) || undefined;
  } catch {
    return undefined; // no file: nobody runs
  }
}

/** Runs in its own session until the command has ended for good. */
async function supervise(asked: Asked): Promise<number> {
  const [command, ...args] = asked.command as [string, ...string[]];
  if (asked.supervisorPidFile !== undefined) writeFileSync(asked.supervisorPidFile, String(process.pid));
  let isEnding = false;
  for (;;) {
    const output = asked.output === undefined ? 'inherit' : openSync(asked.output, 'a', 0o600);
    const child = spawn(command, args, { stdio: ['ignore', output, output] });
    const pass = (): void => {
      isEnding = true;
      child.kill('SIGTERM');
    };
    process.once('SIGTERM', pass);
    if (child.pid !== undefined) {
      process.title = `daemon: ${asked.title ?? command}[${child.pid}]`;
      if (asked.childPidFile !== undefined) writeFileSync(asked.childPidFile, String(child.pid));
    }
    const code = await new Promise<number>((resolve) => {
      child.once('error', () => resolve(1));
      child.once('exit', (status) => resolve(status ?? 1));
    });
    process.off('SIGTERM', pass);
    if (typeof output === 'number') closeSync(output);
    if (asked.restartSeconds === undefined || isEnding) {
      for (const file of [asked.childPidFile, asked.supervisorPidFile]) if (file !== undefined) rmSync(file, { force: true });
      return code;
    }
    await new Promise((resolve) => setTimeout(resolve, (asked.restartSeconds ?? 1) * 1000));
  }
}

/** Resolves once the process exists (or could not be made: daemon has left the terminal by then and cannot tell). */
async function detach(command: string, args: readonly string[], cwd: string | undefined, isSilent: boolean): Promise<void> {
  const stdio = isSilent ? 'ignore' : ['ignore' as const, 'inherit' as const, 'inherit' as const];
  const child = spawn(command, args, { detached: true, stdio, cwd });
  await new Promise<void>((resolve) => {
    child.once('spawn', resolve);
    child.once('error', () => resolve());
  });
  child.unref();
}

runTool(async (args) => {
  const isSupervisor = process.env['LAB_DAEMON'] === 'supervise';
  const { options, operands, bad } = getopt(args, 'cC:fHSp:P:ru:o:s:l:t:m:R:T:');
  if (bad !== undefined) throw new Exit(1, getoptMessage('daemon', bad) + usage);
  if (operands.length === 0) throw new Exit(1, usage);
  const value = (flag: string): string | undefined => options.findLast((option) => option.flag === flag)?.value;
  const has = (flag: string): boolean => options.some((option) => option.flag === flag);
  const restartSeconds = has('r') || has('R') ? Number(value('R') ?? 1) : undefined;
  const asked: Asked = { childPidFile: value('p'), supervisorPidFile: value('P'), output: value('o'), title: value('t'), restartSeconds, command: operands };
  if (isSupervisor) return supervise(asked);
  lockPidFile(asked.childPidFile);
  lockPidFile(asked.supervisorPidFile);
  const cwd = has('c') ? '/' : undefined;
  if (['p', 'P', 'r', 'R', 'o', 't'].some(has)) {
    process.env['LAB_DAEMON'] = 'supervise';
    await detach(process.execPath, [...process.argv.slice(1)], cwd, has('f'));
    await waitForPidFile(asked.childPidFile);
  } else {
    await detach(operands[0]!, operands.slice(1), cwd, has('f'));
  }
  return 0;
});

/** FreeBSD's daemon returns before its child runs; a pid file without a pid would only make tests flicker. */
async function waitForPidFile(path: string | undefined): Promise<void> {
  for (let attempt = 0; path !== undefined && attempt < 100 && readHolder(path) === undefined; attempt++) await new Promise((resolve) => setTimeout(resolve, 10));
}
