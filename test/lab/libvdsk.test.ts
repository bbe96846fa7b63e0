/**
 * A guest on qcow2 disks that our chain library has made, on a bhyve with libvdsk: checkpoints inside and outside while it runs, and back to both. The stand-in opens
 * files as libvdsk's source does, so that a chain which it would refuse does not boot here either.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { createHost } from '../../src/host/index.js';
import { systemClock } from '../../src/lib/clock.js';
import { parseCheckpointId } from '../../src/lib/ids.js';
import { createDiskChain, type DiskChain } from '../../src/storage/disk-chain/index.js';
import { noMetrics, recordingLog } from '../fakes/recording-log.js';
import { until } from './engine.js';
import { ensureGuestImage } from './guest/build.js';
import { type Console, createHandHost, type HandHost, type Running, uuid } from './hand-guest.js';
import { defaultRoot } from './node.js';

const [inside, outside, offline] = ['a', 'b', 'c'].map((letter) => parseCheckpointId(`${letter.repeat(8)}-0000-4000-8000-000000000000`)) as [ReturnType<typeof parseCheckpointId>, ReturnType<typeof parseCheckpointId>, ReturnType<typeof parseCheckpointId>];
let hand: HandHost;
let running: Running | undefined;
let chain: DiskChain;
let disks: string;

const qemuImg = (...args: string[]): string => execFileSync('qemu-img', args, { stdio: ['ignore', 'pipe', 'pipe'] }).toString();
const ask = async (what: string, name: string) => hand.place.run(['bhyvectl', `--vm=${uuid}`, `--${what}=${name}`]);
const lastTick = (text: string): number => Number([...text.matchAll(/^tick (\d+)\r?\n/gm)].at(-1)?.[1] ?? 0);
const counts = async (console: Console, beyond: number): Promise<void> => until(() => lastTick(console.text()) > beyond, 240_000, `the guest does not count beyond ${beyond}: ${console.text().slice(-500)}`);
/** How often the guest has counted what it had counted before. */
const timesBack = (text: string): number => {
  const ticks = [...text.matchAll(/^tick (\d+)\r?\n/gm)].map((match) => Number(match[1]));
  return ticks.filter((tick, at) => at > 0 && tick <= ticks[at - 1]!).length;
};
const goesBack = async (console: Console, times: number): Promise<void> => {
  await until(() => timesBack(console.text()) === times, 240_000, `the guest does not count again: ${console.text().slice(-500)}`);
  await counts(console, lastTick(console.text()));
  expect(console.text().match(/guest: boot \d+/g)).toEqual(['guest: boot 1']);
};
const saved = async (name: string): Promise<void> => until(() => (statSync(join(hand.folder, `${name}.meta`), { throwIfNoEntry: false })?.size ?? 0) > 0, 240_000, `${name}.meta stays empty: ${running!.output()}`);
const snapshotsOf = (file: string): string[] => ((JSON.parse(qemuImg('info', '-U', '--output=json', '-f', 'qcow2', file)) as { snapshots?: { name: string }[] }).snapshots ?? []).map(({ name }) => name);
const onAhci = (path: string): string => hand.writeConfig({
  'pci.0.3.0.device': 'ahci', 'pci.0.3.0.path': null, 'pci.0.3.0.ser': null, 'pci.0.3.0.port.0.type': 'hd', 'pci.0.3.0.port.0.path': path, 'pci.0.4.0.device': null,
});
const end = async (): Promise<void> => {
  running?.process.kill('SIGKILL');
  await running?.ended;
  running = undefined;
  await hand.destroyVm();
};

beforeAll(async () => {
  hand = await createHandHost({ name: 'vdsk', profile: 'libvdsk' });
  const images = join(hand.node.statePath, 'images');
  disks = join(hand.node.statePath, 'disk');
  for (const path of [images, disks]) mkdirSync(path, { mode: 0o700 });
  qemuImg('convert', '-f', 'raw', '-O', 'qcow2', '-o', 'cluster_size=32768', (await ensureGuestImage(defaultRoot())).path, join(images, 'guest'));
  const host = createHost({ deviceRoot: hand.node.deviceRoot, path: process.env['PATH'] ?? '', clock: systemClock, log: recordingLog().log, metrics: noMetrics });
  chain = createDiskChain({ host, clock: systemClock, folder: disks, images, maxFiles: 8 });
  await chain.create({ image: join(images, 'guest'), bytes: 128n << 20n });
});
afterEach(async () => {
  hand.closeConsoles();
  await end();
});
afterAll(async () => hand.node.destroy());

it('says what it can do, and cannot suspend', async () => {
  const { stderr } = await hand.place.run(['bhyvectl']);
  for (const option of ['checkpoint=<name>', 'ext-checkpoint=<name>', 'del-checkpoint=<name>']) expect(stderr).toContain(`[--${option}]\n`);
  expect(stderr).not.toContain('suspend=');
});

it('goes back to a checkpoint inside its disk and to one outside, with its memory', async () => {
  const console = hand.readConsole();
  const { activePath } = (await chain.look())!;
  running = await hand.startRunning(['-k', onAhci(activePath), uuid]);
  await counts(console, 1);

  await chain.checkpointRunning(inside, 'internal', async () => {
    await ask('checkpoint', inside);
    await saved(inside);
  });
  await counts(console, lastTick(console.text()) + 3);
  expect(snapshotsOf(activePath)).toEqual([inside]);
  expect((await chain.look())!.nodes.map(({ id, kind }) => [id, kind])).toEqual([[inside, 'internal']]);

  await end();
  execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write -P 90 127M 64k', activePath]); // what came after the checkpoint
  running = await hand.startRunning(['-k', onAhci(activePath), '-r', join(hand.folder, inside), uuid]);
  await goesBack(console, 1);
  execFileSync('qemu-io', ['-r', '-U', '-f', 'qcow2', '-c', 'read -P 0 127M 64k', activePath]); // is given up

  await ask('del-checkpoint', inside);
  await until(() => snapshotsOf(activePath).length === 0, 120_000, 'the checkpoint is not deleted');
  await chain.remove(inside);
  await chain.checkpointRunning(outside, 'external', async () => {
    await ask('ext-checkpoint', outside);
    await saved(outside);
  });
  await counts(console, lastTick(console.text()) + 3);
  const overlay = (await chain.look())!.activePath;
  expect([overlay, (await chain.look())!.current]).toEqual([join(disks, outside), outside]);
  const info = JSON.parse(qemuImg('info', '-U', '--output=json', '-f', 'qcow2', overlay)) as { 'backing-filename': string; 'backing-filename-format': string; 'cluster-size': number };
  expect(info).toMatchObject({ 'backing-filename': activePath, 'backing-filename-format': 'qcow2', 'cluster-size': 32_768 });

  await end();
  await chain.restore(outside, 'back-to-outside');
  const fresh = (await chain.look())!.activePath;
  running = await hand.startRunning(['-k', onAhci(fresh), '-r', join(hand.folder, outside), uuid]);
  await goesBack(console, 2);
});

it('boots the chain that the library has made with the guest off, and has what was written', async () => {
  await chain.checkpoint(offline, 'external');
  const console = hand.readConsole();
  running = await hand.startRunning(['-k', onAhci((await chain.look())!.activePath), uuid]);
  await until(() => /guest: boot (\d+)/.test(console.text()), 240_000, 'the guest does not boot');
  expect(Number(/guest: boot (\d+)/.exec(console.text())![1])).toBeGreaterThan(1);
});

it('opens what libvdsk opens, and makes checkpoints of AHCI disks only', async () => {
  const make = (name: string, ...args: string[]): string => {
    qemuImg('create', '-q', '-f', 'qcow2', ...args, join(disks, name), '64M');
    return onAhci(join(disks, name));
  };
  const says = async (config: string): Promise<string> => {
    const { code, stderr } = await hand.place.run(['bhyve', '-k', config, uuid]);
    await hand.destroyVm();
    expect(code).toBe(4);
    return stderr;
  };
  expect(await says(make('extended', '-o', 'extended_l2=on'))).toContain('unsupported features');
  expect(await says(make('old', '-o', 'compat=0.10', '-b', join(disks, 'base'), '-F', 'qcow2'))).toContain('unsupported features');
  expect(await says(make('wide', '-o', 'cluster_size=65536', '-b', join(disks, 'base'), '-F', 'qcow2'))).toContain('all disks must share clustersize');
  expect(await says(make('relative', '-o', 'cluster_size=32768', '-b', 'base', '-F', 'qcow2'))).toContain('There is no qc->base');

  running = await hand.startRunning(['-k', hand.writeConfig({ 'pci.0.3.0.path': join(disks, 'base'), 'pci.0.4.0.device': null }), uuid]);
  await ask('ext-checkpoint', 'never');
  await until(() => running!.output().includes('on AHCI controllers'), 120_000, 'bhyve does not say why');
  expect([existsSync(join(disks, 'never')), await hand.isTitled()]).toEqual([false, true]);
});
