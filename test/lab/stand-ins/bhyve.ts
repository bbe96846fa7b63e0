/**
 * bhyve(8) on QEMU. Life of a process, as the transcripts have it:
 *
 *   parse ──▶ take the VM ──▶ devices ──▶ run ──┬─ guest resets, force-reset        exit 0, entry stays
 *     │           │              │               ├─ guest powers off, force-poweroff exit 1, entry stays (gone with -D)
 *   64, 1, 4    4 busy     4 (entry stays)       ├─ entry destroyed under us         SIGABRT (134)
 *                                                ├─ SIGTERM before ACPI is on        dies of it (143)
 *                                                ├─ suspended to files               exit 0 or 5 (release), entry gone
 *                                                └─ SIGKILL, SIGINT, SIGHUP          dies of it; the entry stays and is busy
 * SIGTERM after ACPI is on is the power button. With -r the VM's name and size are those of the save, and `devices` is followed by a restore.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { basename, join } from 'node:path';
import { Abort, planMachine, readSize, type Plan } from './lib/bhyve-plan.js';
import { bootRomOf } from './lib/bhyve-firmware.js';
import { type Machine, startMachine } from './lib/bhyve-machine.js';
import { parseCommandLine } from './lib/bhyve-options.js';
import { restoreGuest } from './lib/bhyve-restore.js';
import { saveGuest } from './lib/bhyve-save.js';
import { serveConsole, serveScreen } from './lib/bhyve-serve.js';
import { host } from './lib/host-numbers.js';
import { ip, setTapUser } from './lib/ip.js';
import { isLoaded } from './lib/kernel-modules.js';
import { currentNode, isAlive, type StandInNode, withLock } from './lib/lab-node.js';
import { deleteCheckpoint, goBack } from './lib/libvdsk.js';
import { readSaveFaults } from './lib/save-faults.js';
import { type SavedFiles, openSaved, savedName, savedSize } from './lib/save-files.js';
import { listenForSaves } from './lib/save-socket.js';
import { Exit, err, out, runTool } from './lib/tool.js';
import { type Order, createVm, removeVm, takeVm, vmExists, writeVm } from './lib/vmm.js';
import { repairVolumes } from './lib/zvol-repair.js';

/** `isSuspended`: bhyve has destroyed its VM. */
type Verdict = { readonly kind: 'exit'; readonly code: number; readonly isSuspended?: true } | { readonly kind: 'signal'; readonly signal: NodeJS.Signals };

/** Frees what the VM held. `isClean`: the next bhyve may take the entry. */
function letGo(node: StandInNode, name: string, taps: readonly string[], isClean: boolean): void {
  withLock(node, 'interfaces', () => {
    for (const tap of taps) {
      setTapUser(node, tap, undefined);
      ip(node, 'link', 'set', tap, 'down');
    }
  });
  if (isClean && vmExists(node, name)) withLock(node, 'vmm', () => writeVm(node, name, { pid: null, qemuPid: null, control: null }));
}

function dieOf(signal: NodeJS.Signals): never {
  spawnSync('prlimit', ['--pid', String(process.pid), '--core=0']);
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5000);
  process.exit(70);
}

function takeOrExit(node: StandInNode, name: string, size: { cpus: number; memoryMiB: number }, hasRom: boolean): void {
  if (!isLoaded(node, 'vmm')) throw new Exit(4, 'vm_create: No such file or directory\n');
  // The entry is made before anybody asks what it could boot.
  if (!hasRom && withLock(node, 'vmm', () => createVm(node, name)) === 'created') throw new Exit(4, 'virtual machine cannot be booted\n');
  const taken = takeVm(node, name, size.memoryMiB, size.cpus);
  if (taken === 'bad-name') throw new Exit(4, 'vm_create: Invalid argument\n');
  if (taken === 'busy') throw new Exit(4, 'vm_reinit: Device busy\n');
  const refuse = (code: number, words: string): Exit => {
    writeVm(node, name, { pid: null });
    return new Exit(code, words);
  };
  if (taken === 'other-memory') throw new Exit(4, 'Unable to setup memory (22)\n');
  if (size.cpus > host.cpus) throw refuse(71, 'bhyve: vm_set_topology\n');
  if (!(size.memoryMiB > 0)) throw refuse(4, 'Unable to setup memory (22)\n');
  if (size.memoryMiB < 2) throw refuse(4, 'mptable requires mapped mem\nerror to build the guest tables: No such file or directory\n');
}

/** Sockets of bhyves that were killed. */
function removeDeadFolders(top: string): void {
  for (const pid of existsSync(top) ? readdirSync(top) : []) if (!isAlive(Number(pid))) rmSync(join(top, pid), { recursive: true, force: true });
}

async function listenForOrders(path: string, take: (order: Order) => void): Promise<() => void> {
  const server = createServer((socket) => {
    socket.once('data', (data) => {
      take(data.toString('utf8').trim() as Order);
      socket.end('ok\n');
    });
    socket.on('error', () => socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return () => server.close();
}

/** A save that was a suspend ends the machine with the code of this release. */
async function serveSaves(node: StandInNode, plan: Plan, machine: Machine, folder: string, end: (verdict: Verdict) => void): Promise<void> {
  const { save } = node.facts;
  if (save === null) return;
  await listenForSaves(node, plan.name, async (request) => {
    if (request.disks === 'delete') return deleteCheckpoint(plan, machine, request.filename);
    if (await saveGuest(plan, machine, folder, request)) end({ kind: 'exit', code: readSaveFaults(node).suspendCode ?? save.suspendCode, isSuspended: true });
  });
}

/** Runs the machine until it or somebody outside ends it. */
async function runMachine(node: StandInNode, plan: Plan, folder: string, saved: SavedFiles | undefined): Promise<Verdict> {
  const console = await serveConsole(plan.console, folder);
  const screen = plan.screen === undefined ? undefined : await serveScreen(plan.screen, folder);
  const vnc = plan.screen === undefined ? [] : ['-vnc', `unix:${folder}/vnc${plan.screen.password === undefined ? '' : ',password=on'}`];
  let outcome: Verdict | undefined;
  const start = saved !== undefined ? ['-S', '-incoming', 'defer'] : plan.screen?.waits === true ? ['-S'] : [];
  const machine = await startMachine(node, [...plan.arguments, '-serial', console.argument, ...vnc, ...start]);
  const end = (verdict: Verdict): void => {
    outcome ??= verdict;
    machine.kill();
  };
  const closeOrders = await listenForOrders(`${folder}/control`, (order) => {
    if (order === 'nmi') machine.command('inject-nmi').catch(() => undefined);
    else if (order === 'destroy') end({ kind: 'signal', signal: 'SIGABRT' });
    else end({ kind: 'exit', code: order === 'reset' ? 0 : 1 });
  });
  writeVm(node, plan.name, { qemuPid: machine.pid, control: `${folder}/control` });
  if (plan.screen?.password !== undefined) await machine.command('set_password', { protocol: 'vnc', password: plan.screen.password.slice(0, 8) });
  if (saved !== undefined) await restoreGuest(plan, machine, saved, folder).catch((error: unknown) => {
    console.close(); // or the null modem would lead to a terminal that the next one gets
    throw error;
  });
  else if (plan.screen?.waits === true) void screen?.firstViewer.then(async () => machine.command('cont')).catch(() => undefined);
  catchSignals(machine, end);
  process.title = `bhyve: ${plan.name}`;
  await serveSaves(node, plan, machine, folder, end);
  const { reason, exitCode, stderr } = await machine.ended;
  await console.finished();
  console.close();
  screen?.close();
  closeOrders();
  if (outcome !== undefined) return outcome;
  if (reason === 'guest-reset') return { kind: 'exit', code: 0 };
  if (reason === 'guest-shutdown') return { kind: 'exit', code: 1 };
  err(`${stderr.trim() === '' ? `stand-in: qemu ended (${reason ?? exitCode ?? 'killed'})` : stderr.trim()}\n`);
  return machineFailed(reason, exitCode);
}

/** QEMU refused its arguments: a device that could not be set up. Killed or crashed: bhyve would have aborted. */
const machineFailed = (reason: string | undefined, exitCode: number | null): Verdict =>
  reason === undefined && exitCode === 1 ? { kind: 'exit', code: 4 } : { kind: 'signal', signal: 'SIGABRT' };

function catchSignals(machine: Machine, end: (verdict: Verdict) => void): void {
  process.on('SIGTERM', () => {
    machine.hasAcpi().then(async (hasAcpi) => {
      if (hasAcpi) await machine.command('system_powerdown');
      else end({ kind: 'signal', signal: 'SIGTERM' });
    }).catch(() => undefined);
  });
  for (const signal of ['SIGINT', 'SIGHUP'] as const) process.on(signal, () => end({ kind: 'signal', signal }));
}

/** What bhyve prints on stdout is in its buffer until it ends, if that is no terminal; a signal loses it, an assertion (abort) does not. */
async function run(node: StandInNode, args: readonly string[]): Promise<Verdict> {
  let saved: SavedFiles | undefined;
  const { config } = parseCommandLine(args, node.facts, err, (file) => {
    saved = openSaved(file, node.facts.save!);
    return savedName(saved);
  });
  if (config.boolean('config.dump', false)) throw new Exit(1, '', config.dump());
  const name = config.get('name')!;
  const asked = readSize(config); // the topology is checked against the configuration, also when the number of vCPUs is the save's
  const size = saved === undefined ? asked : savedSize(saved);
  const { rom, isDeprecated } = bootRomOf({ config, node });
  if (isDeprecated) err("bhyve: 'lpc.bootrom' is deprecated, use 'bootrom' instead\n");
  takeOrExit(node, name, size, rom !== undefined);
  const top = `/run/nova-bhyve-lab/${node.name}`;
  const folder = join(top, String(process.pid));
  removeDeadFolders(top);
  const taps: string[] = [];
  const held: string[] = [];
  let isClean = true;
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    await repairVolumes(node, config);
    const plan = planMachine(node, config, size, (text) => held.push(text), taps);
    if (saved !== undefined && node.facts.hasLibvdsk) goBack(config, basename(saved.file));
    const verdict = await runMachine(node, plan, folder, saved);
    isClean = verdict.kind === 'exit';
    if (!isClean) held.length = 0;
    const isOver = verdict.kind === 'exit' && (verdict.isSuspended === true || (verdict.code === 1 && config.boolean('destroy_on_poweroff', false)));
    if (isOver) withLock(node, 'vmm', () => removeVm(node, name));
    return verdict;
  } catch (error) {
    if (!(error instanceof Abort)) throw error;
    isClean = false;
    if (error.signal === 'SIGSEGV') held.length = 0;
    err(error.message);
    return { kind: 'signal', signal: error.signal };
  } finally {
    out(held.join(''));
    rmSync(folder, { recursive: true, force: true });
    letGo(node, name, taps, isClean);
  }
}

runTool(async (args) => {
  const verdict = await run(currentNode(), args);
  if (verdict.kind === 'signal') dieOf(verdict.signal);
  return verdict.code;
});
