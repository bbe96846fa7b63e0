/**
 * A FreeBSD compute node on this Linux machine: folder, stand-ins, pool, network namespace. See README.md for the layout and for
 * use by hand. Everything here is idempotent: what is there is looked at and left alone.
 */
import { execFile } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, rmdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { compiled, ensureStandIns, ensureZfsFuse, repository, runRoot, stopZfsFuseIfIdle, until, withMachineLock } from './engine.js';
import { findLeaks } from './leaks.js';
import { ensureNetwork, removeNetwork } from './network.js';
import { bootSeconds, isAlive, openNode, type Processor } from './stand-ins/lib/lab-node.js';
import { factsOf, type Profile } from './stand-ins/lib/profiles.js';

export type { Profile } from './stand-ins/lib/profiles.js';

const run = promisify(execFile);

export interface LabNodeOptions {
  /** Short: names of interfaces and sockets are made from it. Letters, digits and -. */
  readonly name: string;
  readonly profile: Profile;
  /** Default: NOVA_BHYVE_LAB, else /var/lib/nova-bhyve-lab. */
  readonly root?: string;
  /** Whose processor the host has; default AMD's, as the recorded one. */
  readonly processor?: Processor;
  /** Size of the pool's sparse file; default 20. An existing pool keeps its size. */
  readonly poolGiB?: number;
}

export interface LabNode {
  readonly name: string;
  readonly path: string;
  readonly profile: Profile;
  readonly netns: string;
  /** Environment for the agent and for commands by hand: PATH with the stand-ins first, LAB_NODE. */
  readonly env: NodeJS.ProcessEnv;
  readonly deviceRoot: string;
  readonly firmwareDir: string;
  /** `lab-NAME/nova`; not created, that is the agent's. */
  readonly zfsRoot: string;
  readonly statePath: string;
  readonly bridge: 'br-physnet1';
  readonly uplink: 'uplink0';
  /** Like /var/run/dmesg.boot. */
  readonly bootMessagesPath: string;
  /** Ends every process of the node and takes pool, namespace and folder away. */
  destroy(): Promise<void>;
  /** Lines about everything that should not be there when no guest exists; empty = clean. */
  leaks(): Promise<string[]>;
  /** A power cut: all processes killed, the kernel's state (taps, vmm, modules) gone, disks as they were, a new boot time. */
  rebootHost(): Promise<void>;
}

export const defaultRoot = (): string => process.env['NOVA_BHYVE_LAB'] ?? '/var/lib/nova-bhyve-lab';

/** Tools that bin/ offers; all others (sh, dd, makefs, qemu-img …) are the machine's own. */
const tools = [
  'bhyve', 'bhyvectl', 'zfs', 'zpool', 'ifconfig', 'sysctl', 'kldstat', 'kldload', 'kldunload', 'ps', 'daemon', 'pwait', 'limits', 'rctl', 'uname', 'freebsd-version', 'netstat', 'uptime', 'pciconf',
] as const;

export async function createLabNode(options: LabNodeOptions): Promise<LabNode> {
  if (!/^[a-z][a-z0-9-]{0,11}$/.test(options.name)) throw new Error(`a lab node's name is short and plain: ${options.name}`);
  const path = join(options.root ?? defaultRoot(), 'nodes', options.name);
  await ensureStandIns();
  if (isOfEarlierBoot(path)) await clearKernelState(path);
  prepareFolder(path, options);
  await Promise.all([ensurePool(path, options), ensureNetwork(path)]);
  await run(join(path, 'bin/zfs'), ['-labmount']);
  return describe(path, options);
}

function describe(path: string, options: LabNodeOptions): LabNode {
  const node: LabNode = {
    name: options.name, path, profile: options.profile, netns: `nb-${options.name}`, deviceRoot: join(path, 'dev'), firmwareDir: join(path, 'firmware'), zfsRoot: `lab-${options.name}/nova`,
    statePath: join(path, 'state'), bridge: 'br-physnet1', uplink: 'uplink0', bootMessagesPath: join(path, 'run/dmesg.boot'),
    env: { ...process.env, PATH: `${join(path, 'bin')}:${process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin'}`, LAB_NODE: path },
    destroy: async () => destroyNode(path, options.name),
    leaks: async () => findLeaks(path),
    rebootHost: async () => {
      const before = bootSeconds(openNode(path));
      await clearKernelState(path);
      prepareFolder(path, options, before + 1);
      await ensureNetwork(path);
      await run(join(path, 'bin/zfs'), ['-labmount']);
    },
  };
  return node;
}

/** This machine's own; a node of before its reboot has lost its kernel's state too. */
const machineBoot = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
const bootMark = (path: string): string => join(path, 'run/machine-boot');
const isOfEarlierBoot = (path: string): boolean => existsSync(bootMark(path)) && readFileSync(bootMark(path), 'utf8') !== machineBoot();

async function clearKernelState(path: string): Promise<void> {
  await killProcesses(path);
  await removeNetwork(path);
  for (const name of ['dev', 'run']) clearFolder(join(path, name));
}

/** `notBefore`: boot times of one node differ by a second at least, as on a host that takes its time to boot. */
function prepareFolder(path: string, { profile, processor }: LabNodeOptions, notBefore = 0): void {
  for (const name of ['bin', 'dev', 'etc', 'firmware', 'log', 'pool', 'run', 'run/zvol', 'state']) mkdirSync(join(path, name), { recursive: true });
  writeIfOther(join(path, 'profile'), `${profile}\n`);
  writeIfOther(join(path, 'processor'), `${processor ?? 'amd'}\n`);
  for (const tool of tools) {
    // bhyve lives long: it gets a small heap and few threads.
    const flags = tool === 'bhyve' ? '--max-old-space-size=48 --v8-pool-size=1' : '--v8-pool-size=0';
    // What a program holds tells of its sandbox; a line of sh holds it for the one that it stands for.
    const words = tool === 'bhyve' ? `# ${wordsIn[factsOf(profile).save?.sandbox ?? 'folder']}\n` : '';
    writeIfOther(join(path, 'bin', tool), `#!/bin/sh\n${words}LAB_NODE='${path}' exec '${process.execPath}' ${flags} '${join(compiled, `${tool}.js`)}' "$@"\n`);
    chmodSync(join(path, 'bin', tool), 0o755);
  }
  for (const [name, file] of [['BHYVE_UEFI_CODE.fd', 'OVMF_CODE_4M.fd'], ['BHYVE_UEFI_VARS.fd', 'OVMF_VARS_4M.fd']] as const) {
    if (!existsSync(join(path, 'firmware', name))) symlinkSync(join('/usr/share/OVMF', file), join(path, 'firmware', name));
  }
  if (!existsSync(join(path, 'run/boot.json'))) writeFileSync(join(path, 'run/boot.json'), JSON.stringify({ seconds: Math.max(notBefore, Math.floor(Date.now() / 1000)) }));
  writeIfOther(bootMark(path), machineBoot());
  writeIfOther(join(path, 'run/dmesg.boot'), readFileSync(join(repository, `test/lab/dmesg-${processor ?? 'amd'}.boot`), 'utf8'));
}

/** Imports and keys by which bhyves with and without Capsicum differ. */
const wordsIn = { none: 'cap_rights_limit', folder: 'cap_enter fddir', 'first-disk': 'cap_enter' } as const;

function writeIfOther(path: string, text: string): void {
  if (!existsSync(path) || readFileSync(path, 'utf8') !== text) writeFileSync(path, text);
}

async function ensurePool(path: string, options: LabNodeOptions): Promise<void> {
  const pool = `lab-${options.name}`;
  await ensureZfsFuse();
  await withMachineLock(async () => {
    const zpool = async (...args: string[]): Promise<string> => (await run('/usr/sbin/zpool', args)).stdout;
    if ((await zpool('list', '-H', '-o', 'name')).split('\n').includes(pool)) return;
    const file = join(path, 'pool/vdev');
    if (existsSync(file)) {
      await zpool('import', '-d', join(path, 'pool'), '-o', 'cachefile=none', '-N', pool);
      return;
    }
    await run('truncate', ['-s', `${options.poolGiB ?? 20}G`, file]);
    await zpool('create', '-o', 'cachefile=none', '-O', 'mountpoint=none', '-O', 'atime=off', pool, file);
  });
}

/** Processes whose environment names the node, engines behind the stand-ins included; children of others are theirs to end. */
function processesOf(path: string): number[] {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number).filter((pid) => {
    if (pid === process.pid) return false;
    try {
      return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(`LAB_NODE=${path}`);
    } catch {
      return false; // gone
    }
  });
}

/** Twice, because a supervisor may start something while it is looked at. */
async function killProcesses(path: string): Promise<void> {
  await until(() => {
    const pids = processesOf(path);
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // gone in between
      }
    }
    return pids.filter(isAlive).length === 0;
  }, 60_000, `processes of ${path} do not end`);
}

/** Mounts of volumes stay: their datasets keep their keys. */
function clearFolder(folder: string): void {
  for (const entry of readdirSync(folder)) if (entry !== 'zvol' || !folder.endsWith('/run')) rmSync(join(folder, entry), { recursive: true, force: true });
}

async function destroyNode(path: string, name: string): Promise<void> {
  await killProcesses(path);
  await removeNetwork(path);
  await withMachineLock(async () => {
    for (const key of existsSync(join(path, 'run/zvol')) ? readdirSync(join(path, 'run/zvol')) : []) await run('umount', [join(path, 'run/zvol', key)]).catch(() => undefined);
    await run('/usr/sbin/zpool', ['destroy', '-f', `lab-${name}`]).catch(() => undefined); // not there: never got that far
  });
  await stopZfsFuseIfIdle();
  rmSync(join(runRoot, name), { recursive: true, force: true });
  for (const key of existsSync(join(path, 'run/zvol')) ? readdirSync(join(path, 'run/zvol')) : []) rmdirSync(join(path, 'run/zvol', key));
  rmSync(path, { recursive: true, force: true });
}
