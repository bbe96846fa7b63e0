/** The supervisor script itself, under the shells of this machine, with a bhyve that does what a file tells it. */
import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync, closeSync, constants, existsSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync, writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { supervisorScript } from '../../../src/virt/bhyve/supervisor-script.js';
import { parseStatus, parseVerdict, type StoredVerdict, type SupervisorStatus } from '../../../src/virt/bhyve/verdict.js';
import { waitUntil } from '../../fakes/wait-until.js';

/**
 * Relatives of FreeBSD's sh, which is an ash too. Not bash: its `wait` (5.2) hangs for ever when the child dies while traps of several signals are
 * handled, and no FreeBSD runs the supervisor with it.
 */
const shells = ['/bin/sh', '/usr/bin/busybox'].filter((shell) => existsSync(shell));
const name = '0f3c7d2a-5b1e-4c1e-9a57-0c5d7e3f1a21';

let root: string;
let folder: string;
let started: number[];

/** bhyve's stand-in: each run takes the next line of `plan`: a status to exit with, or `hang`. A trapped TERM is the power button. */
const fakeBhyve = `#!/bin/sh
echo "$@" >> "$ROOT/runs"
for last in "$@"; do :; done
: > "$ROOT/dev/vmm/$last"
read -r step < "$ROOT/plan"
sed -i 1d "$ROOT/plan"
echo "bhyve says $step"
case $step in
hang) trap 'exit 1' TERM; while :; do sleep 0.1; done ;;
deaf) trap '' TERM; while :; do sleep 0.1; done ;;
kill) kill -9 $$ ;;
*) exit "$step" ;;
esac
`;
const fakeBhyvectl = `#!/bin/sh
echo "$@" >> "$ROOT/bhyvectl-calls"
rm -f "$ROOT/dev/vmm/${name}"
`;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'supervisor-'));
  folder = join(root, 'guest');
  started = [];
  for (const path of ['guest', 'dev/vmm', 'events']) mkdirSync(join(root, path), { recursive: true });
  for (const [tool, text] of [['bhyve', fakeBhyve], ['bhyvectl', fakeBhyvectl]] as const) {
    writeFileSync(join(root, tool), text.replaceAll('$ROOT', root));
    chmodSync(join(root, tool), 0o755);
  }
  writeFileSync(join(folder, 'supervisor.sh'), supervisorScript);
  execFileSync('mkfifo', [join(root, 'nmdmB')]);
});

afterEach(async () => {
  // Each leads a group of its own, with bhyve and the console reader in it.
  for (const pid of started) signal(-pid, 'SIGKILL');
  rmSync(root, { recursive: true, force: true });
});

const read = (file: string): string | undefined => (existsSync(join(root, file)) ? readFileSync(join(root, file), 'utf8') : undefined);
const lines = (file: string): string[] => (read(file) ?? '').split('\n').filter((line) => line !== '');
const status = (): SupervisorStatus | undefined => parseStatus(read('guest/status') ?? '');
const verdict = (): StoredVerdict | undefined => parseVerdict(read('guest/verdict') ?? '');

function signal(pid: number, kind: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, kind);
  } catch {
    return false;
  }
}

function start(shell: string, plan: string[]): number {
  writeFileSync(join(root, 'plan'), `${plan.join('\n')}\n`);
  const args = [join(folder, 'supervisor.sh'), folder, name, join(root, 'bhyve'), join(root, 'bhyvectl'), join(root, 'nmdmB'), join(root, 'dev/vmm', name), join(root, 'events'), 'boot-1', '65536'];
  const child = spawn(shell, shell.endsWith('busybox') ? ['sh', ...args] : args, { stdio: 'ignore', detached: true, cwd: '/' });
  started.push(child.pid!);
  return child.pid!;
}

/** The supervisor has put everything away. */
const isOver = (): boolean => verdict() !== undefined && read('guest/status') === undefined && read('guest/supervisor.lock') === undefined;
const isRunning = (run: number) => (): boolean => status()?.run === run && lines('runs').length === run;

describe.each(shells)('under %s', (shell) => {
  test('a guest that powers off is not started again; verdict, event and clean vmm entry are left', async () => {
    start(shell, ['1']);
    await waitUntil(isOver, 'the end');
    expect(verdict()).toMatchObject({ exit: 1, isStopping: false });
    expect(lines('runs')).toEqual([`-k bhyve.conf ${name}`]);
    expect(existsSync(join(root, 'dev/vmm', name))).toBe(false);
    expect(readdirSync(join(root, 'events'))).toEqual([name]);
    expect(lines('guest/bhyve.log')).toEqual(['bhyve says 1']);
    expect(readdirSync(folder).filter((file) => file.endsWith('.new'))).toEqual([]);
  });

  test('a guest that reboots itself is started again, with the vmm entry it had', async () => {
    start(shell, ['0', '0', '2']);
    await waitUntil(isOver, 'the end');
    expect(verdict()).toMatchObject({ exit: 2 });
    expect(lines('runs')).toHaveLength(3);
    expect(lines('bhyvectl-calls')).toHaveLength(1);
  });

  test('a saved guest is restored by the first run only: when it reboots it starts cold, and the name of the save is gone before that', async () => {
    writeFileSync(join(folder, 'restore'), '/a path/suspended/ram\n');
    start(shell, ['0', 'hang']);
    await waitUntil(isRunning(2), 'the second run');
    expect(lines('runs')).toEqual([`-k bhyve.conf -r /a path/suspended/ram ${name}`, `-k bhyve.conf ${name}`]);
    expect(readdirSync(folder)).not.toContain('restore');
  });

  test('a guest that bhyve does not restore stays off', async () => {
    writeFileSync(join(folder, 'restore'), '/suspended/ram\n');
    start(shell, ['1']);
    await waitUntil(isOver, 'the end');
    expect(lines('runs')).toHaveLength(1);
    expect(verdict()).toMatchObject({ exit: 1, isStopping: false, isSuspending: false });
  });

  test('each run of a guest with limits is held to all of them; a rule that fails is told in the log and the guest runs on', async () => {
    writeFileSync(join(root, 'rctl'), `#!/bin/sh\necho "$@" >>${root}/rctl-calls\ncase $2 in *:pcpu*) exit 0 ;; *) echo "rctl: no"; exit 1 ;; esac\n`, { mode: 0o755 });
    writeFileSync(join(folder, 'limits'), `${root}/rctl pcpu:deny=150\n${root}/rctl readbps:throttle=9\n`);
    start(shell, ['0', '1']);
    await waitUntil(isOver, 'the end');
    const calls = lines('rctl-calls').map((line) => line.replace(/process:\d+:/, 'process:PID:'));
    expect(calls).toEqual(Array(2).fill(['-a process:PID:pcpu:deny=150', '-a process:PID:readbps:throttle=9']).flat());
    expect(new Set(lines('rctl-calls').map((line) => /process:(\d+)/.exec(line)![1])).size).toBe(2);
    expect(lines('guest/bhyve.log').filter((line) => line.startsWith('supervisor:'))).toEqual(Array(2).fill('supervisor: not held to readbps:throttle=9'));
    expect(verdict()).toMatchObject({ exit: 1 });
  });

  test('a guest that reboots while the agent wants it to end stays off', async () => {
    writeFileSync(join(folder, 'stop'), '');
    start(shell, ['0']);
    await waitUntil(isOver, 'the end');
    expect(verdict()).toMatchObject({ exit: 0, isStopping: true });
    expect(lines('runs')).toHaveLength(1);
  });

  test('a guest that is suspended (exit 0 with the marker) stays off', async () => {
    writeFileSync(join(folder, 'suspending'), '');
    start(shell, ['0']);
    await waitUntil(isOver, 'the end');
    expect(verdict()).toMatchObject({ exit: 0, isSuspending: true });
  });

  test('a killed bhyve is a verdict with the signal', async () => {
    start(shell, ['kill']);
    await waitUntil(isOver, 'the end');
    expect(verdict()).toMatchObject({ exit: 137 });
    expect(existsSync(join(root, 'dev/vmm', name))).toBe(false);
  });

  test('a reboot storm ends after ten quick rounds with a reason', async () => {
    start(shell, Array.from({ length: 30 }, () => '0'));
    await waitUntil(isOver, 'the end');
    expect(lines('runs')).toHaveLength(10);
    expect(verdict()?.reason).toMatch(/rebooted ten times/);
  });

  test('a restart that finds its old vmm entry unusable is tried once more with a clean one', async () => {
    start(shell, ['0', '4', '1']);
    await waitUntil(isOver, 'the end');
    expect(verdict()).toMatchObject({ exit: 1 });
    expect(lines('runs')).toHaveLength(3);
    expect(lines('bhyvectl-calls')).toHaveLength(2);
  });

  test('a first start that fails is not tried again', async () => {
    start(shell, ['4', '1']);
    await waitUntil(isOver, 'the end');
    expect(verdict()).toMatchObject({ exit: 4 });
    expect(lines('runs')).toHaveLength(1);
  });

  test('a vmm entry that an earlier life left is destroyed before the first start', async () => {
    writeFileSync(join(root, 'dev/vmm', name), '');
    start(shell, ['hang']);
    await waitUntil(isRunning(1), 'the first run');
    expect(lines('bhyvectl-calls')).toEqual([`--vm=${name} --destroy`]);
    signal(status()!.pid, 'SIGTERM');
    await waitUntil(isOver, 'the end');
  });

  test('signals to the supervisor neither end it nor the guest; it still records the end', async () => {
    const pid = start(shell, ['deaf']);
    await waitUntil(isRunning(1), 'the first run');
    await waitUntil(() => lines('guest/bhyve.log').length === 1, 'bhyve is up');
    for (const kind of ['SIGTERM', 'SIGHUP', 'SIGINT'] as const) signal(pid, kind);
    const guest = status()!.pid;
    expect(signal(guest, 0)).toBe(true);
    expect(verdict()).toBeUndefined();
    signal(guest, 'SIGKILL');
    await waitUntil(isOver, 'the end');
    expect(verdict()).toMatchObject({ exit: 137 });
  });

  test('bhyve starts with the default for TERM: before ACPI is on, the signal ends it', async () => {
    writeFileSync(join(root, 'bhyve'), '#!/bin/sh\nexec sleep 60\n');
    start(shell, []);
    await waitUntil(() => status() !== undefined, 'the first run');
    signal(status()!.pid, 'SIGTERM');
    await waitUntil(isOver, 'the end');
    expect(verdict()).toMatchObject({ exit: 143 });
  });

  test('a second supervisor for the same guest goes away', async () => {
    start(shell, ['hang', 'hang']);
    await waitUntil(isRunning(1), 'the first run');
    const second = start(shell, ['hang']);
    await waitUntil(() => !isAlive(second), 'the second is gone');
    expect(lines('runs')).toHaveLength(1);
    signal(status()!.pid, 'SIGTERM');
    await waitUntil(isOver, 'the end');
  });

  test('a lock of another boot is taken over', async () => {
    writeFileSync(join(folder, 'supervisor.lock'), `${process.pid} boot-0\n`);
    start(shell, ['1']);
    await waitUntil(isOver, 'the end');
    expect(lines('runs')).toHaveLength(1);
  });

  test('what the guest writes to its console is in the log, also after a reboot', async () => {
    start(shell, ['hang']);
    await waitUntil(isRunning(1), 'the first run');
    await says('login: one');
    await says('login: two');
    signal(status()!.pid, 'SIGTERM');
    await waitUntil(isOver, 'the end');
  });

  test('a guest that prints without end fills neither disk nor memory, and no reader is left behind', async () => {
    const supervisor = start(shell, ['hang']);
    await waitUntil(isRunning(1), 'the first run');
    execFileSync('sh', ['-c', '{ head -c 6000000 /dev/zero | tr "\\0" x; echo last words; } > "$0"', join(root, 'nmdmB')], { timeout: 30_000 });
    const logs = (): string[] => readdirSync(folder).filter((file) => file.startsWith('console.log'));
    await waitUntil(() => logs().some((file) => (read(`guest/${file}`) ?? '').endsWith('last words\n')), 'the last words');
    const most = 65_536 + 256 * 4096;
    signal(status()!.pid, 'SIGTERM');
    await waitUntil(isOver, 'the end');
    expect(logs().length).toBeLessThanOrEqual(2);
    for (const file of logs()) expect([file, statSync(join(folder, file)).size <= most]).toEqual([file, true]);
    await waitUntil(() => !isGroupAlive(supervisor), 'no process of the group is left');
  });

  test('bhyve’s own log does not grow past a mebibyte over reboots', async () => {
    writeFileSync(join(folder, 'bhyve.log'), 'x'.repeat(1_048_577));
    start(shell, ['1']);
    await waitUntil(isOver, 'the end');
    expect(lines('guest/bhyve.log')).toEqual(['bhyve says 1']);
    expect(read('guest/bhyve.log.1')).toHaveLength(1_048_577);
  });

  test('the shell finds nothing wrong with the script', () => {
    const args = ['-n', join(folder, 'supervisor.sh')];
    execFileSync(shell, shell.endsWith('busybox') ? ['sh', ...args] : args);
  });
});

/**
 * A pipe loses what is written while its reader is about to hang up, which a null modem does not: so it is said until it was heard. Each time is a
 * hang-up for the reader, as when bhyve ends.
 */
async function says(text: string): Promise<void> {
  await waitUntil(() => {
    try {
      const pipe = openSync(join(root, 'nmdmB'), constants.O_WRONLY | constants.O_NONBLOCK);
      writeSync(pipe, `${text}\n`);
      closeSync(pipe);
    } catch {
      // nobody reads at this moment
    }
    return (read('guest/console.log') ?? '').includes(text);
  }, text);
}

/** Supervisor, reader and what copies for it are one group. */
const isGroupAlive = (leader: number): boolean =>
  execFileSync('ps', ['-axww', '-o', 'pgid,stat'], { encoding: 'utf8' }).split('\n').some((line) => new RegExp(`^\\s*${leader}\\s+[^Z]`).test(line));
/** A zombie of ours is gone for our purpose. */
const isAlive = (pid: number): boolean => existsSync(`/proc/${pid}`) && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
