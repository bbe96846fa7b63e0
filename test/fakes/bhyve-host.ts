/**
 * A FreeBSD host in memory that runs guests: bhyve, bhyvectl, daemon, ps, sysctl and friends as src/host/host.ts promises them. Its supervisor does
 * what src/virt/bhyve/supervisor-script.ts does; test/contract/virt runs the script itself. Tests play the guest: power off, reboot, crash.
 */
import { dirname } from 'node:path';
import { AgentError } from '../../src/lib/errors.js';
import type { Host, ProcessInfo, RunResult, ToolName } from '../../src/host/index.js';
import { goodSaves, memoryIn, saveOf, type SavingHost } from './bhyve-saves.js';
import { createFakeHost } from './host.js';
import { createFakeIfconfig, type FakeIfconfig } from './ifconfig.js';
import type { VirtualClock } from './virtual-clock.js';

interface RunningGuest { name: string; pid: number; supervisorPid: number | null; folder: string; events: string; run: number; boot: string; hasAcpi: boolean; ignoresButton: boolean; nmis: number; memory: string; isSaving: boolean }

/** Files as other programs write them: past the agent's own calls. */
export interface OutsideFiles {
  text(path: string): string | undefined;
  /** Every path that has content. */
  paths(): string[];
  put(path: string, text: string): void;
  append(path: string, text: string): void;
  drop(path: string): void;
  /** Modes given to writeAtomic and makeDirectory. */
  readonly modes: ReadonlyMap<string, number>;
}

export interface BhyveHost extends Host {
  readonly outside: OutsideFiles;
  readonly ifconfig: FakeIfconfig;
  readonly sysctls: Map<string, string>;
  readonly processTable: Map<number, ProcessInfo>;
  readonly calls: string[];
  /** Answers of tools, by `tool args`; wins over the built-in behaviour. */
  readonly answers: Map<string, RunResult>;
  /** What the next bhyve does instead of running. */
  failNextStart: { exit: number; says: string } | null;
  /** How it saves and restores. */
  readonly saves: SavingHost;
  /** Guests say a number five times a second, as the guest of the self-test does. */
  counts: boolean;
  /** Octets that are free on every file system. */
  freeBytes: bigint;
  guest(name: string): RunningGuest | undefined;
  /** The guest ends bhyve with this status (128+n for a signal). */
  exit(name: string, status: number): void;
  killSupervisor(name: string): void;
  /** Everything dies, /dev/vmm is empty, a new boot begins. */
  reboot(): void;
  addProcess(command: string, parentPid?: number): ProcessInfo;
}

const transcriptSysctls: readonly (readonly [string, string])[] = [
  ['hw.machine_arch', 'amd64'], ['kern.osrelease', '13.2-RELEASE'], ['kern.osreldate', '1302001'], ['hw.model', 'AMD EPYC Processor'], ['hw.ncpu', '2'],
  ['hw.physmem', '6419836928'], ['hw.pagesize', '4096'], ['kern.hostname', 'host1.example.org'], ['hw.vmm.svm.features', '1'], ['hw.vmm.vmx.initialized', '0'],
  ['hw.vmm.maxcpu', '2'], ['kern.smp.cores', '2'], ['kern.smp.threads_per_core', '1'], ['kern.boottime', '{ sec = 1795410225, usec = 57793 } Mon Nov 23 05:03:45 2026'],
  ['vm.stats.vm.v_free_count', '1469951'], ['vm.stats.vm.v_inactive_count', '278'], ['vm.stats.vm.v_laundry_count', '0'], ['vm.stats.vm.v_cache_count', '0'],
  ['kstat.zfs.misc.arcstats.size', '960'], ['machdep.tsc_freq', '2596100250'],
];
const devices = 'ahci ahci-hd ahci-cd e1000 dummy hda fbuf amd_hostbridge hostbridge lpc nvme passthru virtio-9p virtio-blk virtio-console virtio-input virtio-net virtio-rnd virtio-scsi uart xhci';

export function createBhyveHost(clock: VirtualClock): BhyveHost {
  const base = createFakeHost();
  const { disk } = base;
  const modes = new Map<string, number>();
  const files: OutsideFiles = {
    text: (path) => (disk.files.has(path) ? Buffer.from(disk.files.get(path)!).toString() : undefined),
    paths: () => [...disk.files.keys()],
    put: (path, text) => {
      for (let folder = dirname(path); folder !== '/'; folder = dirname(folder)) disk.folders.add(folder);
      disk.files.set(path, Buffer.from(text));
    },
    append: (path, text) => files.put(path, `${files.text(path) ?? ''}${text}`),
    drop: (path) => void disk.files.delete(path),
    modes,
  };
  files.put('/usr/sbin/bhyve', 'the program');
  for (const part of ['CODE', 'VARS']) files.put(`/usr/local/share/edk2-bhyve/BHYVE_UEFI_${part}.fd`, part);
  const ifconfig = createFakeIfconfig();
  const sysctls = new Map(transcriptSysctls);
  const processTable = new Map<number, ProcessInfo>();
  const guests = new Map<string, RunningGuest>();
  const calls: string[] = [];
  const answers = new Map<string, RunResult>();
  const saves = goodSaves();
  let cycles = 8_469_476_573;
  let nextPid = 1000;
  const seconds = (): number => Math.floor(clock.now().getTime() / 1000);
  const ok = (stdout = '', code = 0, stderr = ''): RunResult => ({ code, stdout, stderr });

  const addProcess = (command: string, parentPid = 1): ProcessInfo => {
    nextPid += 1;
    const info = { pid: nextPid, parentPid, startedAtSeconds: seconds(), command, residentKiB: 40_960, cpuSeconds: 1, state: 'S' };
    processTable.set(info.pid, info);
    return info;
  };
  const tell = (guest: RunningGuest): void => files.put(`${guest.events}/${guest.name}`, '');
  const writeStatus = (guest: RunningGuest): void => {
    files.put(`${guest.folder}/status`, `phase=running\nsupervisor=${guest.supervisorPid ?? 0}\nboot=${guest.boot}\nrun=${guest.run}\npid=${guest.pid}\nsince=${seconds()}\n`);
    tell(guest);
  };

  function startBhyve(guest: RunningGuest): void {
    guest.run += 1;
    if (host.failNextStart !== null) {
      const { exit, says } = host.failNextStart;
      host.failNextStart = null;
      guest.pid = addProcess('bhyve -k bhyve.conf', guest.supervisorPid ?? 1).pid;
      files.append(`${guest.folder}/bhyve.log`, `${says}\n`);
      files.put(`/dev/vmm/${guest.name}`, '');
      return end(guest, exit);
    }
    const restored = guest.run === 1 ? files.text(`${guest.folder}/restore`)?.trim() : undefined;
    files.drop(`${guest.folder}/restore`);
    guest.memory = restored === undefined || saves.restore === 'cold' ? `cold start ${nextPid}` : memoryIn(disk.files.get(restored)!);
    if (restored !== undefined) calls.push(`bhyve -k bhyve.conf -r ${restored} ${guest.name}`);
    guest.pid = addProcess(`bhyve: ${guest.name}`, guest.supervisorPid ?? 1).pid;
    files.put(`/dev/vmm/${guest.name}`, '');
    if (restored !== undefined && saves.restore === 'refused') {
      files.append(`${guest.folder}/bhyve.log`, 'Failed to restore kernel structs.\n');
      return end(guest, 1);
    }
    if (restored !== undefined && saves.restore === 'crashes') clock.after(500, () => end(guest, 139));
    writeStatus(guest);
    if (host.counts) count(guest, guest.run);
  }

  /** The guest of the self-test: its memory is a number, which it says and raises. */
  function count(guest: RunningGuest, run: number): void {
    clock.after(200, () => {
      if (guests.get(guest.name) !== guest || guest.run !== run) return;
      if (!guest.isSaving) {
        const next = /^\d+$/.test(guest.memory) ? Number(guest.memory) + 1 : 1;
        guest.memory = String(next);
        files.append(`${guest.folder}/console.log`, `tick ${next.toString(16).padStart(8, '0')}\r\n`);
      }
      count(guest, run);
    });
  }

  /** As bhyve does it: files first, the description last; then it ends, or goes on. */
  function suspend(guest: RunningGuest, path: string): RunResult {
    if (saves.outcome === 'refused' || isStopped(guest)) return ok('', saves.requestCode);
    const config = files.text(`${guest.folder}/bhyve.conf`) ?? '';
    const firstDisk = /^pci\.0\.\d+\.0\.(?:port\.0\.)?path=(.*)$/m.exec(config)?.[1] ?? '';
    if (saves.isConfined && !path.startsWith(`${dirname(firstDisk)}/`)) {
      files.append(`${guest.folder}/bhyve.log`, 'Failed to create checkpoint file: Not permitted in capability mode\n');
      return ok('', saves.requestCode);
    }
    guest.isSaving = true;
    const isWithoutCode = [...saves.withoutCode].some((model) => config.includes(`.device=${model}\n`));
    const written = saveOf(guest.name, config, guest.memory, saves);
    const put = (name: string, content: Uint8Array): void => { if (disk.folders.has(dirname(path))) disk.files.set(`${path}${name}`, content); };
    put('.kern', new Uint8Array());
    put('', written.ram.subarray(0, written.ram.length / 2));
    put('.meta', new Uint8Array());
    if (saves.outcome === 'stuck') return ok('', saves.requestCode);
    clock.after(saves.tookMs, () => {
      guest.isSaving = false;
      if (saves.outcome === 'fails' || isWithoutCode) return files.append(`${guest.folder}/bhyve.log`, 'Failed to snapshot\n');
      if (!guests.has(guest.name)) return undefined;
      if (saves.outcome === 'dies') return end(guest, 139);
      if (saves.outcome !== 'short') put('', written.ram);
      put('.kern', written.kern);
      put('.meta', Buffer.from(saves.outcome === 'cut' ? written.meta.slice(0, written.meta.length / 2) : written.meta));
      files.drop(`/dev/vmm/${guest.name}`);
      return end(guest, saves.exit);
    });
    return ok('', saves.requestCode);
  }

  const isStopped = (guest: RunningGuest): boolean => processTable.get(guest.pid)?.state === 'T';

  function end(guest: RunningGuest, status: number): void {
    processTable.delete(guest.pid);
    if (guest.supervisorPid === null) return void guests.delete(guest.name);
    const isStopping = files.text(`${guest.folder}/stop`) !== undefined;
    const isSuspending = files.text(`${guest.folder}/suspending`) !== undefined;
    if (status === 0 && !isStopping && !isSuspending) return startBhyve(guest);
    files.put(`${guest.folder}/verdict`, `exit=${status}\nat=${seconds()}\nstopping=${isStopping ? 'yes' : 'no'}\nsuspending=${isSuspending ? 'yes' : 'no'}\nrun=${guest.run}\nreason=\n`);
    files.drop(`/dev/vmm/${guest.name}`);
    files.drop(`${guest.folder}/status`);
    processTable.delete(guest.supervisorPid);
    guests.delete(guest.name);
    tell(guest);
  }

  function daemon(args: readonly string[]): RunResult {
    const [, , sh, script = '', folder = '', name = '', , , , , events = '', boot = ''] = args;
    const supervisor = addProcess(`${sh} ${script} ${folder} ${name} …`);
    const guest: RunningGuest = { name, pid: 0, supervisorPid: supervisor.pid, folder, events, run: 0, boot, hasAcpi: true, ignoresButton: false, nmis: 0, memory: '', isSaving: false };
    guests.set(name, guest);
    startBhyve(guest);
    return ok();
  }

  function bhyvectl(args: readonly string[]): RunResult {
    const name = args.find((arg) => arg.startsWith('--vm='))?.slice('--vm='.length) ?? '';
    if (args.length === 0) return ok('', 1, 'Usage: bhyvectl --vm=<vmname>\n       [--destroy]\n');
    if (files.text(`/dev/vmm/${name}`) === undefined) return ok('', 1, `vm_open: ${name} could not be opened: No such file or directory\n`);
    const guest = guests.get(name);
    if (args.includes('--destroy')) {
      files.drop(`/dev/vmm/${name}`);
      if (guest !== undefined) end(guest, 134);
      return ok();
    }
    if (args.includes('--inject-nmi')) {
      if (guest !== undefined) guest.nmis += 1;
      return ok();
    }
    const path = args.find((arg) => arg.startsWith('--suspend='))?.slice('--suspend='.length);
    if (path !== undefined) return guest === undefined ? ok('', 61, 'connect() failed: Connection refused\n') : suspend(guest, path);
    if (args.includes('--force-poweroff')) {
      if (guest === undefined) return ok('errno = 37\n', 255);
      if (isStopped(guest)) return ok(); // nobody is there to act on it
      end(guest, 1);
      return ok();
    }
    // Processors that stand still for a save run no cycles.
    if (guest?.isSaving !== true) cycles = 8_469_476_573 + clock.monotonicMs() * 1000;
    return ok(`vcpu0 stats:\nResident memory                         \t40960\nvcpu total runtime                      \t${cycles}\n`);
  }

  function bhyve(args: readonly string[]): RunResult {
    const line = args.join(' ');
    if (line === '-s help') return ok(`${devices.split(' ').join('\n')}\n`);
    if (line.includes('config.dump=1')) return ok(`lpc.bootrom=/nonexistent\nname=nova-bhyve-probe\n`, 1);
    return ok('', 1, 'Usage: bhyve\n');
  }

  const tools: Partial<Record<ToolName, (args: readonly string[]) => RunResult>> = {
    daemon, bhyvectl, bhyve, ifconfig: (args) => ifconfig.run(args), kldstat: () => ok(), kldload: () => ok(), 'freebsd-version': () => ok('13.2-RELEASE\n'),
    uptime: () => ok(' 5:41AM  up 38 mins, 0 users, load averages: 1.33, 1.27, 1.10\n'),
    netstat: () => ok('{"statistics": {"socket": []}}\n'),
  };
  const execute = (tool: ToolName, args: readonly string[]): RunResult => tools[tool]?.(args) ?? ok('', 127);

  const host: BhyveHost = {
    files: {
      ...base.files, makeDirectory: async (path, mode = 0o700) => { modes.set(path, mode); await base.files.makeDirectory(path, mode); },
      writeAtomic: async (path, content, mode = 0o600) => { modes.set(path, mode); await base.files.writeAtomic(path, content, mode); },
    },
    outside: files, ifconfig, sysctls, processTable, calls, answers, failNextStart: null, saves, counts: false,
    get freeBytes() { return disk.freeBytes; },
    set freeBytes(bytes) { disk.freeBytes = bytes; }, deviceRoot: '/dev', listen: (...args) => base.listen(...args),
    listenForSockets: (...args) => base.listenForSockets(...args), connect: (...args) => base.connect(...args),
    toolPath: (tool) => `/usr/sbin/${tool}`,
    async run(tool, args, options = {}) {
      calls.push(`${tool} ${args.join(' ')}`);
      const result = answers.get(`${tool} ${args.join(' ')}`) ?? execute(tool, args);
      if (result.code === 0 || options.okExits === 'any' || options.okExits?.includes(result.code) === true) return result;
      throw new AgentError('command-failed', `${tool} failed`, { details: { tool, code: result.code, stderr: result.stderr } });
    },
    runWithInput: async () => ok(),
    sysctl: async (name) => sysctls.get(name),
    processes: {
      list: async () => [...processTable.values()],
      find: async (pid) => processTable.get(pid),
      async signal(proof, signal) {
        const found = processTable.get(proof.pid);
        if (found === undefined || found.startedAtSeconds !== proof.startedAtSeconds || found.command !== proof.command) return false;
        calls.push(`kill ${signal} ${found.command}`);
        const guest = [...guests.values()].find(({ pid }) => pid === proof.pid);
        if (guest === undefined) processTable.delete(proof.pid);
        else if (signal === 'SIGKILL') end(guest, 137);
        else if (signal === 'SIGSTOP' || signal === 'SIGCONT') processTable.set(guest.pid, { ...found, state: signal === 'SIGSTOP' ? 'T' : 'S' });
        else if (isStopped(guest)) return true; // pending until it goes on
        else if (signal === 'SIGTERM' && !guest.hasAcpi) end(guest, 143);
        else if (signal === 'SIGTERM' && !guest.ignoresButton) end(guest, 1);
        return true;
      },
      spawnDetached: async () => 0,
    },
    guest: (name) => guests.get(name),
    exit: (name, status) => { const guest = guests.get(name); if (guest !== undefined) end(guest, status); },
    killSupervisor: (name) => {
      const guest = guests.get(name);
      if (guest === undefined || guest.supervisorPid === null) return;
      processTable.delete(guest.supervisorPid);
      processTable.set(guest.pid, { ...processTable.get(guest.pid)!, parentPid: 1 });
      guest.supervisorPid = null;
    },
    reboot: () => {
      for (const guest of guests.values()) files.drop(`/dev/vmm/${guest.name}`);
      guests.clear();
      processTable.clear();
      sysctls.set('kern.boottime', '{ sec = 1795419999, usec = 1 } Mon Nov 23 07:46:39 2026');
    },
    addProcess,
  };
  return host;
}
