/**
 * Servers on disks of qcow2 files: the whole storage with the real qemu-img; only zfs is the fake one, and bhyve a few lines that do what libvdsk does to a file. What a
 * file holds is asked of qemu-img. Skipped with a reason where it is not installed.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/lib/clock.js';
import { AgentError, codeOf } from '../../../src/lib/errors.js';
import { parseCheckpointId, parseImageId, parseInstanceUuid, parseOperationId, type InstanceUuid } from '../../../src/lib/ids.js';
import type { GlanceImage } from '../../../src/openstack/index.js';
import { createStorage, type ChainGuests, type DiskForm, type DiskRole, type NodeStorage } from '../../../src/storage/index.js';
import { noMetrics, recordingLog } from '../../fakes/recording-log.js';
import { openFilePool, type FilePool } from './file-pool.js';

const hasTools = ['/usr/bin', '/usr/local/bin'].some((folder) => existsSync(join(folder, 'qemu-img')) && existsSync(join(folder, 'qemu-io')));
const MiB = 1024 * 1024;
const IMAGE = parseImageId('11111111-1111-4111-8111-111111111111');
const OTHER = parseImageId('22222222-2222-4222-8222-222222222222');
const ONE = parseInstanceUuid('aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa');
const [A, B, C] = ['a', 'b', 'c'].map((letter) => parseCheckpointId(`${letter.repeat(8)}-0000-4000-8000-000000000000`)) as [ReturnType<typeof parseCheckpointId>, ReturnType<typeof parseCheckpointId>, ReturnType<typeof parseCheckpointId>];
const OPERATION = parseOperationId('eeeeeeee-0000-4000-8000-000000000000');
const MOVE = 'ffffffff-ffff-4fff-8fff-ffffffffffff';
const never = new AbortController().signal;

const qemu = (tool: 'qemu-img' | 'qemu-io', ...args: string[]): string => execFileSync(tool, args, { stdio: ['ignore', 'pipe', 'pipe'] }).toString();

let pool: FilePool;
let storage: NodeStorage;
let chains: string;
/** Guests that run, with what bhyve writes to (`open`) and what it would write to after a reboot (`next`). */
let running: Map<InstanceUuid, { open: Map<DiskRole, string>; next: Map<DiskRole, string> }>;
/** How bhyve takes the next request. */
let mood: 'does it' | 'does nothing' | 'refuses' | 'says nothing';

const guests: ChainGuests = {
  isRunning: async (instance) => running.has(instance),
  moveDisks: async (instance, paths) => {
    const guest = running.get(instance);
    if (guest !== undefined) guest.next = new Map([...guest.next].map(([role, path]) => [role, paths.get(role) ?? path]));
  },
  checkpointDisks: async (instance, name, kind) => {
    if (mood === 'refuses') throw new AgentError('guest-checkpoint-refused', 'the guest is paused');
    if (mood === 'does nothing') return;
    if (mood === 'does it') freeze(instance, name, kind);
    else throw new AgentError('guest-checkpoint-unfinished', 'who knows');
  },
};

function freeze(instance: InstanceUuid, name: string, kind: 'internal' | 'external'): void {
  const guest = running.get(instance)!;
  for (const [role, file] of guest.open) {
    if (kind === 'internal') {
      qemu('qemu-img', 'snapshot', '-c', name, file);
      continue;
    }
    // bhyve is told beforehand: it may reboot at any moment from now on.
    expect(guest.next.get(role)).toBe(join(dirname(file), name));
    qemu('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', file, '-F', 'qcow2', join(dirname(file), name));
    guest.open.set(role, join(dirname(file), name));
  }
}

const build = (newDisks: DiskForm): NodeStorage =>
  createStorage({ host: pool.host, root: pool.root, scratch: pool.scratch, clock: systemClock, log: recordingLog().log, metrics: noMetrics, chains: { folder: chains, newDisks, guests } });

beforeEach(async () => {
  pool = await openFilePool();
  chains = join(dirname(pool.scratch), 'chains');
  running = new Map();
  mood = 'does it';
  storage = build('qcow2');
  await storage.prepare();
});
afterEach(() => pool.dispose());

/** An image of 4 MiB of one octet. */
async function ensure(id = IMAGE, octet = 17, format: 'raw' | 'qcow2' = 'qcow2', of = storage, forInstance?: InstanceUuid): Promise<void> {
  const file = join(dirname(pool.scratch), 'image');
  writeFileSync(file, Buffer.alloc(4 * MiB, octet));
  if (format === 'qcow2') {
    qemu('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', '-o', 'compat=0.10,cluster_size=4096', file, `${file}.qcow2`);
  }
  const octets = readFileSync(format === 'qcow2' ? `${file}.qcow2` : file);
  const image: GlanceImage = {
    id, name: null, status: 'active', diskFormat: format, containerFormat: 'bare', sizeBytes: BigInt(octets.length), minDiskGiB: 0, minRamMiB: 0, checksum: null,
    hashAlgorithm: 'sha512', hashValue: createHash('sha512').update(octets).digest('hex'), properties: {},
  };
  await of.ensureImage(image, async () => (async function* () { yield octets; })(), { maxBytes: null, signal: never, ...(forInstance === undefined ? {} : { for: forInstance }) });
}

const pathOf = async (role: DiskRole = 'root'): Promise<string> => (await storage.disks(ONE)).find((disk) => disk.role === role)!.devicePath;
const write = async (octet: number, role: DiskRole = 'root'): Promise<void> => void qemu('qemu-io', '-f', 'qcow2', '-c', `write -P ${octet} 0 64k`, running.get(ONE)?.open.get(role) ?? await pathOf(role));
/** The first octet and one in the middle, as a guest sees them. */
const reads = async (role: DiskRole = 'root'): Promise<number[]> => contentOf(await pathOf(role));
function contentOf(path: string, form = 'qcow2'): number[] {
  const raw = join(dirname(pool.scratch), 'raw');
  qemu('qemu-img', 'convert', '-f', form, '-O', 'raw', path, raw);
  const content = readFileSync(raw);
  return [content[0]!, content[2 * MiB]!];
}
const start = async (): Promise<void> => {
  const open = new Map((await storage.disks(ONE)).map(({ role, devicePath }) => [role, devicePath] as const));
  running.set(ONE, { open, next: new Map(open) });
};
const stop = (): void => void running.delete(ONE);
const files = (role: DiskRole = 'root'): string[] => readdirSync(join(chains, 'instances', ONE, role)).filter((name) => name !== 'chain.json').sort();
const boot = async (): Promise<void> => {
  await ensure();
  await storage.createDiskFromImage(ONE, 'root', IMAGE, BigInt(8 * MiB));
  await storage.createBlankDisk(ONE, 'eph0', BigInt(4 * MiB));
};
const refusal = async (work: Promise<unknown>): Promise<[string | undefined, string]> => work.then(() => [undefined, 'it went through'], (error: Error) => [codeOf(error), error.message]);

describe.skipIf(!hasTools)('servers on qcow2 disks', () => {
  test.each(['raw', 'qcow2'] as const)('a %s image is kept as a plain file that libvdsk opens, and becomes a disk that grows', async (format) => {
    await ensure(IMAGE, 17, format);
    const cached = JSON.parse(qemu('qemu-img', 'info', '--output=json', '-f', 'qcow2', join(chains, 'images', IMAGE))) as object;
    expect(cached).toMatchObject({ 'cluster-size': 65_536, 'format-specific': { data: { compat: '1.1', 'lazy-refcounts': false } } });
    expect(cached).not.toHaveProperty('backing-filename');
    const disk = await storage.createDiskFromImage(ONE, 'root', IMAGE, BigInt(8 * MiB));
    expect(disk).toEqual({ role: 'root', bus: 'sata', form: 'qcow2', dataset: null, devicePath: join(chains, 'instances', ONE, 'root', 'base'), bytes: BigInt(8 * MiB), madeFor: null });
    expect(await reads()).toEqual([17, 17]);
    expect(await storage.images()).toMatchObject([{ id: IMAGE, isComplete: true, cloneCount: 1 }]);
    expect(await storage.dropImage(IMAGE)).toBe(false);
    expect((await storage.growDisk(ONE, 'root', BigInt(16 * MiB))).bytes).toBe(BigInt(16 * MiB));
    expect(await storage.createDiskFromImage(ONE, 'root', IMAGE, BigInt(16 * MiB))).toMatchObject({ bytes: BigInt(16 * MiB) });
    expect(existsSync(join(pool.scratch, `${IMAGE}.part`))).toBe(false);
  });

  test('an image with a backing file is refused before qemu-img has seen it, and nothing of it stays', async () => {
    const secret = join(dirname(pool.scratch), 'secret');
    writeFileSync(secret, 'secret');
    const bad = join(dirname(pool.scratch), 'bad');
    qemu('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', secret, '-F', 'raw', bad, '4M');
    const octets = readFileSync(bad);
    const image: GlanceImage = { id: IMAGE, name: null, status: 'active', diskFormat: 'qcow2', containerFormat: 'bare', sizeBytes: null, minDiskGiB: 0, minRamMiB: 0, checksum: null, hashAlgorithm: null, hashValue: null, properties: {} };
    expect((await refusal(storage.ensureImage(image, async () => (async function* () { yield octets; })(), { maxBytes: null, signal: never })))[0]).toBe('image-unacceptable');
    expect(readdirSync(join(chains, 'images'))).toEqual([]);
  });

  test('a server keeps the form of disks that it was made with, whatever the option says later', async () => {
    await boot();
    const later = build('raw');
    await later.prepare();
    expect([await later.formOf(ONE), (await later.disks(ONE)).map(({ role, form }) => [role, form])]).toEqual(['qcow2', [['root', 'qcow2'], ['eph0', 'qcow2']]]);
    await ensure(OTHER, 34, 'qcow2', later, ONE);
    expect((await later.replaceFromImage(ONE, 'root', OTHER, null, 'rebuild-1')).form).toBe('qcow2');

    const two = parseInstanceUuid('bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb');
    expect(await later.formOf(two)).toBe('raw');
    await later.createBlankDisk(two, 'root', BigInt(MiB));
    expect(await storage.formOf(two)).toBe('raw');
    expect((await storage.disks(two)).map(({ form }) => form)).toEqual(['raw']);
    expect(new Set(await storage.instancesWithDisks())).toEqual(new Set([ONE, two]));
    await storage.buryDisks(two);
    expect(await storage.instancesWithDisks()).toEqual([ONE]);
  });

  test('disks that are flattened rest on their image alone, read the same, and keep their checkpoints', async () => {
    await boot();
    for (const [id, octet] of [[A, 1], [B, 2]] as const) {
      await write(octet);
      await storage.createCheckpoint(ONE, id, 'off');
    }
    await write(3);
    const [active, backing] = [await pathOf(), async () => (JSON.parse(qemu('qemu-img', 'info', '--output=json', '-f', 'qcow2', await pathOf())) as { 'backing-filename': string })['backing-filename']];
    expect(await backing()).toBe(join(dirname(active), A));
    await storage.flattenDisks(ONE);
    await storage.flattenDisks(ONE);
    expect([await pathOf(), await backing(), await reads()]).toEqual([active, join(chains, 'images', IMAGE), [3, 17]]);
    expect((await storage.checkpoints(ONE)).map(({ id }) => id)).toEqual([A, B]);
    await storage.restoreCheckpoint(ONE, A, 'back');
    expect(await reads()).toEqual([1, 17]);
    await expect(build('raw').flattenDisks(parseInstanceUuid('bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb'))).rejects.toMatchObject({ code: 'disk-chain-refused' });
  });

  test('a deleted server leaves nothing, and its image can go then', async () => {
    await boot();
    await storage.createCheckpoint(ONE, A, 'off');
    await storage.buryDisks(ONE);
    expect([await storage.disks(ONE), await storage.instancesWithDisks(), await storage.instancesWithCheckpoints()]).toEqual([[], [], []]);
    expect(await storage.reap()).toEqual({ destroyed: 1, left: 0 });
    expect(await storage.dropImage(IMAGE)).toBe(true);
    for (const folder of ['images', 'instances', 'graveyard']) expect(readdirSync(join(chains, folder))).toEqual([]);
    expect(readdirSync(pool.scratch)).toEqual([]);
    // And it may come again: what was known of its chains is forgotten.
    await boot();
    expect(await storage.checkpoints(ONE)).toEqual([]);
  });

  test('a swap disk is one, and is filled again in its place', async () => {
    await storage.createBlankDisk(ONE, 'swap', BigInt(4 * MiB));
    for (let times = 0; times < 2; times += 1) await storage.fillDisk(ONE, 'swap', 'swap');
    qemu('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', await pathOf('swap'), join(dirname(pool.scratch), 'raw'));
    expect(readFileSync(join(dirname(pool.scratch), 'raw')).toString('latin1', 4086, 4096)).toBe('SWAPSPACE2');
    expect([files('swap'), readdirSync(pool.scratch)]).toEqual([['base'], []]);
  });

  test('a rebuild gives a disk of the new image, once, and leaves the checkpoints', async () => {
    await boot();
    await write(1);
    await storage.createCheckpoint(ONE, A, 'off');
    await ensure(OTHER, 34);
    const disk = await storage.replaceFromImage(ONE, 'root', OTHER, BigInt(8 * MiB), 'rebuild-1');
    expect([disk.madeFor, await reads()]).toEqual(['rebuild-1', [34, 34]]);
    await write(2);
    expect((await storage.replaceFromImage(ONE, 'root', OTHER, BigInt(8 * MiB), 'rebuild-1')).devicePath).toBe(disk.devicePath);
    expect([await reads(), files()]).toEqual([[2, 34], ['base', 'rebuild-1']]);
    await storage.restoreCheckpoint(ONE, A, 'back');
    expect([await reads(), (await storage.checkpoints(ONE))[0]]).toMatchObject([[1, 17], { id: A, isCurrent: true, image: IMAGE }]);
  });

  test('a resize is reverted with sizes and swap, and a confirmed one leaves one file', async () => {
    await boot();
    await storage.createBlankDisk(ONE, 'swap', BigInt(4 * MiB));
    await write(1);
    await storage.keepDisks(ONE, MOVE);
    await storage.keepDisks(ONE, MOVE);
    await storage.growDisk(ONE, 'root', BigInt(16 * MiB));
    await storage.replaceWithBlank(ONE, 'swap', BigInt(6 * MiB), MOVE);
    await storage.replaceWithBlank(ONE, 'eph1', BigInt(4 * MiB), MOVE);
    await write(2);
    await storage.tidyCheckpoints(ONE);
    expect(await storage.disks(ONE)).toMatchObject([{ role: 'root', bytes: BigInt(16 * MiB) }, { role: 'eph0' }, { role: 'eph1' }, { role: 'swap', bytes: BigInt(6 * MiB) }]);
    for (let times = 0; times < 2; times += 1) await storage.revertDisks(ONE, MOVE);
    await storage.forgetKept(ONE, MOVE);
    expect(await storage.disks(ONE)).toMatchObject([{ role: 'root', bytes: BigInt(8 * MiB) }, { role: 'eph0' }, { role: 'swap', bytes: BigInt(4 * MiB), madeFor: null }]);
    expect([await reads(), files(), files('swap')]).toEqual([[1, 17], ['base'], ['base']]);

    await storage.keepDisks(ONE, 'another');
    await write(3);
    await storage.forgetKept(ONE, 'another');
    expect([await reads(), files()]).toEqual([[3, 17], ['kept-another']]);
  });

  test('an image is made of what the disk was, in the form that is reported, and leaves nothing', async () => {
    await boot();
    await write(1);
    await start();
    await storage.takeSnapshot(ONE, OPERATION);
    await write(2);
    await storage.takeSnapshot(ONE, OPERATION);
    for (const format of ['qcow2', 'raw'] as const) {
      const content = await storage.openSnapshot(ONE, OPERATION, { format, isCompressed: false, signal: never });
      const sink = join(dirname(pool.scratch), 'uploaded');
      rmSync(sink, { force: true });
      for await (const chunk of content.open()) writeFileSync(sink, chunk, { flag: 'a' });
      expect([content.diskFormat, contentOf(sink, format), BigInt(readFileSync(sink).length)]).toEqual([format, [1, 17], content.bytes]);
    }
    expect(await storage.checkpoints(ONE)).toEqual([]);
    expect(await storage.dropLeftSnapshots(() => true)).toBe(0);
    expect(await storage.dropLeftSnapshots(() => false)).toBe(1);
    expect([await reads(), readdirSync(pool.scratch), running.get(ONE)!.next]).toEqual([[2, 17], [], running.get(ONE)!.open]);
    stop();
    await storage.tidyCheckpoints(ONE);
    expect([await reads(), files(), files('eph0')]).toEqual([[2, 17], [OPERATION], [OPERATION]]);
  });

  test.each(['external', 'internal'] as const)('%s checkpoints of a running guest are of all its disks, gone back to, and deleted', async (kind) => {
    await boot();
    await write(1);
    await write(1, 'eph0');
    await start();
    await storage.createCheckpoint(ONE, A, 'running', null, { keeper: 'operator', name: 'mine' }, kind);
    await write(2);
    await write(2, 'eph0');
    await storage.createCheckpoint(ONE, B, 'running');
    await write(3);
    expect(running.get(ONE)!.next).toEqual(running.get(ONE)!.open);
    expect([...running.get(ONE)!.open.values()]).toEqual((await storage.disks(ONE)).map(({ devicePath }) => devicePath));
    expect(await storage.checkpoints(ONE)).toMatchObject([
      { id: A, parent: null, guest: 'running', memory: null, keeper: 'operator', name: 'mine', roles: ['root', 'eph0'], bytes: BigInt(12 * MiB), image: IMAGE, isCurrent: false }, { id: B, parent: A, isCurrent: true, keeper: 'nova', name: null },
    ]);
    stop();
    await storage.restoreCheckpoint(ONE, A, 'back');
    expect([await reads(), await reads('eph0')]).toEqual([[1, 17], [1, 0]]);
    await write(4);
    await storage.restoreCheckpoint(ONE, B, 'forth');
    expect([await reads(), await reads('eph0')]).toEqual([[2, 17], [2, 0]]);
    await storage.deleteCheckpoint(ONE, A);
    expect(await storage.checkpoints(ONE)).toMatchObject([{ id: B, parent: null }]);
    await storage.deleteCheckpoint(ONE, B);
    expect([await storage.checkpoints(ONE), await reads(), files(), await storage.instancesWithCheckpoints()]).toEqual([[], [2, 17], [kind === 'external' ? 'forth' : 'base'], []]);
  });

  test('a running guest keeps its files when a checkpoint is deleted; they are merged when it is off', async () => {
    await boot();
    await start();
    await write(1);
    await storage.createCheckpoint(ONE, A, 'running');
    await write(2);
    await storage.deleteCheckpoint(ONE, A);
    expect([await storage.checkpoints(ONE), files(), await storage.instancesWithCheckpoints()]).toEqual([[], [A, 'base'], [ONE]]);
    stop();
    await storage.tidyCheckpoints(ONE);
    expect([files(), await reads(), await storage.instancesWithCheckpoints()]).toEqual([[A], [2, 17], []]);
  });

  test('what bhyve does not make is refused, and the guest comes back on the files that it has', async () => {
    await boot();
    await start();
    const before = new Map(running.get(ONE)!.open);
    mood = 'does nothing';
    expect(await refusal(storage.createCheckpoint(ONE, A, 'running'))).toMatchObject(['disk-chain-refused', expect.stringContaining('bhyve has made no checkpoint')]);
    mood = 'refuses';
    expect(await refusal(storage.createCheckpoint(ONE, B, 'running'))).toMatchObject(['guest-checkpoint-refused', 'the guest is paused']);
    expect([running.get(ONE)!.next, await storage.checkpoints(ONE), files(), files('eph0')]).toEqual([before, [], ['base'], ['base']]);
    mood = 'does it';
    await storage.createCheckpoint(ONE, C, 'running');
    expect((await storage.checkpoints(ONE)).map(({ id }) => id)).toEqual([C]);
  });

  test('a guest of which nobody knows what bhyve does with it never comes back on a file that may be frozen', async () => {
    await boot();
    await start();
    mood = 'says nothing';
    expect((await refusal(storage.createCheckpoint(ONE, A, 'running')))[0]).toBe('guest-checkpoint-unfinished');
    const asked = join(chains, 'instances', ONE, 'root', A);
    expect(running.get(ONE)!.next.get('root')).toBe(asked);
    // Given up after a restart, and still nobody knows.
    await storage.deleteCheckpoint(ONE, A);
    expect(running.get(ONE)!.next.get('root')).toBe(asked);
    freeze(ONE, A, 'external');
    await write(5);
    await storage.deleteCheckpoint(ONE, A);
    expect([await pathOf(), running.get(ONE)!.next.get('root'), await reads()]).toEqual([asked, asked, [5, 17]]);
  });

  test('kinds are not mixed, and what a checkpoint inside a disk forbids is refused before anything is touched', async () => {
    await boot();
    await storage.createCheckpoint(ONE, A, 'off', null, undefined, 'internal');
    await ensure(OTHER, 34);
    const before = files();
    for (const work of [
      () => storage.createCheckpoint(ONE, B, 'off', null, undefined, 'external'), () => storage.keepDisks(ONE, MOVE), () => storage.takeSnapshot(ONE, OPERATION),
      () => storage.replaceFromImage(ONE, 'root', OTHER, null, 'rebuild-1'), () => storage.createCheckpoint(ONE, B, 'off', { sum: 'x', bytes: 1n }),
    ]) expect((await refusal(work()))[0]).toBe('disk-chain-refused');
    expect([files(), await reads(), (await storage.checkpoints(ONE)).map(({ id }) => id)]).toEqual([before, [17, 17], [A]]);
  });

  test('what an import has left is removed at the next start, and a part of a node that the root disk has not', async () => {
    await boot();
    writeFileSync(join(chains, 'images', `.new-${OTHER}`), 'half');
    await storage.prepare();
    expect(readdirSync(join(chains, 'images')).sort()).toEqual([IMAGE, `${IMAGE}.json`]);
    await start();
    mood = 'says nothing';
    await refusal(storage.createCheckpoint(ONE, A, 'running'));
    freeze(ONE, A, 'external');
    stop();
    rmSync(join(chains, 'instances', ONE, 'root', A)); // bhyve died between two disks
    expect(await storage.checkpoints(ONE)).toEqual([]);
    await storage.tidyCheckpoints(ONE);
    expect([await storage.checkpoints(ONE), files(), files('eph0'), await reads('eph0')]).toEqual([[], ['base'], [A], [0, 0]]);
  });

  test('disks that cannot be read stop nobody else, but no image goes that they may rest on', async () => {
    await boot();
    await storage.createCheckpoint(ONE, A, 'off');
    const two = parseInstanceUuid('bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb');
    await storage.createBlankDisk(two, 'root', BigInt(MiB));
    writeFileSync(join(chains, 'instances', two, 'root', 'base'), 'written over');
    expect([await storage.instancesWithCheckpoints(), await storage.dropLeftSnapshots(() => false)]).toEqual([[ONE], 0]);
    await ensure(OTHER, 34);
    expect((await refusal(storage.dropImage(OTHER)))[0]).toBe('disk-chain-damaged');
    expect(existsSync(join(chains, 'images', OTHER))).toBe(true);
    await storage.buryDisks(two);
    expect(await storage.dropImage(OTHER)).toBe(true);
  });

  test('usage counts the files, and what their file system has left', async () => {
    await boot();
    const { totalBytes, usedBytes, availableBytes } = await storage.usage();
    expect(usedBytes).toBeGreaterThan(BigInt(4 * MiB));
    expect([totalBytes, availableBytes > 0n]).toEqual([usedBytes + availableBytes, true]);
  });
});
