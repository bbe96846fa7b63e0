/** The life of a guest as the transcripts of 13.2 have it (test/samples/freebsd-13.2/commands/guest-lifecycle.json), with real guests in QEMU. */
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Place } from './contract/replay.js';
import { until } from './engine.js';
import { address, createHandHost, type HandHost, mac, tap, uuid } from './hand-guest.js';
import { waitClean } from './leaks.js';
import type { LabNode } from './node.js';

let hand: HandHost;
let node: LabNode;
let place: Place;
let folder: string;
const ok: HandHost['ok'] = async (...argv) => hand.ok(...argv);
const startRunning: HandHost['startRunning'] = async (args) => hand.startRunning(args);
const writeConfig: HandHost['writeConfig'] = (changes) => hand.writeConfig(changes);
const destroy: HandHost['destroyVm'] = async () => hand.destroyVm();

async function prepare(profile: LabNode['profile']): Promise<void> {
  hand = await createHandHost({ name: 'life', profile });
  ({ node, place, folder } = hand);
}

describe('a guest on stock-13.2', () => {
  beforeAll(async () => prepare('stock-13.2'));
  afterEach(async () => {
    hand.closeConsoles();
    await destroy();
    await until(async () => !(await hand.isTitled()), 120_000, 'bhyve does not end');
  });
  afterAll(async () => node.destroy());

  it('boots, finds what the cloud gave it, comes back from its own reboot and powers off at the button', async () => {
    await hand.writeConfigDrive('#cloud-config\nguest-action=reboot-after=20\n');
    const config = writeConfig();
    const console = hand.readConsole();
    const first = await startRunning(['-k', config, uuid]);
    await until(() => console.text().includes('tick 1'), 120_000, 'the guest does not tick');
    for (const line of [`guest: boot 1`, `guest: uuid ${uuid}`, 'guest: product OpenStack Foundation/OpenStack Nova', 'guest: disk vda serial-0123456789 134217728', 'guest: config-drive /dev/sr0',
      'guest: meta hostname guest.example', 'guest: user-data #cloud-config', `guest: net eth0 ${mac} ${address}/20 mtu 1450`]) expect(console.text()).toContain(line);
    await ok('ip', 'netns', 'exec', node.netns, 'ping', '-c', '1', '-W', '5', address);
    await until(() => console.text().includes('guest: ssh'), 120_000, 'the guest does not serve SSH');
    expect(await ok('ip', 'netns', 'exec', node.netns, 'bash', '-c', 'exec 3<>/dev/tcp/$0/22 && head -n 1 <&3', address)).toMatch(/^SSH-2\.0-dropbear/);

    const shown = await ok('ifconfig', tap);
    expect(shown).toContain(`Opened by PID ${first.process.pid}`);
    expect((await place.run(['zfs', 'destroy', `${node.zfsRoot}/disk`])).stderr).toBe(`cannot destroy '${node.zfsRoot}/disk': dataset is busy\n`);
    expect(await greeting(5979)).toBe('RFB 003.008\n');
    const stats = await ok('bhyvectl', `--vm=${uuid}`, '--cpu=0', '--get-stats');
    expect(Number(/vcpu total runtime\s+(\d+)/.exec(stats)?.[1])).toBeGreaterThan(1e9);

    expect(await first.ended).toEqual({ code: 0, signal: null });
    expect(existsSync(join(node.deviceRoot, 'vmm', uuid))).toBe(true);
    await waitClean(node, /qemu/);

    const second = await startRunning(['-k', config, uuid]);
    await until(() => /guest: boot 2[^]*tick 1/.test(console.text()), 120_000, 'the guest does not come back');
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
    await waitClean(node, /qemu/);
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
    await waitClean(node);
  });
});

describe('a guest on stock-15', () => {
  beforeAll(async () => prepare('stock-15'));
  afterAll(async () => node.destroy());

  it('has its boot ROM at top level and its console on a TCP port, one client at a time', async () => {
    await hand.writeConfigDrive('#cloud-config\n');
    expect(existsSync(join(node.deviceRoot, 'vmmctl'))).toBe(true);
    const running = await startRunning(['-k', writeConfig({ 'lpc.com1.path': 'tcp=127.0.0.1:5978' }), uuid]);
    let text = '';
    const client = connect(5978, '127.0.0.1');
    client.on('data', (data) => (text += data.toString()));
    await until(() => text.includes('guest: ready'), 120_000, 'nothing comes out of the TCP console');
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

