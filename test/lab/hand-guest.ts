/** Guests started by hand on a lab node, as a supervisor would start them: no agent, one bhyve with its disk, its config drive and its console. */
import { type ChildProcess, spawn } from 'node:child_process';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { localPlace, type Outcome, type Place } from './contract/replay.js';
import { until } from './engine.js';
import { ensureGuestImage } from './guest/build.js';
import { createLabNode, defaultRoot, type LabNode, type LabNodeOptions, type Profile } from './node.js';

export const uuid = '7d2c3b4a-1f60-4c1e-9a57-0c5d7e3f1a21';
export const tap = 'tap7d2c3b4a-1f';
export const mac = 'fa:16:3e:10:20:30';
export const address = '10.20.1.77';

export interface Running {
  readonly process: ChildProcess;
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  output(): string;
}

/** What a guest has printed since somebody reads. */
export interface Console {
  text(): string;
  close(): void;
}

/** A second card: link, address and MAC of an entry of network_data.json. */
export interface Card { readonly mac: string; readonly address: string; readonly netmask: string }

/** A lab node with a clone of the test guest's disk and a tap on its bridge. */
export interface HandHost {
  readonly node: LabNode;
  readonly place: Place;
  /** Configuration, variable store and config drive are here; bhyve's working directory. */
  readonly folder: string;
  /** Makes the node another FreeBSD; guests must be gone. */
  become(profile: Profile): Promise<void>;
  /** stdout of a command that must succeed silently. */
  ok(...argv: string[]): Promise<string>;
  /** Writes bhyve.conf of the guest with some variables changed, or taken out; its path. */
  writeConfig(changes?: Readonly<Record<string, string | null>>): string;
  writeConfigDrive(userData: string, second?: Card): Promise<void>;
  start(args: readonly string[]): Running;
  /** Started and past setting up: the title is set when the machine runs. */
  startRunning(args: readonly string[]): Promise<Running>;
  isTitled(): Promise<boolean>;
  readConsole(): Console;
  /** Ends readers that a failed test left. */
  closeConsoles(): void;
  /** bhyvectl --destroy of the guest. */
  destroyVm(): Promise<Outcome>;
}

/** Makes the node anew. */
export async function createHandHost(options: Pick<LabNodeOptions, 'name' | 'profile'>): Promise<HandHost> {
  await (await createLabNode({ ...options, poolGiB: 4 })).destroy();
  const node = await createLabNode({ ...options, poolGiB: 4 });
  const place = localPlace(node.env, []);
  const folder = join(node.statePath, 'hand');
  mkdirSync(folder, { recursive: true });
  copyFileSync(join(node.firmwareDir, 'BHYVE_UEFI_VARS.fd'), join(folder, 'nvram.fd'));
  const readers: Console[] = [];
  let { profile } = node;
  const host: HandHost = {
    node, place, folder,
    ok: async (...argv) => {
      const { code, stdout, stderr } = await place.run(argv);
      expect({ argv, code, stderr }).toEqual({ argv, code: 0, stderr: '' });
      return stdout;
    },
    become: async (other) => {
      await createLabNode({ name: node.name, profile: other });
      profile = other;
    },
    writeConfig: (changes) => writeConfig(node, profile, folder, changes),
    writeConfigDrive: async (userData, second) => {
      writeDrive(folder, userData, second);
      await host.ok('makefs', '-t', 'cd9660', '-o', 'rockridge,label=config-2', join(folder, 'config.iso'), join(folder, 'drive'));
    },
    start: (args) => start(node, folder, args),
    startRunning: async (args) => {
      const running = host.start(args);
      await until(async () => host.isTitled(), 120_000, `bhyve does not run: ${running.output()}`);
      return running;
    },
    isTitled: async () => (await place.run(['ps', '-axww', '-o', 'pid,command'])).stdout.includes(`bhyve: ${uuid} (bhyve)`),
    readConsole: () => {
      const console = readConsole(node);
      readers.push(console);
      return console;
    },
    closeConsoles: () => {
      for (const console of readers.splice(0)) console.close();
    },
    destroyVm: async () => place.run(['bhyvectl', `--vm=${uuid}`, '--destroy']),
  };
  await prepareDisk(host);
  return host;
}

async function prepareDisk(host: HandHost): Promise<void> {
  const { node } = host;
  const ok: HandHost['ok'] = async (...argv) => host.ok(...argv);
  const image = await ensureGuestImage(defaultRoot());
  await ok('kldload', '-n', 'vmm', 'nmdm');
  await ok('zfs', 'create', '-o', 'volmode=dev', node.zfsRoot);
  await ok('zfs', 'create', '-s', '-V', '64M', `${node.zfsRoot}/image`);
  await ok('dd', `if=${image.path}`, `of=${join(node.deviceRoot, 'zvol', node.zfsRoot, 'image')}`, 'bs=1M', 'conv=notrunc', 'status=none');
  await ok('zfs', 'snapshot', `${node.zfsRoot}/image@base`);
  await ok('zfs', 'clone', '-o', 'volsize=128M', `${node.zfsRoot}/image@base`, `${node.zfsRoot}/disk`);
  await ok('ifconfig', 'tap', 'create', 'name', tap);
  await ok('ifconfig', node.bridge, 'addm', tap);
}

function start(node: LabNode, folder: string, args: readonly string[]): Running {
  const process = spawn('bhyve', args, { env: node.env, cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [process.stdout, process.stderr]) stream.on('data', (data: Buffer) => (output += data.toString()));
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => process.once('close', (code, signal) => resolve({ code, signal })));
  return { process, ended, output: () => output };
}

function writeConfig(node: LabNode, profile: Profile, folder: string, changes: Readonly<Record<string, string | null>> = {}): string {
  const is15 = profile.endsWith('-15');
  const values: Record<string, string | null> = {
    name: uuid, uuid, cpus: '1', 'memory.size': '192M', acpi_tables: 'true', 'rtc.use_localtime': 'false', 'x86.vmexit_on_hlt': 'true', 'x86.strictmsr': 'false',
    'system.manufacturer': 'OpenStack Foundation', 'system.product_name': 'OpenStack Nova', 'pci.0.0.0.device': 'hostbridge', 'pci.0.31.0.device': 'lpc',
    [is15 ? 'bootrom' : 'lpc.bootrom']: join(node.firmwareDir, 'BHYVE_UEFI_CODE.fd'), [is15 ? 'bootvars' : 'lpc.bootvars']: join(folder, 'nvram.fd'), 'lpc.com1.path': join(node.deviceRoot, 'nmdm7A'),
    'pci.0.3.0.device': 'virtio-blk', 'pci.0.3.0.path': join(node.deviceRoot, 'zvol', node.zfsRoot, 'disk'), 'pci.0.3.0.ser': 'serial-0123456789',
    'pci.0.4.0.device': 'ahci', 'pci.0.4.0.port.0.type': 'cd', 'pci.0.4.0.port.0.path': join(folder, 'config.iso'),
    'pci.0.5.0.device': 'virtio-net', 'pci.0.5.0.backend': tap, 'pci.0.5.0.mac': mac, 'pci.0.5.0.mtu': '1450', 'pci.0.29.0.device': 'fbuf', 'pci.0.29.0.rfb': '127.0.0.1:5979',
    'pci.0.30.0.device': 'xhci', 'pci.0.30.0.slot.1.device': 'tablet', ...changes,
  };
  const path = join(folder, 'bhyve.conf');
  writeFileSync(path, Object.entries(values).filter(([, value]) => value !== null).map(([name, value]) => `${name}=${value}\n`).join(''));
  return path;
}

function writeDrive(folder: string, userData: string, second: Card | undefined): void {
  const tree = join(folder, 'drive/openstack/latest');
  mkdirSync(tree, { recursive: true });
  writeFileSync(join(tree, 'meta_data.json'), JSON.stringify({ uuid, hostname: 'guest.example', name: 'guest' }));
  const cards: readonly Card[] = [{ mac, address, netmask: '255.255.240.0' }, ...(second === undefined ? [] : [second])];
  writeFileSync(join(tree, 'network_data.json'), JSON.stringify({
    links: cards.map((card, index) => ({ id: `l${index}`, type: 'bridge', mtu: 1450, ethernet_mac_address: card.mac })), services: [],
    networks: cards.map((card, index) => ({
      id: `network${index}`, type: 'ipv4', link: `l${index}`, ip_address: card.address, netmask: card.netmask,
      routes: index === 0 ? [{ network: '0.0.0.0', netmask: '0.0.0.0', gateway: '10.20.0.1' }] : [],
    })),
  }));
  writeFileSync(join(tree, 'user_data'), userData);
}

/** Reads the B side of the null modem until it closes, as a console logger does. */
function readConsole(node: LabNode): Console {
  const reader = spawn('sh', ['-c', 'while ! cat "$0" 2>/dev/null; do sleep 0.05; done; while sleep 0.05; do cat "$0"; done', join(node.deviceRoot, 'nmdm7B')], { stdio: ['ignore', 'pipe', 'ignore'], detached: true });
  let text = '';
  reader.stdout.on('data', (data: Buffer) => (text += data.toString()));
  let isOpen = true;
  return {
    text: () => text,
    close: () => {
      if (isOpen) process.kill(-reader.pid!, 'SIGKILL');
      isOpen = false;
    },
  };
}
