/**
 * What NodeStorage promises, for any pool: runs against the fake zfs (volumes are files) and, in the lab and on FreeBSD, against a
 * real one. Each test finds an empty root and leaves the pool as it was.
 */
import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Host } from '../../../src/host/index.js';
import { systemClock } from '../../../src/lib/clock.js';
import { codeOf } from '../../../src/lib/errors.js';
import { parseCheckpointId, parseImageId, parseInstanceUuid, parseOperationId } from '../../../src/lib/ids.js';
import type { GlanceImage } from '../../../src/openstack/index.js';
import { createStorage, type NodeStorage } from '../../../src/storage/index.js';
import { waitUntil } from '../../fakes/wait-until.js';
import { workOnTree } from './checkpoint-model.js';
import { noMetrics, recordingLog } from '../../fakes/recording-log.js';

export interface PoolUnderTest {
  readonly host: Host;
  /** A dataset below which the test may do as it likes; it does not exist, its parent does. */
  readonly root: string;
  readonly scratch: string;
  /** Runs zfs outside the agent's control: the operator, or another program. */
  zfs(...args: string[]): Promise<{ code: number; stdout: string }>;
  /** Tells a pool that cannot see who has its volumes open; `release` ends it. */
  hold?(dataset: string): void;
  release?(): void;
  /** Tells a pool that cannot see it that somebody wrote to a volume. */
  wrote?(dataset: string): void;
  /** How many sequences of how many steps of random work on checkpoints it has the time for. */
  readonly treeWork: { readonly sequences: number; readonly steps: number };
  dispose(): Promise<void>;
}

const MiB = 1024 * 1024;
const IMAGE = parseImageId('11111111-1111-4111-8111-111111111111');
const ONE = parseInstanceUuid('aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa');
const TWO = parseInstanceUuid('bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb');
const MOVE = 'ffffffff-ffff-4fff-8fff-ffffffffffff';

/** 4 MiB with something at both ends and a hole between. */
function content(): Buffer {
  const disk = Buffer.alloc(4 * MiB);
  disk.write('first octets');
  disk.write('last', disk.length - 4);
  return disk;
}

export function storageSuite(name: string, openPool: () => Promise<PoolUnderTest>): void {
  describe(`storage on ${name}`, () => {
    let pool: PoolUnderTest;
    let storage: NodeStorage;
    let corpus: string;

    const build = (host = pool.host): NodeStorage => createStorage({ host, root: pool.root, scratch: pool.scratch, clock: systemClock, log: recordingLog().log, metrics: noMetrics });
    beforeAll(() => {
      corpus = mkdtempSync(join(tmpdir(), 'storage-suite-'));
      writeFileSync(join(corpus, 'disk.raw'), content());
      execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', 'disk.raw', 'disk.qcow2'], { cwd: corpus });
    });
    afterAll(() => rmSync(corpus, { recursive: true, force: true }));
    beforeEach(async () => {
      pool = await openPool();
      storage = build();
      await storage.prepare();
    });
    afterEach(async () => {
      // Clones first. Some engines see a file as open for a moment after it was closed.
      for (const name of [`${pool.root}/instances`, `${pool.root}/graveyard`, pool.root]) {
        await waitUntil(async () => (await pool.zfs('destroy', '-r', name)).code === 0 || (await pool.zfs('list', '-Hp', '-o', 'name', name)).code !== 0, `${name} is destroyed`);
      }
      await pool.dispose();
    });

    async function ensure(format: 'raw' | 'qcow2' = 'qcow2'): Promise<void> {
      const octets = readFileSync(join(corpus, `disk.${format}`));
      const image: GlanceImage = {
        id: IMAGE, name: null, status: 'active', diskFormat: format, containerFormat: 'bare', sizeBytes: BigInt(octets.length), minDiskGiB: 0, minRamMiB: 0, checksum: null,
        hashAlgorithm: 'sha512', hashValue: createHash('sha512').update(octets).digest('hex'), properties: {},
      };
      await storage.ensureImage(image, async () => (async function* () { yield octets; })(), { maxBytes: null, signal: new AbortController().signal });
    }

    async function read(path: string, start: number, bytes: number): Promise<Buffer> {
      const handle = await open(path, 'r');
      try {
        const { buffer, bytesRead } = await handle.read(Buffer.alloc(bytes), 0, bytes, start);
        return buffer.subarray(0, bytesRead);
      } finally {
        await handle.close();
      }
    }

    async function datasets(): Promise<string[]> {
      const { stdout } = await pool.zfs('list', '-Hp', '-r', '-o', 'name', pool.root);
      return stdout.trim().split('\n').map((line) => line.slice(pool.root.length)).sort();
    }
    const FIXED = ['', '/graveyard', '/images', '/instances'];

    test.each(['raw', 'qcow2'] as const)('a %s image becomes a disk with its octets, grown with zeros', async (format) => {
      await ensure(format);
      const disk = await storage.createDiskFromImage(ONE, 'root', IMAGE, BigInt(16 * MiB));
      expect(disk.bytes).toBe(BigInt(16 * MiB));
      expect((await read(disk.devicePath, 0, 4 * MiB)).equals(content())).toBe(true);
      expect((await read(disk.devicePath, 16 * MiB - 4096, 4096)).every((octet) => octet === 0)).toBe(true);
      expect(await storage.disks(ONE)).toEqual([disk]);
    });

    test('disks of one image are independent, also of later ones', async () => {
      await ensure();
      const first = await storage.createDiskFromImage(ONE, 'root', IMAGE, null);
      const handle = await open(first.devicePath, 'r+');
      await handle.write(Buffer.alloc(4096, 'X'), 0, 4096, 0);
      await handle.close();
      const second = await storage.createDiskFromImage(TWO, 'root', IMAGE, null);
      expect((await read(second.devicePath, 0, 12)).toString()).toBe('first octets');
      expect((await read(first.devicePath, 0, 4)).toString()).toBe('XXXX');
    });

    test('disks that are held still are known as unchanged until somebody writes to one, and can be held anew and let go', async () => {
      const [first, second] = [await storage.createBlankDisk(ONE, 'root', BigInt(4 * MiB)), await storage.createBlankDisk(ONE, 'swap', BigInt(4 * MiB))];
      const held = await storage.holdStill(ONE);
      expect(await storage.stillness(ONE)).toEqual(held);
      const handle = await open(second.devicePath, 'r+');
      await handle.write(Buffer.alloc(4096, 'X'), 0, 4096, 0);
      await handle.sync();
      await handle.close();
      pool.wrote?.(second.dataset!);
      await waitUntil(async () => (await storage.stillness(ONE))['swap'] !== held['swap'], 'the write is seen');
      expect((await storage.stillness(ONE))['root']).toBe(held['root']);
      const again = await storage.holdStill(ONE);
      expect(await storage.stillness(ONE)).toEqual(again);
      await storage.letGo(ONE);
      expect((await datasets()).filter((name) => name.includes('@'))).toEqual([]);
      expect((await read(first.devicePath, 0, 4)).every((octet) => octet === 0)).toBe(true);
    });

    test('everything is found again after a restart of the agent', async () => {
      await ensure();
      const disk = await storage.createDiskFromImage(ONE, 'root', IMAGE, BigInt(8 * MiB));
      storage = build();
      await storage.prepare();
      expect(await storage.instancesWithDisks()).toEqual([ONE]);
      expect(await storage.disks(ONE)).toEqual([disk]);
      expect(await storage.images()).toMatchObject([{ id: IMAGE, isComplete: true, cloneCount: 1 }]);
      expect(await storage.createDiskFromImage(ONE, 'root', IMAGE, BigInt(8 * MiB))).toEqual(disk);
    });

    test('disks live from clone to grave, and their image goes only after them', async () => {
      await ensure();
      const disk = await storage.createDiskFromImage(ONE, 'root', IMAGE, null);
      expect(await storage.dropImage(IMAGE)).toBe(false);
      await storage.buryDisks(ONE);
      await storage.buryDisks(ONE);
      expect(await pool.host.files.exists(disk.devicePath)).toBe(false);
      expect(await storage.dropImage(IMAGE)).toBe(false);
      expect(await storage.reap()).toEqual({ destroyed: 1, left: 0 });
      expect(await storage.dropImage(IMAGE)).toBe(true);
      expect(await datasets()).toEqual(FIXED);
      expect(await storage.images()).toEqual([]);
    });

    test('disks of several roles live side by side: one grows or goes, the others keep their octets', async () => {
      await ensure();
      const root = await storage.createDiskFromImage(ONE, 'root', IMAGE, null);
      const [swap, second, first] = [await storage.createBlankDisk(ONE, 'swap', BigInt(MiB)), await storage.createBlankDisk(ONE, 'eph1', BigInt(2 * MiB)), await storage.createBlankDisk(ONE, 'eph0', BigInt(MiB))];
      expect(await storage.disks(ONE)).toEqual([root, first, second, swap]);
      expect((await read(first.devicePath, 0, MiB)).every((octet) => octet === 0)).toBe(true);
      const handle = await open(first.devicePath, 'r+');
      await handle.write('kept', 0);
      await handle.close();
      expect(await storage.createBlankDisk(ONE, 'eph0', BigInt(MiB))).toEqual(first);
      expect((await storage.growDisk(ONE, 'eph0', BigInt(3 * MiB))).bytes).toBe(BigInt(3 * MiB));
      expect((await storage.growDisk(ONE, 'eph0', BigInt(MiB))).bytes).toBe(BigInt(3 * MiB));
      await storage.buryDisk(ONE, 'root');
      await storage.buryDisk(ONE, 'root');
      expect((await storage.disks(ONE)).map(({ role }) => role)).toEqual(['eph0', 'eph1', 'swap']);
      expect(await storage.reap()).toEqual({ destroyed: 1, left: 0 });
      expect((await read(first.devicePath, 0, 4)).toString()).toBe('kept');
      await storage.buryDisks(ONE);
      await storage.reap();
      expect(await datasets()).toEqual([...FIXED, `/images/${IMAGE}`].sort());
    });

    async function write(path: string, text: string, at: number): Promise<void> {
      const handle = await open(path, 'r+');
      await handle.write(text, at);
      await handle.sync();
      await handle.close();
    }
    const textAt = async (path: string, at: number, length: number): Promise<string> => (await read(path, at, length)).toString();
    const snapshots = async (): Promise<string[]> => (await pool.zfs('list', '-Hp', '-t', 'snapshot', '-o', 'name', '-r', `${pool.root}/instances`)).stdout.split('\n').filter((line) => line !== '');

    test('a move that is reverted gives the disks back as they were: octets, sizes, and no more than there were', async () => {
      await ensure();
      const root = await storage.createDiskFromImage(ONE, 'root', IMAGE, BigInt(8 * MiB));
      const first = await storage.createBlankDisk(ONE, 'eph0', BigInt(2 * MiB));
      await storage.createBlankDisk(ONE, 'swap', BigInt(MiB));
      await write(root.devicePath, 'before', 4096);
      await storage.keepDisks(ONE, MOVE);
      await write(root.devicePath, 'after!', 4096);
      await storage.keepDisks(ONE, MOVE); // the first call decides the moment
      await storage.growDisk(ONE, 'root', BigInt(16 * MiB));
      await storage.growDisk(ONE, 'eph0', BigInt(4 * MiB));
      await write(first.devicePath, 'beyond', 3 * MiB);
      await storage.replaceWithBlank(ONE, 'eph1', BigInt(MiB), MOVE);
      await storage.replaceWithBlank(ONE, 'swap', BigInt(2 * MiB), MOVE);
      await storage.createBlankDisk(TWO, 'root', BigInt(MiB));
      for (const _time of [1, 2]) {
        await storage.revertDisks(ONE, MOVE);
        expect(await storage.disks(ONE)).toEqual([root, first]); // swap's old disk was buried when another took its place
        expect(await textAt(root.devicePath, 4096, 6)).toBe('before');
        expect((await read(root.devicePath, 8 * MiB - 4096, 2 * 4096)).length).toBe(4096);
        expect((await read(first.devicePath, 0, 4 * MiB)).length).toBe(2 * MiB);
      }
      await storage.forgetKept(ONE, MOVE);
      await storage.forgetKept(ONE, MOVE);
      expect(await snapshots()).toEqual([]);
      expect((await storage.reap()).left).toBe(0);
      expect((await storage.disks(TWO)).map(({ role }) => role)).toEqual(['root']);
    });

    test('a move that is confirmed leaves the disks as they are, and no mark; a new one drops what an earlier one kept', async () => {
      await ensure();
      const root = await storage.createDiskFromImage(ONE, 'root', IMAGE, BigInt(8 * MiB));
      await storage.keepDisks(ONE, 'an-earlier-one');
      await write(root.devicePath, 'second', 4096);
      await storage.keepDisks(ONE, MOVE);
      expect(await snapshots()).toEqual([`${root.dataset}@move-${MOVE}`]);
      await storage.growDisk(ONE, 'root', BigInt(16 * MiB));
      await write(root.devicePath, 'after!', 4096);
      await storage.revertDisks(ONE, 'an-earlier-one');
      await storage.forgetKept(ONE, MOVE);
      expect(await snapshots()).toEqual([]);
      expect([await textAt(root.devicePath, 4096, 6), (await storage.disks(ONE))[0]?.bytes]).toEqual(['after!', BigInt(16 * MiB)]);
      await storage.revertDisks(ONE, MOVE);
      expect([await textAt(root.devicePath, 4096, 6), (await storage.disks(ONE))[0]?.bytes]).toEqual(['after!', BigInt(16 * MiB)]);
    });

    test('disks that are kept for a move go with their instance', async () => {
      await ensure();
      await storage.createDiskFromImage(ONE, 'root', IMAGE, null);
      await storage.keepDisks(ONE, MOVE);
      await storage.buryDisks(ONE);
      expect(await storage.reap()).toEqual({ destroyed: 1, left: 0 });
      expect(await datasets()).toEqual([...FIXED, `/images/${IMAGE}`].sort());
    });

    test('a disk takes the place of another on the bus of the old one; the same call finds it again with what was written since, another call puts a new one there', async () => {
      await ensure();
      const old = await storage.createDiskFromImage(ONE, 'root', IMAGE, BigInt(8 * MiB), 'nvme');
      await write(old.devicePath, 'old octets  ', 0);
      const disk = await storage.replaceFromImage(ONE, 'root', IMAGE, BigInt(16 * MiB), 'first');
      expect(disk).toEqual({ ...old, bytes: BigInt(16 * MiB), madeFor: 'first' });
      expect((await read(disk.devicePath, 0, 4 * MiB)).equals(content())).toBe(true);
      await write(disk.devicePath, 'guest', 0);
      expect(await storage.replaceFromImage(ONE, 'root', IMAGE, BigInt(16 * MiB), 'first')).toEqual(disk);
      expect(await textAt(disk.devicePath, 0, 5)).toBe('guest');
      expect(await storage.replaceWithBlank(ONE, 'root', BigInt(MiB), 'second')).toEqual({ ...old, bytes: BigInt(MiB), madeFor: 'second' });
      expect((await read(disk.devicePath, 0, 2 * MiB)).equals(Buffer.alloc(MiB))).toBe(true);
      expect(await storage.reap()).toEqual({ destroyed: 2, left: 0 });
      expect(await datasets()).toEqual([...FIXED, `/images/${IMAGE}`, `/instances/${ONE}`, `/instances/${ONE}/root`].sort());
    });

    test('a disk that is made where there is none is simply made', async () => {
      await ensure();
      expect(await storage.replaceFromImage(ONE, 'root', IMAGE, null, 'first')).toMatchObject({ role: 'root', madeFor: 'first', bus: null });
      expect(await storage.replaceWithBlank(ONE, 'eph0', BigInt(MiB), 'first')).toMatchObject({ role: 'eph0', madeFor: 'first', bytes: BigInt(MiB) });
      expect(await storage.reap()).toEqual({ destroyed: 0, left: 0 });
    });

    test('a disk whose successor cannot be made stays where it is', async () => {
      await ensure();
      const old = await storage.createDiskFromImage(ONE, 'root', IMAGE, BigInt(8 * MiB));
      await write(old.devicePath, 'old octets', 0);
      await expect(storage.replaceFromImage(ONE, 'root', IMAGE, BigInt(MiB), 'first')).rejects.toMatchObject({ code: 'image-too-large' });
      await expect(storage.replaceFromImage(ONE, 'root', parseImageId('22222222-2222-4222-8222-222222222222'), null, 'first')).rejects.toMatchObject({ code: 'image-not-cached' });
      expect(await storage.disks(ONE)).toEqual([old]);
      expect(await textAt(old.devicePath, 0, 10)).toBe('old octets');
      await storage.dropReplacement(ONE, 'root');
      expect(await storage.reap()).toEqual({ destroyed: 0, left: 0 });
    });

    test.each(['raw', 'qcow2'] as const)('a disk in use is kept as it is at one moment, read as %s while its guest writes on, and let go', async (format) => {
      const operation = parseOperationId('cccccccc-cccc-4ccc-8ccc-cccccccccccc');
      await ensure();
      const disk = await storage.createDiskFromImage(ONE, 'root', IMAGE, BigInt(8 * MiB));
      const guest = await open(disk.devicePath, 'r+');
      try {
        await guest.write('before', 4096);
        await guest.sync();
        await storage.takeSnapshot(ONE, operation);
        await storage.takeSnapshot(ONE, operation);
        await guest.write('after!', 4096);
        await guest.sync();
        const kept = await storage.openSnapshot(ONE, operation, { format, isCompressed: false, signal: new AbortController().signal });
        const octets: Uint8Array[] = [];
        for await (const chunk of kept.open()) octets.push(chunk);
        expect([kept.diskFormat, BigInt(Buffer.concat(octets).length)]).toEqual([format, kept.bytes]);
        writeFileSync(join(corpus, `kept.${format}`), Buffer.concat(octets));
        execFileSync('qemu-img', ['convert', '-f', format, '-O', 'raw', `kept.${format}`, 'kept.disk'], { cwd: corpus });
        const expected = Buffer.alloc(8 * MiB);
        content().copy(expected);
        expected.write('before', 4096);
        expect(readFileSync(join(corpus, 'kept.disk')).equals(expected)).toBe(true);
        if (format === 'qcow2') expect(Number(kept.bytes)).toBeLessThan(MiB); // zeros are left out
      } finally {
        await guest.close();
      }
      await waitUntil(() => storage.dropSnapshot(ONE, operation).then(() => true), 'the copy is gone');
      await storage.dropSnapshot(ONE, operation);
      expect(await datasets()).toEqual([...FIXED, `/images/${IMAGE}`, `/instances/${ONE}`, `/instances/${ONE}/root`].sort());
      expect((await pool.zfs('list', '-Hp', '-t', 'snapshot', '-o', 'name', '-r', `${pool.root}/instances`)).stdout).toBe('');
      expect(await pool.host.files.list(pool.scratch)).toEqual([]);
    }, 30_000);

    test('what a crash left of a copy is known by its mark: that of an open operation stays, the other goes, and no copy keeps a disk from its grave', async () => {
      const [left, open] = [parseOperationId('dddddddd-dddd-4ddd-8ddd-dddddddddddd'), parseOperationId('eeeeeeee-eeee-4eee-8eee-eeeeeeeeeeee')];
      await ensure();
      await storage.createDiskFromImage(ONE, 'root', IMAGE, null);
      await storage.takeSnapshot(ONE, left);
      await storage.takeSnapshot(ONE, open);
      storage = build();
      expect(await storage.dropLeftSnapshots((operation) => operation === open)).toBe(1);
      expect((await datasets()).filter((name) => name.includes('snapshot-'))).toEqual([`/instances/${ONE}/snapshot-${open}`]);
      expect((await storage.disks(ONE)).map(({ role }) => role)).toEqual(['root']);
      await storage.buryDisks(ONE);
      await waitUntil(async () => (await storage.reap()).left === 0, 'the grave is empty');
      expect(await datasets()).toEqual([...FIXED, `/images/${IMAGE}`].sort());
      await expect(storage.takeSnapshot(ONE, left)).rejects.toMatchObject({ code: 'disk-missing' });
    }, 30_000);

    test('a disk that is open is not destroyed; it goes when it is closed', async () => {
      await ensure();
      const disk = await storage.createDiskFromImage(ONE, 'root', IMAGE, null);
      const handle = await open(disk.devicePath, 'r');
      pool.hold?.(disk.dataset!);
      try {
        // FreeBSD renames what is open; an engine that does not must say busy.
        const buried = await storage.buryDisks(ONE).then(() => 'buried', codeOf);
        expect(['buried', 'zfs-busy']).toContain(buried);
        expect(await storage.reap()).toEqual({ destroyed: 0, left: buried === 'buried' ? 1 : 0 });
        expect((await handle.read(Buffer.alloc(12), 0, 12, 0)).buffer.toString()).toBe('first octets');
      } finally {
        await handle.close();
        pool.release?.();
      }
      await storage.buryDisks(ONE);
      await waitUntil(async () => (await storage.reap()).left === 0, 'the grave is empty');
      expect(await datasets()).toEqual([...FIXED, `/images/${IMAGE}`].sort());
    }, 30_000);

    test('an import that was cut off is made again', async () => {
      await ensure();
      expect((await pool.zfs('destroy', `${pool.root}/images/${IMAGE}@base`)).code).toBe(0);
      expect(await storage.images()).toMatchObject([{ isComplete: false }]);
      await expect(storage.createDiskFromImage(ONE, 'root', IMAGE, null)).rejects.toMatchObject({ code: 'image-not-cached' });
      await ensure();
      expect(await storage.images()).toMatchObject([{ isComplete: true }]);
    });

    test('what somebody else made below the root is never touched', async () => {
      await ensure();
      await storage.createDiskFromImage(ONE, 'root', IMAGE, null);
      await storage.buryDisks(ONE);
      const grave = (await datasets()).find((dataset) => /^\/graveyard\/[^/]+$/.test(dataset))!;
      await pool.zfs('create', `${pool.root}${grave}/foreign`);
      await pool.zfs('create', `${pool.root}/instances/${TWO}`);
      expect(await storage.reap()).toEqual({ destroyed: 0, left: 1 });
      expect(await storage.buryDisks(TWO).then(() => 'buried', codeOf)).toBe('zfs-foreign');
      expect(await storage.instancesWithDisks()).toEqual([]);
      expect(await datasets()).toEqual(expect.arrayContaining([`${grave}/foreign`, `${grave}/root`, `/instances/${TWO}`]));
    });

    test('a tree of checkpoints is what was asked for through random work and deaths of the agent, and nothing is left when its nodes or its server go', async () => {
      const { sequences, steps } = pool.treeWork;
      for (let at = 0; at < sequences; at += 1) {
        const seed = Number(process.env['TREE_SEED'] ?? Math.floor(Math.random() * 2 ** 32));
        await workOnTree({ host: pool.host, build, instance: ONE, seed, steps, wrote: (dataset) => pool.wrote?.(dataset) });
        if (at % 2 === 0) {
          for (const { id } of await storage.checkpoints(ONE)) await storage.deleteCheckpoint(ONE, id);
          // A grave may hold what a snapshot waits for, and the other way round: one duty after the other, as in life.
          for (let round = 0; round < 8; round += 1) {
            await waitUntil(async () => (await storage.reap()).left === 0, 'the graves are empty');
            await storage.tidyCheckpoints(ONE);
          }
          expect([seed, await datasets()]).toEqual([seed, [...FIXED, `/instances/${ONE}`, `/instances/${ONE}/eph0`, `/instances/${ONE}/root`].sort()]);
          expect((await pool.zfs('list', '-Hp', '-t', 'snapshot', '-o', 'name', '-r', `${pool.root}/instances`)).stdout).toBe('');
        }
        await storage.buryDisks(ONE);
        await waitUntil(async () => (await storage.reap()).left === 0, 'the graves are empty');
        expect([seed, await datasets()]).toEqual([seed, FIXED]);
      }
    }, 600_000);

    test('a disk that is replaced goes aside with its checkpoints; a node holds what its disks held, and knows whether a guest ran and who keeps it', async () => {
      const [first, second] = [parseCheckpointId('33333333-3333-4333-8333-333333333333'), parseCheckpointId('44444444-4444-4444-8444-444444444444')];
      await ensure();
      await storage.createDiskFromImage(ONE, 'root', IMAGE, BigInt(8 * MiB), 'sata');
      await storage.createBlankDisk(ONE, 'swap', BigInt(MiB));
      await storage.createCheckpoint(ONE, first, 'running');
      await storage.createCheckpoint(ONE, first, 'off');
      await storage.replaceFromImage(ONE, 'root', IMAGE, BigInt(16 * MiB), 'a-rebuild');
      await storage.createCheckpoint(ONE, second, 'off', null, { keeper: 'operator', name: 'before upgrade = #2' });
      const common = { parent: null, image: IMAGE, roles: expect.arrayContaining(['root', 'swap']) as string[] };
      expect(await storage.checkpoints(ONE)).toMatchObject([
        { ...common, id: first, guest: 'running', isCurrent: false, bytes: BigInt(9 * MiB), keeper: 'nova', name: null },
        { ...common, id: second, guest: 'off', isCurrent: true, bytes: BigInt(17 * MiB), keeper: 'operator', name: 'before upgrade = #2' },
      ]);
      await storage.restoreCheckpoint(ONE, first, 'a-restore');
      const root = (await storage.disks(ONE)).find(({ role }) => role === 'root')!;
      expect(root).toMatchObject({ bytes: BigInt(8 * MiB), bus: 'sata', madeFor: 'a-restore' });
      expect((await read(root.devicePath, 0, 4 * MiB)).equals(content())).toBe(true);
      expect((await storage.checkpoints(ONE)).map(({ isCurrent }) => isCurrent)).toEqual([true, false]);
      await expect(storage.restoreCheckpoint(ONE, parseCheckpointId('55555555-5555-4555-8555-555555555555'), 'x')).rejects.toMatchObject({ code: 'checkpoint-missing' });
      expect((await storage.disks(ONE)).map(({ madeFor }) => madeFor)).toEqual(['a-restore', 'a-restore']);
    });

    test.each(['raw', 'qcow2'] as const)('each disk of a node is read as %s as it was, whatever took its place since, and the node stays when the copy goes', async (format) => {
      const [checkpoint, operation] = [parseCheckpointId('33333333-3333-4333-8333-333333333333'), parseOperationId('cccccccc-cccc-4ccc-8ccc-cccccccccccc')];
      await ensure();
      await storage.createDiskFromImage(ONE, 'root', IMAGE, BigInt(8 * MiB));
      const swap = await storage.createBlankDisk(ONE, 'swap', BigInt(MiB));
      await write(swap.devicePath, 'swapped', 4096);
      await storage.createCheckpoint(ONE, checkpoint, 'running');
      await write(swap.devicePath, 'another', 4096);
      await storage.replaceFromImage(ONE, 'root', IMAGE, BigInt(16 * MiB), 'a-rebuild');
      const before = await datasets();
      const octetsOf = async (role: 'root' | 'swap'): Promise<Buffer> => {
        await storage.takeCheckpointCopy(ONE, checkpoint, role, operation);
        await storage.takeCheckpointCopy(ONE, checkpoint, role, operation);
        const chunks: Uint8Array[] = [];
        for await (const chunk of (await storage.openSnapshot(ONE, operation, { format, isCompressed: false, signal: new AbortController().signal })).open()) chunks.push(chunk);
        await waitUntil(() => storage.dropSnapshot(ONE, operation).then(() => true), 'the copy is gone');
        writeFileSync(join(corpus, `node.${format}`), Buffer.concat(chunks));
        execFileSync('qemu-img', ['convert', '-f', format, '-O', 'raw', `node.${format}`, 'node.disk'], { cwd: corpus });
        return readFileSync(join(corpus, 'node.disk'));
      };
      const [root, other] = [await octetsOf('root'), await octetsOf('swap')];
      expect([root.length, root.subarray(0, 4 * MiB).equals(content()), other.length, other.subarray(4096, 4103).toString()]).toEqual([8 * MiB, true, MiB, 'swapped']);
      expect(await datasets()).toEqual(before);
      expect((await storage.checkpoints(ONE)).map(({ id, roles }) => [id, [...roles].sort()])).toEqual([[checkpoint, ['root', 'swap']]]);
      await expect(storage.takeCheckpointCopy(ONE, checkpoint, 'eph0', operation)).rejects.toMatchObject({ code: 'disk-missing' });
    }, 60_000);

    test('usage counts what is below the root', async () => {
      const { totalBytes, availableBytes, usedBytes } = await storage.usage();
      expect(availableBytes).toBeGreaterThan(0n);
      expect(totalBytes).toBe(availableBytes + usedBytes);
    });
  });
}
