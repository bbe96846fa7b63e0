/**
 * The way of an image with the real qemu-img, dd and files: only the pool is the fake one, its volumes being files in a folder. Proves that
 * our command lines do what we think, that inspector and converter agree on images as tools really write them, and that hostile ones
 * made by qemu-img itself do not get through. Skipped with a reason where qemu-img is not installed.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, createReadStream, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Host } from '../../../src/host/index.js';
import { systemClock } from '../../../src/lib/clock.js';
import { wireFaultOf } from '../../../src/lib/errors.js';
import { parseImageId, parseInstanceUuid } from '../../../src/lib/ids.js';
import type { GlanceImage } from '../../../src/openstack/index.js';
import { createStorage, type NodeStorage } from '../../../src/storage/index.js';
import { noMetrics, recordingLog } from '../../fakes/recording-log.js';
import { openFilePool, type FilePool } from './file-pool.js';

const hasConverter = existsSync('/usr/bin/qemu-img') || existsSync('/usr/local/bin/qemu-img');
const MiB = 1024 * 1024;
const IMAGE = parseImageId('11111111-1111-4111-8111-111111111111');
const INSTANCE = parseInstanceUuid('aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa');

let corpus: string;
let pool: FilePool;
let storage: NodeStorage;
let host: Host;

const qemuImg = (...args: string[]): string => execFileSync('qemu-img', args, { cwd: corpus, stdio: ['ignore', 'pipe', 'pipe'] }).toString();

/** 8 MiB with something at the start, in the middle and at the last octet. */
function diskContent(): Buffer {
  const disk = Buffer.alloc(8 * MiB);
  disk.write('first sector');
  disk.fill('m', 3 * MiB + 123, 3 * MiB + 200_000);
  disk.write('!', disk.length - 1);
  return disk;
}

beforeAll(async () => {
  corpus = await mkdtemp(join(tmpdir(), 'image-corpus-'));
  if (!hasConverter) return;
  writeFileSync(join(corpus, 'disk.raw'), diskContent());
});
afterAll(() => rm(corpus, { recursive: true, force: true }));

beforeEach(async () => {
  pool = await openFilePool();
  ({ host } = pool);
  storage = createStorage({ host, root: pool.root, scratch: pool.scratch, clock: systemClock, log: recordingLog().log, metrics: noMetrics });
  await storage.prepare();
});
afterEach(() => pool.dispose());

function ensure(path: string, diskFormat: string, maxBytes: bigint | null = null) {
  const content = readFileSync(path);
  const image: GlanceImage = {
    id: IMAGE, name: null, status: 'active', diskFormat, containerFormat: 'bare', sizeBytes: BigInt(content.length), minDiskGiB: 0, minRamMiB: 0, checksum: null,
    hashAlgorithm: 'sha256', hashValue: createHash('sha256').update(content).digest('hex'), properties: {},
  };
  return storage.ensureImage(image, async () => createReadStream(path) as AsyncIterable<Uint8Array>, { maxBytes, signal: new AbortController().signal });
}

const volume = (...parts: string[]): string => pool.fileOf(`${pool.root}/${parts.join('/')}`);

describe.skipIf(!hasConverter)('an image as qemu-img writes it', () => {
  test.each<[string, string, string[]]>([
    ['raw', 'raw', []],
    ['qcow2', 'qcow2', ['-O', 'qcow2']],
    ['qcow2', 'qcow2', ['-O', 'qcow2', '-o', 'compat=0.10']],
    ['qcow2', 'qcow2', ['-O', 'qcow2', '-c']],
    ['qcow2', 'qcow2', ['-O', 'qcow2', '-c', '-o', 'compression_type=zstd']],
    ['qcow2', 'qcow2', ['-O', 'qcow2', '-o', 'cluster_size=2M,extended_l2=on']],
    ['qcow2', 'qcow2', ['-O', 'qcow2', '-o', 'cluster_size=512']],
    ['vmdk', 'vmdk', ['-O', 'vmdk', '-o', 'subformat=monolithicSparse']],
    ['vmdk', 'vmdk', ['-O', 'vmdk', '-o', 'subformat=streamOptimized']],
    ['vdi', 'vdi', ['-O', 'vdi']],
    ['vdi', 'vdi', ['-O', 'vdi', '-o', 'static=on']],
    ['vhd', 'vhd', ['-O', 'vpc', '-o', 'force_size=on']],
    ['vhd', 'vhd', ['-O', 'vpc', '-o', 'subformat=fixed,force_size=on']],
  ])('%s comes out octet for octet (%s %j)', async (diskFormat, detected, options) => {
    const path = join(corpus, 'image');
    if (options.length === 0) copyFileSync(join(corpus, 'disk.raw'), path);
    else qemuImg('convert', '-f', 'raw', ...options, 'disk.raw', 'image');
    expect(await ensure(path, diskFormat)).toEqual({ id: IMAGE, virtualBytes: BigInt(8 * MiB), detectedFormat: detected });
    expect(readFileSync(volume('images', IMAGE)).equals(diskContent())).toBe(true);
    expect(await host.files.list(pool.scratch)).toEqual([]);
    const disk = await storage.createDiskFromImage(INSTANCE, 'root', IMAGE, BigInt(16 * MiB));
    const grown = readFileSync(disk.devicePath);
    expect(grown.subarray(0, 8 * MiB).equals(diskContent())).toBe(true);
    expect(grown.subarray(8 * MiB).every((octet) => octet === 0)).toBe(true);
  });

  test('vhd whose two sizes differ has the one that the converter chooses', async () => {
    qemuImg('convert', '-f', 'raw', '-O', 'vpc', 'disk.raw', 'image');
    const { virtualBytes } = await ensure(join(corpus, 'image'), 'vhd');
    expect(virtualBytes).toBe(BigInt((JSON.parse(qemuImg('info', '--output=json', '-f', 'vpc', 'image')) as { 'virtual-size': number })['virtual-size']));
    expect(readFileSync(volume('images', IMAGE)).subarray(0, 8 * MiB).equals(diskContent())).toBe(true);
  });

  test('raw of an odd length keeps every octet, and the volume stays sparse', async () => {
    const content = Buffer.concat([diskContent(), Buffer.from('odd')]);
    writeFileSync(join(corpus, 'odd'), content);
    await ensure(join(corpus, 'odd'), 'raw');
    const written = readFileSync(volume('images', IMAGE));
    expect(written.length).toBe(9 * MiB);
    expect(written.subarray(0, content.length).equals(content)).toBe(true);
    expect((await stat(volume('images', IMAGE))).blocks * 512).toBeLessThan(5 * MiB);
  });

  test('with internal snapshots gives the current disk', async () => {
    qemuImg('convert', '-f', 'raw', '-O', 'qcow2', 'disk.raw', 'image');
    qemuImg('snapshot', '-c', 'before', 'image');
    await ensure(join(corpus, 'image'), 'qcow2');
    expect(readFileSync(volume('images', IMAGE)).equals(diskContent())).toBe(true);
  });

  test('of 16 TiB in a few KiB is refused by the flavor, not by a full pool', async () => {
    qemuImg('create', '-f', 'qcow2', 'huge', '16T');
    const error = await ensure(join(corpus, 'huge'), 'qcow2', 10n << 30n).then(() => undefined, (thrown: unknown) => thrown);
    expect(wireFaultOf(error)).toMatchObject({ className: 'FlavorDiskSmallerThanImage', kwargs: { image_size: String(1n << 44n) } });
  });
});

describe.skipIf(!hasConverter)('a hostile image made by qemu-img', () => {
  const SECRET = 'the secret of the host';
  beforeAll(() => {
    writeFileSync(join(corpus, 'secret'), SECRET.padEnd(MiB, '.'));
  });

  test.each<[string, string, string[]]>([
    ['a backing file', 'qcow2', ['create', '-f', 'qcow2', '-F', 'raw', '-b', 'SECRET', 'image']],
    ['a backing file of version 2', 'qcow2', ['create', '-f', 'qcow2', '-o', 'compat=0.10', '-F', 'raw', '-b', 'SECRET', 'image']],
    ['an external data file', 'qcow2', ['create', '-f', 'qcow2', '-o', 'data_file=SECRET.data,data_file_raw=on', 'image', '1M']],
    ['encryption', 'qcow2', ['create', '-f', 'qcow2', '--object', 'secret,id=s,data=x', '-o', 'encrypt.format=aes,encrypt.key-secret=s', 'image', '1M']],
    ['a flat extent', 'vmdk', ['create', '-f', 'vmdk', '-o', 'subformat=monolithicFlat', 'image', '1M']],
    ['split extents', 'vmdk', ['create', '-f', 'vmdk', '-o', 'subformat=twoGbMaxExtentSparse', 'image', '1M']],
    ['a parent', 'vmdk', ['create', '-f', 'vmdk', '-F', 'vmdk', '-b', 'PARENT', 'image']],
    ['version 1 and a backing file', 'qcow2', ['create', '-f', 'qcow', '-F', 'raw', '-b', 'SECRET', 'image']],
    ['a backing file in qed', 'qed', ['create', '-f', 'qed', '-F', 'raw', '-b', 'SECRET', 'image']],
  ])('with %s reaches no converter and no volume, whatever it is registered as', async (_name, format, command) => {
    qemuImg('create', '-f', 'vmdk', 'parent.vmdk', '1M');
    qemuImg(...command.map((word) => word.replace('SECRET', join(corpus, 'secret')).replace('PARENT', join(corpus, 'parent.vmdk'))));
    for (const diskFormat of [format, 'raw', 'ami']) {
      const error = await ensure(join(corpus, 'image'), diskFormat).then(() => undefined, (thrown: unknown) => thrown);
      expect(wireFaultOf(error)?.className, diskFormat).toBe('ImageUnacceptable');
      expect(JSON.stringify(wireFaultOf(error))).not.toContain(corpus);
      expect(await storage.images()).toEqual([]);
    }
    expect(await host.files.list(pool.scratch)).toEqual([]);
  });

  test('whose cluster table points behind its end gives zeros there, nothing of the host', async () => {
    qemuImg('convert', '-f', 'raw', '-O', 'qcow2', 'disk.raw', 'image');
    const image = readFileSync(join(corpus, 'image'));
    image.writeBigUInt64BE((1n << 63n) | (1n << 40n), Number(image.readBigUInt64BE(40)));
    writeFileSync(join(corpus, 'image'), image);
    await ensure(join(corpus, 'image'), 'qcow2');
    expect(readFileSync(volume('images', IMAGE)).every((octet) => octet === 0)).toBe(true);
  });
});
