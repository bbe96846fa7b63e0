/** The life of a guest as the transcripts of 13.2 have it (test/samples/freebsd-13.2/commands/guest-lifecycle.json), with real guests in QEMU. */
import { type ChildProcess, spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { localPlace, type Outcome, type Place } from './contract/replay.js';
import { until } from './engine.js';
import { ensureGuestImage } from './guest/build.js';
import { createLabNode, defaultRoot, type LabNode } from './node.js';

const uuid = '7d2c3b4a-1f60-4c1e-9a57-0c5d7e3f1a21';
const tap = 'tap7d2c3b4a-1f';
const mac = 'fa:16:3e:10:20:30';
const address = '10.20.1.77';

let node: LabNode;
let place: Place;
let folder: string;
const ok = async (...argv: string[]): Promise<string> => {
  const { code, stdout, stderr } = await place.run(argv);
  expect({ argv, code, stderr }).toEqual({ argv, code: 0, stderr: '' });
  return stdout;
};

interface Running {
  readonly process: ChildProcess;
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  output(): string;
}

/** bhyve started the way a supervisor does, in the foreground. */
function start(args: readonly string[]): Running {
  const process = spawn('bhyve', args, { env: node.env, cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [process.stdout, process.stderr]) stream.on('data', (data: Buffer) => (output += data.toString()));
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => process.once('close', (code, signal) => resolve({ code, signal })));
  return { process, ended, output: () => output };
}

const isTitled = async (): Promise<boolean> => (await place.run(['ps', '-axww', '-o', 'pid,command'])).stdout.includes(`bhyve: ${uuid} (bhyve)`);

/** Started and past setting up: the title is set when the machine runs. */
async function startRunning(args: readonly string[]): Promise<Running> {
  const running = start(args);
  await until(isTitled, 30_000, `bhyve does not run: ${running.output()}`);
  return running;
}

function writeConfig(changes: Readonly<Record<string, string | null>> = {}): string {
  const is15 = node.profile === 'stock-15';
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

async function writeConfigDrive(userData: string): Promise<void> {
  const tree = join(folder, 'drive/openstack/latest');
  mkdirSync(tree, { recursive: true });
  writeFileSync(join(tree, 'meta_data.json'), JSON.stringify({ uuid, hostname: 'guest.example', name: 'guest' }));
  writeFileSync(join(tree, 'network_data.json'), JSON.stringify({
    links: [{ id: 'l0', type: 'bridge', mtu: 1450, ethernet_mac_address: mac }], services: [],
    networks: [{ id: 'network0', type: 'ipv4', link: 'l0', ip_address: address, netmask: '255.255.240.0', routes: [{ network: '0.0.0.0', netmask: '0.0.0.0', gateway: '10.20.0.1' }] }],
  }));
  writeFileSync(join(tree, 'user_data'), userData);
  await ok('makefs', '-t', 'cd9660', '-o', 'rockridge,label=config-2', join(folder, 'config.iso'), join(folder, 'drive'));
}

/** Console readers that a failed test left. */
const readers: (() => void)[] = [];

/** Reads the B side of the null modem until it closes, as a console logger does. */
function readConsole(): { text(): string; close(): void } {
  const reader = spawn('sh', ['-c', 'while ! cat "$0" 2>/dev/null; do sleep 0.05; done; while sleep 0.05; do cat "$0"; done', join(node.deviceRoot, 'nmdm7B')], { stdio: ['ignore', 'pipe', 'ignore'], detached: true });
  let text = '';
  reader.stdout.on('data', (data: Buffer) => (text += data.toString()));
  let isOpen = true;
  const close = (): void => {
    if (isOpen) process.kill(-reader.pid!, 'SIGKILL');
    isOpen = false;
  };
  readers.push(close);
  return { text: () => text, close };
}

const destroy = async (): Promise<Outcome> => place.run(['bhyvectl', `--vm=${uuid}`, '--destroy']);

async function prepare(profile: LabNode['profile']): Promise<void> {
  const options = { name: 'life', profile, poolGiB: 4 } as const;
  await (await createLabNode(options)).destroy();
  node = await createLabNode(options);
  place = localPlace(node.env, []);
  folder = join(node.statePath, 'hand');
  mkdirSync(folder, { recursive: true });
  copyFileSync(join(node.firmwareDir, 'BHYVE_UEFI_VARS.fd'), join(folder, 'nvram.fd'));
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

/** No engine behind a guest that is gone. */
const engines = async (): Promise<string[]> => (await node.leaks()).filter((line) => line.includes('qemu'));

describe('a guest on stock-13.2', () => {
  beforeAll(async () => prepare('stock-13.2'));
  afterEach(async () => {
    for (const close of readers.splice(0)) close();
    await destroy();
    await until(async () => !(await isTitled()), 10_000, 'bhyve does not end');
  });
  afterAll(async () => node.destroy());

  it('boots, finds what the cloud gave it, comes back from its own reboot and powers off at the button', async () => {
    await writeConfigDrive('#cloud-config\nguest-action=reboot-after=9\n');
    const config = writeConfig();
    const console = readConsole();
    const first = await startRunning(['-k', config, uuid]);
    await until(() => console.text().includes('tick 1'), 90_000, 'the guest does not tick');
    for (const line of [`guest: boot 1`, `guest: uuid ${uuid}`, 'guest: product OpenStack Foundation/OpenStack Nova', 'guest: disk vda serial-0123456789 134217728', 'guest: config-drive /dev/sr0',
      'guest: meta hostname guest.example', 'guest: user-data #cloud-config', `guest: net eth0 ${mac} ${address}/20 mtu 1450`]) expect(console.text()).toContain(line);
    await ok('ip', 'netns', 'exec', node.netns, 'ping', '-c', '1', '-W', '5', address);
    await until(() => console.text().includes('guest: ssh'), 30_000, 'the guest does not serve SSH');
    expect(await ok('ip', 'netns', 'exec', node.netns, 'bash', '-c', 'exec 3<>/dev/tcp/$0/22 && head -n 1 <&3', address)).toMatch(/^SSH-2\.0-dropbear/);

    const shown = await ok('ifconfig', tap);
    expect(shown).toContain(`Opened by PID ${first.process.pid}`);
    expect((await place.run(['zfs', 'destroy', `${node.zfsRoot}/disk`])).stderr).toBe(`cannot destroy '${node.zfsRoot}/disk': dataset is busy\n`);
    expect(await greeting(5979)).toBe('RFB 003.008\n');
    const stats = await ok('bhyvectl', `--vm=${uuid}`, '--cpu=0', '--get-stats');
    expect(Number(/vcpu total runtime\s+(\d+)/.exec(stats)?.[1])).toBeGreaterThan(1e9);

    expect(await first.ended).toEqual({ code: 0, signal: null });
    expect(existsSync(join(node.deviceRoot, 'vmm', uuid))).toBe(true);
    expect(await engines()).toEqual([]);

    const second = await startRunning(['-k', config, uuid]);
    await until(() => /guest: boot 2[^]*tick 1/.test(console.text()), 90_000, 'the guest does not come back');
    second.process.kill('SIGTERM');
    expect(await second.ended).toEqual({ code: 1, signal: null });
    expect(console.text()).toContain('guest: power button');
  });

  it('is killed by SIGTERM while its firmware runs, and stays busy until it is destroyed', async () => {
    const config = writeConfig();
    const running = await startRunning(['-k', config, uuid]);
    running.process.kill('SIGTERM');
    expect(await running.ended).toEqual({ code: null, signal: 'SIGTERM' });
    expect(await place.run(['bhyve', '-k', config, uuid])).toMatchObject({ code: 4, stderr: 'vm_reinit: Device busy\n' });
    expect((await destroy()).code).toBe(0);
    expect(existsSync(join(node.deviceRoot, 'vmm'))).toBe(false);
  });

  it('takes its engine with it when it is killed, and frees its disk and tap', async () => {
    const running = await startRunning(['-k', writeConfig(), uuid]);
    running.process.kill('SIGKILL');
    expect(await running.ended).toEqual({ code: null, signal: 'SIGKILL' });
    await until(async () => (await engines()).length === 0, 5000, 'the engine outlives bhyve');
    expect(await ok('ifconfig', tap)).toContain('status: no carrier');
    expect(readdirSync(join(node.deviceRoot, 'vmm'))).toEqual([uuid]);
  });

  it('aborts when its VM is destroyed under it', async () => {
    const running = await startRunning(['-k', writeConfig(), uuid]);
    expect(await destroy()).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(await running.ended).toEqual({ code: null, signal: 'SIGABRT' });
    expect((await destroy()).code).toBe(1);
  });

  it('ends with 1 when forced off and with 0 when forced to reset, once', async () => {
    const config = writeConfig();
    for (const [order, code] of [['--force-poweroff', 1], ['--force-reset', 0]] as const) {
      const running = await startRunning(['-k', config, uuid]);
      await ok('bhyvectl', `--vm=${uuid}`, order);
      expect(await running.ended).toEqual({ code, signal: null });
      expect(await place.run(['bhyvectl', `--vm=${uuid}`, order])).toEqual({ code: 255, stdout: 'errno = 37\n', stderr: '' });
    }
    const config2 = writeConfig({ 'memory.size': '256M' });
    expect(await place.run(['bhyve', '-k', config2, uuid])).toMatchObject({ code: 4, stderr: 'Unable to setup memory (22)\n' });
  });

  it('keeps others off its name and its tap', async () => {
    const running = await startRunning(['-k', writeConfig(), uuid]);
    expect(await place.run(['bhyve', '-k', writeConfig(), uuid])).toMatchObject({ code: 4, stderr: 'vm_reinit: Device busy\n' });
    const other = await place.run(['bhyve', '-k', writeConfig({ name: 'other', 'pci.0.29.0.device': null }), 'other']);
    expect(other).toEqual({ code: 4, stdout: `open of tap device /dev/${tap} failed\n`, stderr: 'device emulation initialization error: Device busy\n' });
    expect(readdirSync(join(node.deviceRoot, 'vmm')).sort()).toEqual([uuid, 'other'].sort());
    await ok('bhyvectl', '--vm=other', '--destroy');
    await ok('bhyvectl', `--vm=${uuid}`, '--force-poweroff');
    await running.ended;
  });

  it('refuses an empty value and an alias of the command line in a file', async () => {
    const path = join(folder, 'bad.conf');
    writeFileSync(path, `name=${uuid}\nuuid=\n`);
    expect(await place.run(['bhyve', '-k', path, uuid])).toEqual({ code: 4, stdout: '', stderr: `bhyve: ${path} line 2: invalid config option 'uuid='\n` });
    const alias = await place.run(['bhyve', '-k', writeConfig({ 'pci.0.3.0.device': 'ahci-hd' }), uuid]);
    expect(alias).toMatchObject({ code: 4 });
    expect(alias.stderr).toContain('legacy device "ahci-hd", use "ahci" instead');
  });

  it('is told by leaks, and a clean node has none', async () => {
    const running = await startRunning(['-k', writeConfig(), uuid]);
    const lines = (await node.leaks()).join('\n');
    for (const word of [`interface ${tap}`, `bhyve: ${uuid}`, `vmm node ${uuid}`, `dataset ${node.zfsRoot}/disk`, 'qemu']) expect(lines).toContain(word);
    running.process.kill('SIGKILL');
    await running.ended;
    await destroy();
    await ok('ifconfig', tap, 'destroy');
    await ok('zfs', 'destroy', '-R', `${node.zfsRoot}/image`);
    expect(await node.leaks()).toEqual([]);
  });
});

describe('a guest on stock-15', () => {
  beforeAll(async () => prepare('stock-15'));
  afterAll(async () => node.destroy());

  it('has its boot ROM at top level and its console on a TCP port, one client at a time', async () => {
    await writeConfigDrive('#cloud-config\n');
    expect(existsSync(join(node.deviceRoot, 'vmmctl'))).toBe(true);
    const running = await startRunning(['-k', writeConfig({ 'lpc.com1.path': 'tcp=127.0.0.1:5978' }), uuid]);
    let text = '';
    const client = connect(5978, '127.0.0.1');
    client.on('data', (data) => (text += data.toString()));
    await until(() => text.includes('guest: ready'), 90_000, 'nothing comes out of the TCP console');
    expect(await greeting(5978)).toBe('');
    running.process.kill('SIGTERM');
    expect(await running.ended).toEqual({ code: 1, signal: null });
    client.destroy();
  });

  it('warns of the old key of the boot ROM', async () => {
    const { stdout } = await place.run(['bhyve', '-l', 'bootrom,/x', '-o', 'config.dump=1', 'vm']);
    expect(stdout).toContain('\nbootrom=/x\n');
    const old = await place.run(['bhyve', '-k', writeConfig({ bootrom: null, bootvars: null, 'lpc.bootrom': '/nosuch' }), 'vm']);
    expect(old.stderr).toMatch(/lpc\.bootrom[^]*Error opening bootrom "\/nosuch"/);
  });
});

/** What a server says first; '' if it hangs up. */
async function greeting(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('data', (data) => {
      resolve(data.toString());
      socket.destroy();
    });
    socket.once('close', () => resolve(''));
    socket.once('error', reject);
    socket.setTimeout(10_000, () => reject(new Error('no greeting')));
  });
}

