/** Chains of qcow2 files with the real qemu-img. Skipped with a reason where it is not installed. */
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createHost, type Host } from '../../../src/host/index.js';
import { systemClock } from '../../../src/lib/clock.js';
import { parseCheckpointId } from '../../../src/lib/ids.js';
import { createDiskChain, type DiskChain } from '../../../src/storage/disk-chain/index.js';
import { noMetrics, recordingLog } from '../../fakes/recording-log.js';
import { CLUSTER, workOnChain } from './disk-chain-model.js';

const hasTools = ['/usr/bin', '/usr/local/bin'].some((folder) => existsSync(join(folder, 'qemu-img')) && existsSync(join(folder, 'qemu-io')));
const [A, B, C] = ['a', 'b', 'c'].map((letter) => parseCheckpointId(`${letter.repeat(8)}-0000-4000-8000-000000000000`)) as [ReturnType<typeof parseCheckpointId>, ReturnType<typeof parseCheckpointId>, ReturnType<typeof parseCheckpointId>];

let top: string;
let folder: string;
let images: string;
let image: string;
let host: Host;
let chain: DiskChain;

const qemu = (tool: 'qemu-img' | 'qemu-io', ...args: string[]): string => execFileSync(tool, args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] }).toString();
const chainOf = (maxFiles = 8, of = host): DiskChain => createDiskChain({ host: of, clock: systemClock, folder, images, maxFiles });
const write = async (octet: number, at = 0): Promise<void> => void qemu('qemu-io', '-f', 'qcow2', '-c', `write -P ${octet} ${at} ${CLUSTER}`, (await chain.look())!.activePath);
const firstOctet = (file: string, at = 0): number => {
  qemu('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', file, join(top, 'raw'));
  return readFileSync(join(top, 'raw'))[at]!;
};

beforeEach(async () => {
  top = await mkdtemp(join(tmpdir(), 'disk-chain-'));
  [folder, images] = [join(top, 'root'), join(top, 'images')];
  for (const path of [folder, images]) mkdirSync(path, { mode: 0o700 });
  image = join(images, 'cirros');
  host = createHost({ deviceRoot: join(top, 'dev'), path: '/usr/local/bin:/usr/bin:/bin', clock: systemClock, log: recordingLog().log, metrics: noMetrics });
  if (!hasTools) return;
  qemu('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', `cluster_size=${CLUSTER}`, image, String(32 * CLUSTER));
  qemu('qemu-io', '-f', 'qcow2', '-c', `write -P 17 0 ${10 * CLUSTER}`, image);
  chain = chainOf();
});
afterEach(() => rm(top, { recursive: true, force: true }));

describe.skipIf(!hasTools)('a disk of qcow2 files', () => {
  test.each([[1, 'external', true], [2, 'external', true], [3, 'external', false], [4, 'external', true], [5, 'external', false], [6, 'internal', true], [7, 'internal', false], [8, 'internal', true]] as const)(
    'holds what a model of it holds, whatever is done to it and wherever the agent dies (seed %d, %s, on an image: %s)',
    async (seed, kind, isOnImage) => workOnChain({ host, folder, images, image: isOnImage ? image : null, kind, seed, steps: Number(process.env['CHAIN_STEPS'] ?? 12) }),
  );

  test('takes the cluster size of its image, all the way up, and has no feature that libvdsk refuses', async () => {
    await chain.create({ image, bytes: null });
    await chain.checkpoint(A, 'external');
    const { files, bytes, activePath } = (await chain.look())!;
    expect(bytes).toBe(BigInt(32 * CLUSTER));
    expect(files.map(({ path, clusterBytes, backingPath }) => ({ path, clusterBytes, backingPath }))).toEqual([
      { path: join(folder, A), clusterBytes: CLUSTER, backingPath: join(folder, 'base') }, { path: join(folder, 'base'), clusterBytes: CLUSTER, backingPath: image },
      { path: image, clusterBytes: CLUSTER, backingPath: null },
    ]);
    expect(activePath).toBe(join(folder, A));
    expect(readFileSync(activePath).readBigUInt64BE(72)).toBe(0n);
  });

  test('goes back, and forward again to a sibling, and has lost nothing', async () => {
    await chain.create({ image, bytes: null });
    await write(1);
    await chain.checkpoint(A, 'external');
    await write(2);
    await chain.checkpoint(B, 'external');
    await write(3);
    await chain.restore(A, 'back');
    expect(firstOctet('back')).toBe(1);
    await write(4);
    await chain.checkpoint(C, 'external');
    await chain.restore(B, 'forward');
    expect(firstOctet('forward')).toBe(2);
    const { nodes, current } = (await chain.look())!;
    expect([nodes.map(({ id, parent }) => [id, parent]), current]).toEqual([[[A, null], [B, A], [C, A]], B]);
    await chain.restore(C, 'aside');
    expect(firstOctet('aside')).toBe(4);
  });

  test('keeps what it may go back to before a move, whatever takes its place and whatever is tidied', async () => {
    await chain.create({ image, bytes: null });
    await write(1);
    await chain.keep('move');
    await write(2);
    await chain.goBack('move');
    await chain.replace({ image: null, bytes: BigInt(CLUSTER) }, 'other');
    expect(await chain.tidy({ isInUse: false })).toBe(0);
    await chain.goBack('move'); // the revert was cut off, and is done again
    expect([(await chain.look())!.activePath, firstOctet('base')]).toEqual([join(folder, 'base'), 1]);
    await chain.forgetKept('move');
    expect(await chain.tidy({ isInUse: false })).toBe(0);
    expect(readdirSync(folder).sort()).toEqual(['base', 'chain.json']);
  });

  test('is merged over a deleted checkpoint in the middle, and what several rest on waits for the last of them', async () => {
    await chain.create({ image, bytes: null });
    await write(1, 0);
    await chain.checkpoint(A, 'external');
    await write(2, CLUSTER);
    await chain.checkpoint(B, 'external');
    await chain.restore(A, 'back');
    await chain.remove(A);
    expect(await chain.tidy({ isInUse: false })).toBe(1);
    expect(existsSync(join(folder, 'base'))).toBe(true);
    await chain.remove(B);
    expect(await chain.tidy({ isInUse: false })).toBe(0);
    expect((await chain.look())!.files.map(({ path }) => path)).toEqual([join(folder, 'back'), image]);
    expect([firstOctet('back', 0), firstOctet('back', CLUSTER)]).toEqual([1, 17]);
  });

  test('is not moved off the files that a snapshot inside it reads through', async () => {
    await chain.create({ image, bytes: null });
    await write(1);
    await chain.checkpoint(A, 'external');
    await chain.remove(A);
    await chain.checkpoint(B, 'internal');
    await write(2);
    await expect(chain.flatten()).rejects.toMatchObject({ code: 'disk-chain-refused' });
    expect(await chain.tidy({ isInUse: false })).toBe(1);
    await chain.restore(B, 'back');
    expect(firstOctet(A)).toBe(1);
    await chain.remove(B);
    expect(await chain.tidy({ isInUse: false })).toBe(0);
    expect(firstOctet(A)).toBe(1);
  });

  test('is not touched below a running guest, and is tidied when it is off', async () => {
    await chain.create({ image, bytes: null });
    await chain.checkpoint(A, 'external');
    await chain.remove(A);
    expect(await chain.tidy({ isInUse: true })).toBe(1);
    expect((await chain.look())!.files).toHaveLength(3);
    expect(await chain.tidy({ isInUse: false })).toBe(0);
    expect((await chain.look())!.files).toHaveLength(2);
  });

  test('grows no longer than it may, and goes on when it has been flattened', async () => {
    const short = chainOf(3);
    await short.create({ image, bytes: null });
    await short.checkpoint(A, 'external');
    await expect(short.checkpoint(B, 'external')).rejects.toMatchObject({ code: 'disk-chain-refused', message: expect.stringContaining('as many as may be') as string });
    await write(9);
    await short.flatten();
    expect((await short.look())!.files.map(({ path }) => path)).toEqual([join(folder, A), image]);
    expect(firstOctet(A)).toBe(9);
    await short.checkpoint(B, 'external');
    expect((await short.look())!.nodes.map(({ id, parent }) => [id, parent])).toEqual([[A, null], [B, A]]);
  });

  test('has no two files, and no two snapshots, of one name', async () => {
    await chain.create({ image: null, bytes: BigInt(8 * CLUSTER) });
    await chain.checkpoint(A, 'external');
    await chain.remove(A);
    await expect(chain.checkpoint(A, 'external')).rejects.toMatchObject({ code: 'disk-chain-refused' }); // the active file is called so
    await chain.checkpoint(B, 'external');
    for (const name of ['base', A, B, 'chain.json', '../x', '/etc/passwd', 'nbd:x', '']) {
      await expect(chain.restore(B, name)).rejects.toMatchObject({ code: 'disk-chain-refused' });
    }
    await chain.remove(B);
    await chain.flatten();
    await chain.tidy({ isInUse: false });
    await write(1);
    await chain.checkpoint(C, 'internal');
    await chain.remove(C);
    await write(2);
    await chain.checkpoint(C, 'internal');
    await write(3);
    expect((await chain.look())!.files[0]!.snapshots.map(({ name }) => name)).toEqual([C]);
    await chain.restore(C, 'again');
    expect(firstOctet((await chain.look())!.activePath)).toBe(2);
  });

  test('finds a restore done that was done, whatever the guest wrote since', async () => {
    await chain.create({ image, bytes: null });
    await write(1);
    await chain.checkpoint(A, 'external');
    await chain.restore(A, 'operation');
    await write(5);
    await chain.restore(A, 'operation');
    expect(firstOctet('operation')).toBe(5);
    await expect(chain.restore(B, 'other')).rejects.toMatchObject({ code: 'checkpoint-missing' });
  });

  describe('with a guest that runs', () => {
    const overlay = (name: string): void => void qemu('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', `cluster_size=${CLUSTER}`, '-b', join(folder, 'base'), '-F', 'qcow2', join(folder, name));
    beforeEach(async () => {
      await chain.create({ image, bytes: null });
      await write(1);
    });

    test('goes on in the overlay that bhyve has made, and is never asked for it twice', async () => {
      await chain.checkpointRunning(A, 'external', async () => overlay(A));
      await write(2);
      await chain.checkpointRunning(A, 'external', () => Promise.reject(new Error('asked twice')));
      const { activePath, current, nodes } = (await chain.look())!;
      expect([activePath, current, nodes.map(({ id, file }) => [id, file])]).toEqual([join(folder, A), A, [[A, 'base']]]);
      await chain.restore(A, 'back');
      expect(firstOctet('back')).toBe(1);
    });

    test('keeps what the guest writes to an overlay when the agent died before it knew of it, and is tidied around it', async () => {
      await expect(chain.checkpointRunning(A, 'external', async () => {
        overlay(A);
        qemu('qemu-io', '-f', 'qcow2', '-c', `write -P 3 0 ${CLUSTER}`, A);
        throw new Error('dead');
      })).rejects.toThrow('dead');
      expect(await chainOf().tidy({ isInUse: true })).toBe(0);
      expect((await chainOf().look())!.activePath).toBe(join(folder, A));
      expect(firstOctet((await chainOf().look())!.activePath)).toBe(3);
    });

    test.each(['external', 'internal'] as const)('keeps an %s one whose name an agent had given up before', async (kind) => {
      const dying = chainOf(8, { ...host, run: () => Promise.reject(new Error('dead')) });
      await expect(dying.checkpoint(A, kind)).rejects.toThrow('dead');
      await chain.checkpointRunning(A, kind, async () => (kind === 'external' ? overlay(A) : void qemu('qemu-img', 'snapshot', '-c', A, 'base')));
      await write(2);
      expect(await chain.tidy({ isInUse: false })).toBe(0);
      expect(firstOctet((await chain.look())!.activePath)).toBe(2);
      await chain.restore(A, 'back');
      expect(firstOctet((await chain.look())!.activePath)).toBe(1);
    });

    test('has a snapshot that bhyve made inside', async () => {
      await chain.checkpointRunning(A, 'internal', async () => void qemu('qemu-img', 'snapshot', '-c', A, 'base'));
      await write(2);
      await chain.restore(A, 'back');
      expect(firstOctet('base')).toBe(1);
    });

    test('has no checkpoint when bhyve made none, and may be asked for another', async () => {
      await expect(chain.checkpointRunning(A, 'external', async () => undefined)).rejects.toMatchObject({ code: 'disk-chain-refused' });
      await chain.checkpointRunning(B, 'external', async () => overlay(B));
      expect((await chain.look())!.nodes.map(({ id }) => id)).toEqual([B]);
    });

    test('waits for a checkpoint of which nobody knows, until the guest is off', async () => {
      await expect(chain.checkpointRunning(A, 'external', () => Promise.reject(new Error('no answer')))).rejects.toThrow('no answer');
      await expect(chain.checkpointRunning(B, 'external', async () => overlay(B))).rejects.toMatchObject({ code: 'disk-chain-refused', message: expect.stringContaining('stop the server') as string });
      expect(existsSync(join(folder, B))).toBe(false);
      await chain.checkpoint(B, 'external');
      expect((await chain.look())!.nodes.map(({ id }) => id)).toEqual([B]);
    });

    test('is not asked for a name that is taken', async () => {
      writeFileSync(join(folder, A), 'what somebody put there');
      await expect(chain.checkpointRunning(A, 'external', () => Promise.reject(new Error('asked')))).rejects.toMatchObject({ code: 'disk-chain-refused' });
    });
  });

  test.each<[string, () => string[]]>([
    ['a file of the host', () => ['-b', join(top, 'secret'), '-F', 'raw']],
    ['a file of the host that is qcow2', () => ['-b', join(top, 'foreign'), '-F', 'qcow2']],
    ['a way out of the image cache', () => ['-b', `${images}/../foreign`, '-F', 'qcow2']],
    ['a file beside it by a relative name, which libvdsk would look for elsewhere', () => ['-b', 'beside', '-F', 'qcow2']],
    ['an image of another cluster size', () => ['-b', join(images, 'other'), '-F', 'qcow2']],
    ['an image with a backing file', () => ['-b', join(images, 'layered'), '-F', 'qcow2']],
  ])('is refused when its header names %s, and no program opens it', async (_what, backing) => {
    writeFileSync(join(top, 'secret'), 'secret'.padEnd(32 * CLUSTER, '.'));
    qemu('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', `cluster_size=${CLUSTER}`, join(top, 'foreign'), String(32 * CLUSTER));
    qemu('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', `cluster_size=${CLUSTER}`, join(folder, 'beside'), String(32 * CLUSTER));
    qemu('qemu-img', 'create', '-q', '-f', 'qcow2', join(images, 'other'), String(32 * CLUSTER));
    qemu('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', `cluster_size=${CLUSTER}`, '-b', join(top, 'foreign'), '-F', 'qcow2', join(images, 'layered'));
    await chain.create({ image, bytes: null });
    qemu('qemu-img', 'rebase', '-u', '-f', 'qcow2', ...backing(), join(folder, 'base'));
    const calls: string[] = [];
    const watched = chainOf(8, { ...host, run: async (tool, args, options) => {
      calls.push(`${tool} ${args.join(' ')}`);
      return host.run(tool, args, options);
    } });
    for (const work of [() => watched.look(), () => watched.checkpoint(A, 'external'), () => watched.flatten()]) await expect(work()).rejects.toMatchObject({ code: 'disk-chain-damaged' });
    expect(calls).toEqual([]);
  });

  test.each<[string, (header: Buffer) => void]>([
    ['no magic', (header) => void header.writeUInt8(0, 0)],
    ['version 4', (header) => void header.writeUInt32BE(4, 4)],
    ['version 2', (header) => void header.writeUInt32BE(2, 4)],
    ['reference counts of one bit', (header) => void header.writeUInt32BE(0, 96)],
    ['encryption', (header) => void header.writeUInt32BE(1, 32)],
    ['the dirty bit', (header) => void header.writeBigUInt64BE(1n, 72)],
    ['an external data file', (header) => void header.writeBigUInt64BE(4n, 72)],
    ['extended L2 entries', (header) => void header.writeBigUInt64BE(16n, 72)],
    ['clusters of 1 GiB', (header) => void header.writeUInt32BE(30, 20)],
    ['a name behind the first cluster', (header) => void header.writeBigUInt64BE(1n << 40n, 8)],
    ['a name of 4 GiB', (header) => void header.writeUInt32BE(0xffffffff, 16)],
    ['snapshots outside the file', (header) => void header.writeUInt32BE(3, 60)],
    ['a backing file of a format that is not given', (header) => void header.writeUInt32BE(0x12345678, header.indexOf(Buffer.from('e2792aca', 'hex')))],
    ['a header longer than its cluster', (header) => void header.writeUInt32BE(1 << 20, 100)],
  ])('is refused with %s in the header of a file', async (_what, spoil) => {
    await chain.create({ image, bytes: null });
    const content = readFileSync(join(folder, 'base'));
    spoil(content);
    writeFileSync(join(folder, 'base'), content);
    await expect(chain.look()).rejects.toMatchObject({ code: 'disk-chain-damaged' });
  });

  test('is refused with an index that is not ours, or a newer agent’s, and never without a file that it needs', async () => {
    await chain.create({ image, bytes: null });
    await chain.checkpoint(A, 'external');
    const index = readFileSync(join(folder, 'chain.json'), 'utf8');
    for (const [text, code] of [['{', 'disk-chain-damaged'], [index.replace('"base"', '"../base"'), 'disk-chain-damaged'], [index.replace('"version":1', '"version":2'), 'layout-too-new']] as const) {
      writeFileSync(join(folder, 'chain.json'), text);
      await expect(chain.look()).rejects.toMatchObject({ code });
      await expect(chain.tidy({ isInUse: false })).rejects.toMatchObject({ code });
    }
    writeFileSync(join(folder, 'chain.json'), index);
    await rm(join(folder, 'base'));
    await expect(chain.look()).rejects.toMatchObject({ code: 'disk-chain-damaged' });
    await expect(chain.tidy({ isInUse: false })).rejects.toMatchObject({ code: 'disk-chain-damaged' });
  });

  test('says that the file system is full, and is as it was', async () => {
    await chain.create({ image, bytes: null });
    const bin = join(top, 'bin');
    mkdirSync(bin);
    writeFileSync(join(bin, 'qemu-img'), '#!/bin/sh\necho "qemu-img: x: Could not write: No space left on device" >&2\nexit 1\n');
    chmodSync(join(bin, 'qemu-img'), 0o755);
    const full = createHost({ deviceRoot: join(top, 'dev'), path: `${bin}:/usr/bin:/bin`, clock: systemClock, log: recordingLog().log, metrics: noMetrics });
    await expect(chainOf(8, full).checkpoint(A, 'external')).rejects.toMatchObject({ code: 'file-no-space', retry: 'later' });
    expect((await chain.look())!.nodes).toEqual([]);
    await chain.checkpoint(A, 'external');
    expect((await chain.look())!.nodes).toHaveLength(1);
  });
});
