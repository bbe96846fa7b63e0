/**
 * A server on disks of qcow2 files on a host with libvdsk: the storage, the hypervisor driver and what is between them as the agent puts them together, and a guest that
 * really boots, writes, is checkpointed while it runs, goes back, and goes without a trace.
 */
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../../src/lib/clock.js';
import { parseCheckpointId, parseImageId, parseInstanceUuid, parseOperationId, type InstanceUuid } from '../../../src/lib/ids.js';
import { createStorage, type NodeStorage } from '../../../src/storage/index.js';
import { noLimits, type HypervisorDriver } from '../../../src/virt/index.js';
import { noMetrics } from '../../fakes/recording-log.js';
import { waitUntil } from '../../fakes/wait-until.js';
import { ensureGuestImage } from '../guest/build.js';
import { defaultRoot } from '../node.js';
import { createLabHost, type LabHost } from '../virt/lab-guest.js';

const bootMs = 240_000;
const GiB = 1n << 30n;
const IMAGE = parseImageId('11111111-1111-4111-8111-111111111111');
const [A, B] = ['a', 'b'].map((letter) => parseCheckpointId(`${letter.repeat(8)}-0000-4000-8000-000000000000`)) as [ReturnType<typeof parseCheckpointId>, ReturnType<typeof parseCheckpointId>];
const OPERATION = parseOperationId('eeeeeeee-0000-4000-8000-000000000000');
const never = new AbortController().signal;

let lab: LabHost;
let driver: HypervisorDriver;
let storage: NodeStorage;
let chains: string;
let instance: InstanceUuid;

beforeAll(async () => {
  lab = await createLabHost('qcow2', 'libvdsk');
  ({ driver } = await lab.newDriver());
  chains = join(lab.node.statePath, 'chains');
  storage = createStorage({
    host: lab.host, root: lab.node.zfsRoot, scratch: join(lab.node.statePath, 'scratch'), clock: systemClock, log: lab.log.log, metrics: noMetrics,
    chains: {
      folder: chains, newDisks: 'qcow2',
      guests: { isRunning: async (uuid) => (await driver.state(uuid)).kind === 'running', moveDisks: driver.moveDisks, checkpointDisks: driver.checkpointDisks },
    },
  });
  await lab.host.run('zfs', ['destroy', '-r', lab.node.zfsRoot]); // made without our marks
  await storage.prepare();
  const { path } = await ensureGuestImage(defaultRoot());
  const hash = createHash('sha512');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  await storage.ensureImage({
    id: IMAGE, name: null, status: 'active', diskFormat: 'raw', containerFormat: 'bare', sizeBytes: BigInt(statSync(path).size), minDiskGiB: 0, minRamMiB: 0, checksum: null,
    hashAlgorithm: 'sha512', hashValue: hash.digest('hex'), properties: {},
  }, async () => createReadStream(path), { maxBytes: null, signal: never });
});
afterEach(async () => {
  await driver.destroy(instance);
  await storage.buryDisks(instance);
  await storage.reap();
  expect([await lab.node.leaks(), ...['instances', 'graveyard'].map((folder) => readdirSync(join(chains, folder))), readdirSync(join(lab.node.statePath, 'scratch'))]).toEqual([[], [], [], []]);
});
afterAll(async () => {
  await lab?.close();
  await lab?.node.destroy();
});

const log = async (): Promise<string> => (await driver.consoleLog(instance, null)) ?? '';
const boots = async (): Promise<number[]> => [...(await log()).matchAll(/guest: boot (\d+)/g)].map((match) => Number(match[1]));
const lastTick = async (): Promise<number> => Number([...(await log()).matchAll(/^tick (\d+)/gm)].at(-1)?.[1] ?? 0);
const countsOn = async (): Promise<void> => {
  const before = await lastTick();
  await waitUntil(async () => (await lastTick()) > before, `it counts beyond ${before}`, bootMs);
};
const isUp = async (times: number): Promise<void> => waitUntil(async () => (await log()).split('guest: ready').length - 1 === times, `the guest is up the ${times}th time`, bootMs);
const define = async (): Promise<void> => {
  const disks = await storage.disks(instance);
  await driver.define({
    instance, name: 'instance-00000001', vcpus: 1, topology: { sockets: 1, cores: 1, threads: 1 }, memoryMiB: 256, configDrive: null, nics: [], hasVnc: false, hasTablet: false, hasRng: false,
    clock: 'utc', limits: noLimits, disks: disks.map(({ role, devicePath, bus }) => ({ role, path: devicePath, serial: `${role}-1`, bus: bus!, kind: 'disk' })),
  });
};
const start = async (): Promise<void> => {
  await define();
  await driver.start(instance);
};
const pathsInConfig = (): string[] => [...readFileSync(join(lab.node.statePath, 'instances', instance, 'bhyve.conf'), 'utf8').matchAll(/^pci\..*\.path=(.*chains.*)$/gm)].map((match) => match[1]!);
const saves = (): string[] => readdirSync(join(lab.node.statePath, 'instances', instance)).filter((name) => name.includes('-0000-4000-8000-'));

async function create(): Promise<void> {
  instance = parseInstanceUuid(randomUUID());
  await storage.createDiskFromImage(instance, 'root', IMAGE, GiB);
  await storage.createBlankDisk(instance, 'eph0', 64n << 20n);
  await storage.createBlankDisk(instance, 'swap', 64n << 20n);
  await storage.fillDisk(instance, 'swap', 'swap');
  await start();
  await isUp(1);
}

test('it boots, is checkpointed while it runs, goes back to before what it wrote since, and is deleted', async () => {
  await create();
  expect(driver.capabilities.hasLibvdsk).toBe(true);
  expect(await log()).toMatch(new RegExp(`guest: disk sd[a-c] root-1 ${GiB}`)); // Linux names SATA disks as they answer

  await storage.createCheckpoint(instance, A, 'running');
  await countsOn();
  const active = (await storage.disks(instance)).map(({ devicePath }) => devicePath);
  expect(active).toEqual(['root', 'eph0', 'swap'].map((role) => join(chains, 'instances', instance, role, A)));
  // What it comes back on when it reboots by itself; and the memory that bhyve has saved on the way is gone.
  expect([pathsInConfig(), saves()]).toEqual([active, []]);

  expect(await driver.softReboot(instance, { graceMs: 60_000, retryMs: 10_000 })).toBe(true);
  await isUp(2);
  await driver.stop(instance, { graceMs: 60_000, retryMs: 10_000 });
  await storage.restoreCheckpoint(instance, A, 'back');
  await start();
  await isUp(3);
  // The second boot is in the disk that was given up.
  expect(await boots()).toEqual([1, 2, 2]);

  await storage.deleteCheckpoint(instance, A);
  expect([await storage.checkpoints(instance), await storage.dropImage(IMAGE)]).toEqual([[], false]);
  await driver.stop(instance, { graceMs: 60_000, retryMs: 10_000 });
  await storage.tidyCheckpoints(instance);
  expect(readdirSync(join(chains, 'instances', instance, 'root')).sort()).toEqual(['back', 'chain.json']);
  await start();
  await isUp(4);
  expect(await boots()).toEqual([1, 2, 2, 3]);
});

test('checkpoints inside its disks, and an image made of it, leave the guest running and its disk whole', async () => {
  await create();
  await storage.takeSnapshot(instance, OPERATION);
  const content = await storage.openSnapshot(instance, OPERATION, { format: 'qcow2', isCompressed: false, signal: never });
  const hash = createHash('sha512');
  const chunks: Uint8Array[] = [];
  for await (const chunk of content.open()) {
    hash.update(chunk);
    chunks.push(chunk);
  }
  expect([content.diskFormat, BigInt(chunks.reduce((sum, { length }) => sum + length, 0))]).toEqual(['qcow2', content.bytes]);
  await storage.dropSnapshot(instance, OPERATION);
  await countsOn();
  await driver.stop(instance, { graceMs: 60_000, retryMs: 10_000 });
  await storage.tidyCheckpoints(instance);
  await start();
  await isUp(2);

  await storage.createCheckpoint(instance, B, 'running', null, undefined, 'internal');
  await countsOn();
  expect([pathsInConfig(), saves()]).toEqual([(await storage.disks(instance)).map(({ devicePath }) => devicePath), []]);
  await driver.stop(instance, { graceMs: 60_000, retryMs: 10_000 });
  await start();
  await isUp(3);
  await driver.stop(instance, { graceMs: 60_000, retryMs: 10_000 });
  await storage.restoreCheckpoint(instance, B, 'inside');
  await start();
  await isUp(4);
  expect(await boots()).toEqual([1, 2, 3, 3]);
});

test('a guest that is paused is not asked, and comes back on the disks that it has', async () => {
  await create();
  const before = pathsInConfig();
  await driver.pause(instance);
  await expect(storage.createCheckpoint(instance, A, 'running')).rejects.toMatchObject({ code: 'guest-checkpoint-refused' });
  expect([pathsInConfig(), await storage.checkpoints(instance)]).toEqual([before, []]);
  await driver.unpause(instance);
  await countsOn();
});
