/** Saving and restoring real guests: what a guest notices, and what it does not. Words, codes and files are in contract/snapshot.test.ts. */
import { existsSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { until } from './engine.js';
import { waitClean } from './leaks.js';
import { address, type Console, createHandHost, type HandHost, type Running, uuid } from './hand-guest.js';

let hand: HandHost;
let running: Running | undefined;
const secondTap = 'tap7d2c3b4a-2f';
/** In VLAN 120, where the first card is not. */
const second = { mac: 'fa:16:3e:10:20:31', address: '10.21.0.77', netmask: '255.255.255.0' } as const;

/** What is to go wrong from now on: lines of save.conf. */
function wish(...lines: readonly string[]): void {
  writeFileSync(join(hand.node.path, 'etc/save.conf'), lines.map((line) => `${line}\n`).join(''));
}

const file = (name: string): string => join(hand.folder, name);
const ask = async (what: 'suspend' | 'checkpoint', name: string) => hand.place.run(['bhyvectl', `--vm=${uuid}`, `--${what}=${file(name)}`]);
const pings = async (target: string): Promise<boolean> => (await hand.place.run(['ip', 'netns', 'exec', hand.node.netns, 'ping', '-c', '2', '-i', '0.2', '-W', '1', target])).code === 0;
const answers = async (...targets: readonly string[]): Promise<void> => {
  for (const target of targets) await until(async () => pings(target), 120_000, `${target} does not answer`);
};
const lastTick = (text: string): number => Number([...text.matchAll(/^tick (\d+)\r?\n/gm)].at(-1)?.[1] ?? 0);
/** Waits until the guest has counted beyond a number. */
const counts = async (console: Console, beyond: number): Promise<void> => until(() => lastTick(console.text()) > beyond, 120_000, `the guest does not count beyond ${beyond}: ${console.text().slice(-500)}`);
const isEntry = (): boolean => existsSync(join(hand.node.deviceRoot, 'vmm', uuid));

async function boot(): Promise<{ config: string; console: Console }> {
  await hand.writeConfigDrive('#cloud-config\n', second);
  const config = hand.writeConfig({ 'pci.0.6.0.device': 'virtio-rnd', 'pci.0.7.0.device': 'virtio-net', 'pci.0.7.0.backend': secondTap, 'pci.0.7.0.mac': second.mac });
  const console = hand.readConsole();
  running = await hand.startRunning(['-k', config, uuid]);
  await until(() => console.text().includes('guest: ssh'), 120_000, 'the guest does not serve SSH'); // its last word that is no number
  await counts(console, lastTick(console.text()));
  return { config, console };
}

/** The wire of the guest's second card. */
async function addSecondTap(): Promise<void> {
  await hand.ok('ifconfig', `${hand.node.uplink}.120`, 'create');
  await hand.ok('ifconfig', 'bridge', 'create', 'name', 'br-120');
  await hand.ok('ifconfig', 'tap', 'create', 'name', secondTap);
  await hand.ok('ifconfig', 'br-120', 'addm', secondTap, 'addm', `${hand.node.uplink}.120`, 'up');
  await hand.ok('ifconfig', `${hand.node.uplink}.120`, 'up');
}

beforeAll(async () => {
  hand = await createHandHost({ name: 'save', profile: 'snapshot-13.2' });
  await addSecondTap();
});
afterEach(async () => {
  hand.closeConsoles();
  running?.process.kill('SIGKILL');
  await running?.ended;
  await hand.destroyVm();
  rmSync(join(hand.node.path, 'etc/save.conf'), { force: true });
});
afterAll(async () => hand.node.destroy());

describe('a guest on snapshot-13.2', () => {
  it('counts on after a suspend and a restore, on its first card, and has lost the second', async () => {
    const { config, console } = await boot();
    await answers(address, second.address);
    expect((await ask('suspend', 'su')).code).toBe(64);
    expect(await running!.ended).toEqual({ code: 0, signal: null });
    const counted = lastTick(console.text());
    expect([isEntry(), statSync(file('su')).size]).toEqual([false, 192 << 20]);
    await waitClean(hand.node, /qemu/);

    running = await hand.startRunning(['-k', config, '-r', file('su'), uuid]);
    await counts(console, counted + 1);
    // Nothing was said between the two numbers: no firmware, no kernel, no second boot.
    expect(console.text()).toContain(`tick ${counted}\r\ntick ${counted + 1}\r\n`);
    await answers(address);
    expect(await pings(second.address)).toBe(false);
    running.process.kill('SIGTERM');
    expect(await running.ended).toEqual({ code: 1, signal: null });
    expect(console.text().match(/guest: boot \d+/g)).toEqual(['guest: boot 1']);
  });
});

describe('a guest on snapshot-15', () => {
  beforeAll(async () => hand.become('snapshot-15'));

  it('goes on whatever a save runs into, keeps both cards over a restore, and is gone when bhyve is killed while it saves', async () => {
    const { config, console } = await boot();
    const goesOn = async (): Promise<void> => counts(console, lastTick(console.text()));
    const meta = async (name: string): Promise<void> => until(() => (statSync(file(`${name}.meta`), { throwIfNoEntry: false })?.size ?? 0) > 0, 120_000, `${name}.meta stays empty`);

    wish('unsavable="virtio-rnd"');
    expect(await ask('suspend', 'no')).toEqual({ code: 0, stdout: '', stderr: '' });
    await meta('no');
    await goesOn();
    expect(running!.output()).toContain('Failed to snapshot virtio-rnd@pci.0.6.0; ret=45\n');

    wish('full_after="1000000"');
    await ask('suspend', 'full');
    await until(() => running!.output().includes('No space left on device'), 120_000, 'the disk is not full');
    await goesOn();
    expect([statSync(file('full.meta')).size, isEntry()]).toEqual([0, true]);

    wish('meta_bytes="100"', 'request_exit="64"');
    expect((await ask('checkpoint', 'short')).code).toBe(64);
    await meta('short');
    await goesOn();
    expect(statSync(file('short.meta')).size).toBe(100);
    expect(await hand.place.run(['bhyve', '-k', config, '-r', file('short'), uuid])).toMatchObject({ code: 1 });

    wish();
    await ask('suspend', 'su');
    expect(await running!.ended).toEqual({ code: 5, signal: null });
    const counted = lastTick(console.text());
    wish('restore="refused"');
    expect(await hand.place.run(['bhyve', '-k', config, '-r', file('su'), uuid])).toMatchObject({ code: 65 });
    wish('suspend_exit="0"');
    running = await hand.startRunning(['-k', config, '-r', file('su'), uuid]);
    await counts(console, counted + 1);
    expect(console.text()).toContain(`tick ${counted}\r\ntick ${counted + 1}\r\n`);
    await answers(address, second.address);

    wish('bytes_per_second="20000000"', 'killed_after="4000000"');
    await ask('suspend', 'dead');
    expect(await running.ended).toEqual({ code: null, signal: 'SIGKILL' });
    expect([statSync(file('dead')).size < 8_000_000, statSync(file('dead.meta')).size, isEntry()]).toEqual([true, 0, true]);
  });
});
