import { createHash } from 'node:crypto';
import { beforeEach, describe, expect, test } from 'vitest';
import { codeOf, wireFaultOf } from '../../../src/lib/errors.js';
import { parseImageId, parseInstanceUuid } from '../../../src/lib/ids.js';
import type { GlanceImage } from '../../../src/openstack/index.js';
import { createStorage, type NodeStorage, type OpenImage, type StorageOptions } from '../../../src/storage/index.js';
import { createFakeHost, type FakeHost } from '../../fakes/host.js';
import { noMetrics, recordingLog } from '../../fakes/recording-log.js';
import { createVirtualClock, type VirtualClock } from '../../fakes/virtual-clock.js';
import { waitUntil } from '../../fakes/wait-until.js';
import { createFakeZfs, type FakeZfs } from '../../fakes/zfs.js';

const MiB = 1024 * 1024;
const GiB = 1024n * 1024n * 1024n;
const IMAGE = parseImageId('11111111-1111-4111-8111-111111111111');
const ONE = parseInstanceUuid('aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa');
const TWO = parseInstanceUuid('bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb');
const never = new AbortController().signal;

let zfs: FakeZfs;
let host: FakeHost;
let clock: VirtualClock;
let storage: NodeStorage;
let lines: () => Record<string, unknown>[];

const nodePath = (name: string): string => `/dev/zvol/${name}`;

function build(options: Partial<StorageOptions> = {}, poolBytes = 100n * GiB): void {
  clock = createVirtualClock();
  host = createFakeHost({ tools: { zfs: ({ args }) => zfs.run(args), dd: () => '', limits: (call) => converter(call.args) } });
  host.tool('qemu-img', () => { throw new Error('runs only under limits'); });
  const { nodes } = host.disk;
  zfs = createFakeZfs({
    poolBytes,
    nowSeconds: () => clock.now().getTime() / 1000,
    nodes: {
      created: ({ name }) => nodes.add(nodePath(name)),
      cloned: ({ name }) => nodes.add(nodePath(name)),
      destroyed: (name) => nodes.delete(nodePath(name)),
      renamed: (from, to) => {
        for (const path of [...nodes].filter((node) => node.startsWith(`${nodePath(from)}/`))) {
          nodes.delete(path);
          nodes.add(nodePath(to) + path.slice(nodePath(from).length));
        }
      },
    },
  });
  const quiet = recordingLog();
  lines = quiet.lines;
  storage = createStorage({ host, root: 'tank/nova', scratch: '/state/scratch', clock, log: quiet.log, metrics: noMetrics, ...options });
}

/** What `limits … qemu-img …` answers; tests replace it. */
let converter: (args: readonly string[]) => string | { code: number; stderr: string };

beforeEach(async () => {
  converter = (args) => (args.includes('info') ? JSON.stringify({ format: 'qcow2', 'virtual-size': 8 * MiB }) : '');
  build();
  await storage.prepare();
  host.commands.length = 0;
});

const rawContent = (bytes: number): Buffer => Buffer.alloc(bytes, 'x');

/** A qcow2 header with its two tables, as small as one can be. */
function qcow2(virtualBytes: number): Buffer {
  const image = Buffer.alloc(4 * 65_536);
  image.write('QFI\xfb', 0, 'latin1');
  image.writeUInt32BE(3, 4);
  image.writeUInt32BE(16, 20);
  image.writeBigUInt64BE(BigInt(virtualBytes), 24);
  image.writeUInt32BE(1, 36);
  image.writeBigUInt64BE(196_608n, 40);
  image.writeBigUInt64BE(65_536n, 48);
  image.writeUInt32BE(1, 56);
  image.writeUInt32BE(4, 96);
  image.writeUInt32BE(104, 100);
  return image;
}

function glance(content: Buffer, diskFormat: string, fields: Partial<GlanceImage> = {}): GlanceImage {
  return {
    id: IMAGE, name: 'test', status: 'active', diskFormat, containerFormat: 'bare', sizeBytes: BigInt(content.length), minDiskGiB: 0, minRamMiB: 0,
    checksum: createHash('md5').update(content).digest('hex'), hashAlgorithm: 'sha512', hashValue: createHash('sha512').update(content).digest('hex'), properties: {}, ...fields,
  };
}

function opener(content: Buffer): OpenImage & { calls: number } {
  const open = Object.assign(async () => {
    open.calls += 1;
    return (async function* () {
      for (let offset = 0; offset < content.length; offset += 100_000) yield content.subarray(offset, offset + 100_000);
    })();
  }, { calls: 0 });
  return open;
}

const ensure = (content: Buffer, format = 'raw', fields: Partial<GlanceImage> = {}, maxBytes: bigint | null = null) =>
  storage.ensureImage(glance(content, format, fields), opener(content), { maxBytes, signal: never });
const failure = async (work: Promise<unknown>): Promise<Error> => work.then(() => expect.fail('should have failed'), (error: Error) => error);
const names = (): string[] => [...zfs.datasets.keys()].sort();
const scratchFiles = (): string[] => [...host.disk.files.keys()];
const FIXED = ['tank', 'tank/nova', 'tank/nova/graveyard', 'tank/nova/images', 'tank/nova/instances'];

describe('preparing', () => {
  test('makes the root and its children once, with volmode inherited from the children', async () => {
    expect(names()).toEqual(FIXED);
    expect(zfs.run(['get', '-Hp', '-o', 'value', 'volmode', 'tank/nova/images', 'tank/nova/instances', 'tank/nova/graveyard']).stdout).toBe('dev\ndev\ndev\n');
    await storage.prepare();
    expect(names()).toEqual(FIXED);
    expect(host.commands.filter((line) => !line.startsWith('zfs get'))).toEqual([]);
  });

  test('says which dataset to make if the pool is not there', async () => {
    build({ root: 'nosuch/nova' });
    expect(codeOf(await failure(storage.prepare()))).toBe('zfs-missing');
  });

  test('leaves a child alone that somebody else made', async () => {
    build();
    zfs.run(['create', 'tank/nova']);
    zfs.run(['create', 'tank/nova/images']);
    expect(codeOf(await failure(storage.prepare()))).toBe('zfs-foreign');
    expect(names()).toEqual(['tank', 'tank/nova', 'tank/nova/images']);
  });

  test('refuses the datasets of a newer agent', async () => {
    zfs.run(['set', 'org.nova-bhyve:layout=2', 'tank/nova/instances']);
    expect(codeOf(await failure(storage.prepare()))).toBe('storage-layout-newer');
  });

  test('sets volmode again if somebody changed it', async () => {
    zfs.run(['set', 'volmode=full', 'tank/nova/images']);
    await storage.prepare();
    expect(host.commands).toContain('zfs set volmode=dev tank/nova/images');
  });

  test('removes half a download of an earlier life but nothing else', async () => {
    host.disk.files.set(`/state/scratch/${IMAGE}.part`, new Uint8Array(3));
    host.disk.files.set('/state/scratch/other', new Uint8Array(3));
    await storage.prepare();
    expect(scratchFiles()).toEqual(['/state/scratch/other']);
  });

  test('refuses a root that is no plain name', () => {
    expect(() => build({ root: 'tank/../x' })).toThrow(expect.objectContaining({ code: 'zfs-bad-root' }) as Error);
  });
});

describe('an image', () => {
  test('that is raw is written onto a new volume, rounded up, and marked complete by its snapshot', async () => {
    expect(await ensure(rawContent(MiB + 1))).toEqual({ id: IMAGE, virtualBytes: BigInt(MiB + 1), detectedFormat: 'raw' });
    expect(zfs.datasets.get(`tank/nova/images/${IMAGE}`)!.volsize).toBe(BigInt(2 * MiB));
    expect(zfs.datasets.has(`tank/nova/images/${IMAGE}@base`)).toBe(true);
    expect(host.commands).toContain(`dd if=/state/scratch/${IMAGE}.part of=/dev/zvol/tank/nova/images/${IMAGE} bs=1048576 conv=notrunc,sparse,sync`);
    expect(host.commands.some((line) => line.includes('qemu-img'))).toBe(false);
    expect(scratchFiles()).toEqual([]);
  });

  test('that is qcow2 is looked at and converted under limits, with its format named', async () => {
    await ensure(qcow2(8 * MiB), 'qcow2');
    expect(host.commands.filter((line) => line.startsWith('limits'))).toEqual([
      `limits -t 30 -v 1024m /fake/bin/qemu-img info --output=json -f qcow2 /state/scratch/${IMAGE}.part`,
      `limits -t 1800 -v 2048m /fake/bin/qemu-img convert -f qcow2 -O raw -n --target-is-zero -t writeback /state/scratch/${IMAGE}.part /dev/zvol/tank/nova/images/${IMAGE}`,
    ]);
    expect(zfs.datasets.get(`tank/nova/images/${IMAGE}`)!.volsize).toBe(BigInt(8 * MiB));
  });

  test('that is there is neither fetched nor made again, and is known by its marks after a restart', async () => {
    const content = rawContent(MiB);
    await ensure(content);
    const again = opener(content);
    storage = createStorage({ host, root: 'tank/nova', scratch: '/state/scratch', clock, log: recordingLog().log, metrics: noMetrics });
    expect(await storage.ensureImage(glance(content, 'raw'), again, { maxBytes: null, signal: never })).toEqual({ id: IMAGE, virtualBytes: BigInt(MiB), detectedFormat: 'raw' });
    expect(again.calls).toBe(0);
  });

  test('that lost its import half way is made again', async () => {
    zfs.run(['create', '-s', '-V', String(MiB), '-o', 'org.nova-bhyve:kind=image', '-o', `org.nova-bhyve:image=${IMAGE}`, `tank/nova/images/${IMAGE}`]);
    expect(await storage.images()).toMatchObject([{ id: IMAGE, isComplete: false, cloneCount: 0 }]);
    await ensure(rawContent(3 * MiB));
    expect(zfs.datasets.get(`tank/nova/images/${IMAGE}`)!.volsize).toBe(BigInt(3 * MiB));
    expect(await storage.images()).toMatchObject([{ id: IMAGE, isComplete: true }]);
  });

  test('is not put in the place of something that we did not make', async () => {
    zfs.run(['create', '-s', '-V', String(MiB), `tank/nova/images/${IMAGE}`]);
    const open = opener(rawContent(MiB));
    expect(codeOf(await failure(storage.ensureImage(glance(rawContent(MiB), 'raw'), open, { maxBytes: null, signal: never })))).toBe('zfs-foreign');
    expect(open.calls).toBe(0);
    expect(await storage.images()).toEqual([]);
    expect(codeOf(await failure(storage.dropImage(IMAGE)))).toBe('zfs-foreign');
    expect(zfs.datasets.has(`tank/nova/images/${IMAGE}`)).toBe(true);
  });

  const nothingLeft = (): void => {
    expect(names()).toEqual(FIXED);
    expect(scratchFiles()).toEqual([]);
  };

  test.each<[string, Buffer, string, Partial<GlanceImage>, string]>([
    ['another hash', rawContent(MiB), 'raw', { hashValue: 'ff' }, 'ImageUnacceptable'],
    ['another checksum', rawContent(MiB), 'raw', { hashAlgorithm: null, hashValue: null, checksum: 'ff' }, 'ImageUnacceptable'],
    ['a hash of an unknown kind', rawContent(MiB), 'raw', { hashAlgorithm: 'crc', hashValue: 'ff' }, 'ImageUnacceptable'],
    ['more octets than announced', rawContent(MiB), 'raw', { sizeBytes: 1000n }, 'ImageUnacceptable'],
    ['another format than announced', qcow2(MiB), 'raw', {}, 'ImageUnacceptable'],
    ['a format that nobody knows', rawContent(MiB), 'ploop', {}, 'ImageUnacceptable'],
  ])('with %s is refused and nothing is left', async (_name, content, format, fields, className) => {
    const error = await failure(ensure(content, format, fields));
    expect(codeOf(error)).toBe('image-unacceptable');
    expect(wireFaultOf(error)).toMatchObject({ className, kwargs: { image_id: IMAGE } });
    nothingLeft();
    expect(host.commands.some((line) => line.startsWith('limits'))).toBe(false);
  });

  test.each<[string, object]>([
    ['another format', { format: 'raw', 'virtual-size': 8 * MiB }],
    ['another size', { format: 'qcow2', 'virtual-size': 9 * MiB }],
    ['a backing file', { format: 'qcow2', 'virtual-size': 8 * MiB, 'backing-filename': '/etc/passwd' }],
    ['a data file', { format: 'qcow2', 'virtual-size': 8 * MiB, 'format-specific': { type: 'qcow2', data: { 'data-file': '/etc/passwd' } } }],
    ['encryption', { format: 'qcow2', 'virtual-size': 8 * MiB, encrypted: true }],
  ])('in which the converter sees %s is refused before it is converted', async (_name, info) => {
    converter = () => JSON.stringify(info);
    expect(wireFaultOf(await failure(ensure(qcow2(8 * MiB), 'qcow2')))?.className).toBe('ImageUnacceptable');
    expect(host.commands.some((line) => line.includes(' convert '))).toBe(false);
    nothingLeft();
  });

  test('that breaks the converter is unacceptable, and its volume is not taken for complete', async () => {
    converter = (args) => (args.includes('info') ? JSON.stringify({ format: 'qcow2', 'virtual-size': 8 * MiB }) : { code: 1, stderr: 'qemu-img: error while reading at byte 0: Input/output error' });
    const error = await failure(ensure(qcow2(8 * MiB), 'qcow2'));
    expect(wireFaultOf(error)?.message).toBe(`Image ${IMAGE} is unacceptable: the image could not be converted within the limits of this host`);
    expect((await storage.images()).map((image) => image.isComplete)).toEqual([false]);
    expect(await storage.dropImage(IMAGE)).toBe(true);
    nothingLeft();
  });

  test('for which the pool has no room may be tried again later, and is not called unacceptable', async () => {
    converter = (args) => (args.includes('info') ? JSON.stringify({ format: 'qcow2', 'virtual-size': 8 * MiB }) : { code: 1, stderr: 'qemu-img: error while writing at byte 0: No space left on device' });
    const error = await failure(ensure(qcow2(8 * MiB), 'qcow2'));
    expect(error).toMatchObject({ code: 'zfs-out-of-space', retry: 'later' });
    expect(wireFaultOf(error)).toBeUndefined();
  });

  test('whose download breaks or ends early may be tried again later', async () => {
    const content = rawContent(MiB);
    const broken: OpenImage = async () => (async function* () {
      yield content.subarray(0, 1000);
      throw new Error('socket closed');
    })();
    expect(await failure(storage.ensureImage(glance(content, 'raw'), broken, { maxBytes: null, signal: never }))).toMatchObject({ code: 'image-download-failed', retry: 'later' });
    expect(await failure(storage.ensureImage(glance(content, 'raw'), opener(content.subarray(0, 1000)), { maxBytes: null, signal: never }))).toMatchObject({ code: 'image-incomplete', retry: 'later' });
    nothingLeft();
  });

  test('larger than the host accepts is given up on while it is being downloaded', async () => {
    build({ limits: { maxDownloadBytes: 150_000n } });
    await storage.prepare();
    expect(wireFaultOf(await failure(ensure(rawContent(MiB), 'raw', { sizeBytes: null, hashAlgorithm: null })))?.className).toBe('ImageUnacceptable');
    nothingLeft();
  });

  test('that takes too long is given up on', async () => {
    build({ limits: { importTimeoutMs: 1000 } });
    await storage.prepare();
    let isOpen = false;
    const stuck: OpenImage = async (signal) => {
      isOpen = true;
      return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));
    };
    const waiting = failure(storage.ensureImage(glance(rawContent(MiB), 'raw'), stuck, { maxBytes: null, signal: never }));
    await waitUntil(() => isOpen, 'the download begins');
    clock.advance(1001);
    expect(codeOf(await waiting)).toBe('timeout');
    nothingLeft();
  });

  test('of which the device node does not appear is an error with a limit, not a wait for ever', async () => {
    host.disk.nodes.add = () => host.disk.nodes;
    expect(await failure(ensure(rawContent(MiB)))).toMatchObject({ code: 'zvol-node-missing', retry: 'later' });
    expect(clock.sleptMs).toBeLessThan(60_000);
  });
});

describe('an image that is larger than the flavor', () => {
  test('is not even downloaded if it is raw', async () => {
    const content = rawContent(2 * MiB);
    const open = opener(content);
    const error = await failure(storage.ensureImage(glance(content, 'raw'), open, { maxBytes: BigInt(MiB), signal: never }));
    expect(wireFaultOf(error)).toMatchObject({ className: 'FlavorDiskSmallerThanImage', kwargs: { flavor_size: String(MiB), image_size: String(2 * MiB) } });
    expect(open.calls).toBe(0);
  });

  test('is not converted', async () => {
    expect(wireFaultOf(await failure(ensure(qcow2(8 * MiB), 'qcow2', {}, BigInt(4 * MiB))))?.className).toBe('FlavorDiskSmallerThanImage');
    await waitUntil(() => scratchFiles().length === 0, 'the download is removed');
    expect(host.commands.some((line) => line.startsWith('limits'))).toBe(false);
    expect(names()).toEqual(FIXED);
  });

  test('is refused as well when it is cached', async () => {
    await ensure(qcow2(8 * MiB), 'qcow2', {}, BigInt(8 * MiB));
    expect(wireFaultOf(await failure(ensure(qcow2(8 * MiB), 'qcow2', {}, BigInt(4 * MiB))))?.className).toBe('FlavorDiskSmallerThanImage');
    expect(await storage.images()).toMatchObject([{ isComplete: true }]);
  });
});

describe('an image that several want at once', () => {
  /** A download that goes on when the test says so. */
  function heldOpener(content: Buffer): { open: OpenImage; release: () => void; state: { calls: number; aborted: boolean } } {
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => { release = resolve; });
    const state = { calls: 0, aborted: false };
    const open: OpenImage = async (signal) => {
      state.calls += 1;
      const aborted = new Promise<never>((_resolve, reject) => signal.addEventListener('abort', () => {
        state.aborted = true;
        reject(signal.reason as Error);
      }));
      aborted.catch(() => undefined);
      return (async function* () {
        await Promise.race([held, aborted]);
        yield content;
      })();
    };
    return { open, release, state };
  }

  test('is downloaded once', async () => {
    const content = qcow2(8 * MiB);
    const { open, release, state } = heldOpener(content);
    const all = [1, 2, 3].map(() => storage.ensureImage(glance(content, 'qcow2'), open, { maxBytes: null, signal: never }));
    release();
    expect(new Set((await Promise.all(all)).map((image) => image.virtualBytes))).toEqual(new Set([BigInt(8 * MiB)]));
    expect(state.calls).toBe(1);
    expect(host.commands.filter((line) => line.includes(' convert '))).toHaveLength(1);
  });

  test('is refused only to those for whom it is too large', async () => {
    const content = qcow2(8 * MiB);
    const { open, release, state } = heldOpener(content);
    const small = failure(storage.ensureImage(glance(content, 'qcow2'), open, { maxBytes: BigInt(MiB), signal: never }));
    const large = storage.ensureImage(glance(content, 'qcow2'), open, { maxBytes: BigInt(8 * MiB), signal: never });
    release();
    expect(wireFaultOf(await small)?.className).toBe('FlavorDiskSmallerThanImage');
    expect((await large).virtualBytes).toBe(BigInt(8 * MiB));
    expect(state.calls).toBe(1);
  });

  test('goes on when one of them leaves and stops when the last one does', async () => {
    const content = rawContent(MiB);
    const { open, release, state } = heldOpener(content);
    const [first, second] = [new AbortController(), new AbortController()];
    const leaving = failure(storage.ensureImage(glance(content, 'raw'), open, { maxBytes: null, signal: first.signal }));
    const staying = storage.ensureImage(glance(content, 'raw'), open, { maxBytes: null, signal: second.signal });
    await waitUntil(() => state.calls === 1, 'the download begins');
    first.abort(new Error('deleted'));
    expect((await leaving).message).toBe('deleted');
    expect(state.aborted).toBe(false);
    release();
    expect((await staying).id).toBe(IMAGE);
  });

  test('is abandoned without a trace when all leave, and can be had again at once', async () => {
    const content = rawContent(MiB);
    const { open, state } = heldOpener(content);
    const controllers = [new AbortController(), new AbortController()];
    const waiting = controllers.map((one) => failure(storage.ensureImage(glance(content, 'raw'), open, { maxBytes: null, signal: one.signal })));
    await waitUntil(() => state.calls === 1, 'the download begins');
    for (const one of controllers) one.abort(new Error('deleted'));
    const again = storage.ensureImage(glance(content, 'raw'), opener(content), { maxBytes: null, signal: never });
    expect((await Promise.all(waiting)).map((error) => error.message)).toEqual(['deleted', 'deleted']);
    expect(state.aborted).toBe(true);
    expect((await again).id).toBe(IMAGE);
    expect(scratchFiles()).toEqual([]);
  });

  test('fails for all of them alike, and is tried afresh by the next', async () => {
    const content = rawContent(MiB);
    const all = [1, 2].map(() => failure(ensure(content, 'raw', { hashValue: 'ff' })));
    for (const error of await Promise.all(all)) expect(codeOf(error)).toBe('image-unacceptable');
    expect((await ensure(content)).id).toBe(IMAGE);
  });

  test('is not waited for by somebody who has already left', async () => {
    const open = opener(rawContent(MiB));
    const reason = new Error('gone');
    expect(await failure(storage.ensureImage(glance(rawContent(MiB), 'raw'), open, { maxBytes: null, signal: AbortSignal.abort(reason) }))).toBe(reason);
    expect(open.calls).toBe(0);
  });

  test('cannot be dropped meanwhile', async () => {
    const content = rawContent(MiB);
    const { open, release, state } = heldOpener(content);
    const wanted = storage.ensureImage(glance(content, 'raw'), open, { maxBytes: null, signal: never });
    await waitUntil(() => state.calls === 1, 'the download begins');
    expect(await storage.dropImage(IMAGE)).toBe(false);
    release();
    await wanted;
    expect(await storage.dropImage(IMAGE)).toBe(true);
  });
});

describe('a root disk', () => {
  beforeEach(() => ensure(rawContent(2 * MiB)));
  const rootOf = (instance: string): string => `tank/nova/instances/${instance}/root`;

  test('is a clone of the image, marked from its first moment and grown to the flavor', async () => {
    const disk = await storage.createDiskFromImage(ONE, 'root', IMAGE, 5n * GiB);
    expect(disk).toEqual({ role: 'root', bus: null, form: 'raw', dataset: rootOf(ONE), devicePath: `/dev/zvol/${rootOf(ONE)}`, bytes: 5n * GiB, madeFor: null });
    const clone = host.commands.find((line) => line.startsWith('zfs clone'))!;
    expect(clone).toContain(`-o org.nova-bhyve:kind=disk -o org.nova-bhyve:instance=${ONE} -o org.nova-bhyve:role=root -o org.nova-bhyve:image=${IMAGE}`);
    expect(zfs.datasets.get(rootOf(ONE))!.volsize).toBe(5n * GiB);
    expect(zfs.datasets.get(rootOf(ONE))!.origin!.name).toBe(`tank/nova/images/${IMAGE}@base`);
    expect(await storage.disks(ONE)).toEqual([disk]);
    expect(await storage.disks(TWO)).toEqual([]);
    expect(await storage.instancesWithDisks()).toEqual([ONE]);
  });

  test('of a new server whose image is in the cache takes two commands', async () => {
    await storage.createDiskFromImage(ONE, 'root', IMAGE, GiB);
    host.commands.length = 0;
    await ensure(rawContent(2 * MiB));
    await storage.createDiskFromImage(TWO, 'root', IMAGE, GiB);
    expect(host.commands.map((line) => line.split(' ', 2).join(' '))).toEqual(['zfs create', 'zfs clone']);
  });

  test('has its size even if zfs takes that for a clone and does nothing', async () => {
    zfs.ignoresCloneSize = true;
    for (const instance of [ONE, TWO]) {
      expect((await storage.createDiskFromImage(instance, 'root', IMAGE, GiB)).bytes).toBe(GiB);
      expect(zfs.datasets.get(rootOf(instance))!.volsize).toBe(GiB);
    }
  });

  test('of an image that somebody destroyed by hand is refused once, and the image is fetched anew for the next try', async () => {
    await ensure(rawContent(2 * MiB)); // it was seen a moment ago
    expect(zfs.run(['destroy', '-r', `tank/nova/images/${IMAGE}`]).code).toBe(0);
    await expect(storage.createDiskFromImage(ONE, 'root', IMAGE, GiB)).rejects.toMatchObject({ code: 'image-not-cached', retry: 'later' });
    await ensure(rawContent(2 * MiB));
    expect((await storage.createDiskFromImage(ONE, 'root', IMAGE, GiB)).bytes).toBe(GiB);
  });

  test('is not made in a folder of another owner', async () => {
    zfs.run(['create', `tank/nova/instances/${ONE}`]);
    await expect(storage.createDiskFromImage(ONE, 'root', IMAGE, GiB)).rejects.toMatchObject({ code: 'zfs-foreign' });
    expect(zfs.datasets.has(rootOf(ONE))).toBe(false);
  });

  test('of a flavor without a size has the size of the image', async () => {
    expect((await storage.createDiskFromImage(ONE, 'root', IMAGE, null)).bytes).toBe(BigInt(2 * MiB));
    expect(host.commands.some((line) => line.includes('volsize=') && line.startsWith('zfs set'))).toBe(false);
  });

  test('is finished, not made again, by a second call', async () => {
    await storage.createDiskFromImage(ONE, 'root', IMAGE, GiB);
    const { guid } = zfs.datasets.get(rootOf(ONE))!;
    zfs.datasets.get(rootOf(ONE))!.volsize = BigInt(2 * MiB); // as if the agent had died after the clone
    expect((await storage.createDiskFromImage(ONE, 'root', IMAGE, GiB)).bytes).toBe(GiB);
    expect(zfs.datasets.get(rootOf(ONE))!.guid).toBe(guid);
  });

  test('is never shrunk', async () => {
    await storage.createDiskFromImage(ONE, 'root', IMAGE, 2n * GiB);
    expect((await storage.createDiskFromImage(ONE, 'root', IMAGE, GiB)).bytes).toBe(2n * GiB);
    expect(zfs.datasets.get(rootOf(ONE))!.volsize).toBe(2n * GiB);
    const error = await failure(storage.createDiskFromImage(TWO, 'root', IMAGE, BigInt(MiB)));
    expect(wireFaultOf(error)?.className).toBe('FlavorDiskSmallerThanImage');
    expect(zfs.datasets.has(rootOf(TWO))).toBe(false);
  });

  test('of an image that is not cached, or only half, is for later', async () => {
    const other = parseImageId('22222222-2222-4222-8222-222222222222');
    expect(await failure(storage.createDiskFromImage(ONE, 'root', other, GiB))).toMatchObject({ code: 'image-not-cached', retry: 'later' });
    zfs.datasets.delete(`tank/nova/images/${IMAGE}@base`);
    expect(codeOf(await failure(storage.createDiskFromImage(ONE, 'root', IMAGE, GiB)))).toBe('image-not-cached');
  });

  test('is not made in the place of a foreign dataset nor of a disk of another image', async () => {
    zfs.run(['create', `tank/nova/instances/${ONE}`]);
    expect(codeOf(await failure(storage.createDiskFromImage(ONE, 'root', IMAGE, GiB)))).toBe('zfs-foreign');
    expect(await storage.instancesWithDisks()).toEqual([]);
    await storage.createDiskFromImage(TWO, 'root', IMAGE, GiB);
    zfs.run(['set', 'org.nova-bhyve:image=other', rootOf(TWO)]);
    expect(codeOf(await failure(storage.createDiskFromImage(TWO, 'root', IMAGE, GiB)))).toBe('zfs-foreign');
  });

  test('keeps its image', async () => {
    await storage.createDiskFromImage(ONE, 'root', IMAGE, GiB);
    expect(await storage.images()).toMatchObject([{ cloneCount: 1 }]);
    expect(await storage.dropImage(IMAGE)).toBe(false);
    await storage.buryDisks(ONE);
    expect(await storage.images()).toMatchObject([{ cloneCount: 1 }]);
    expect(await storage.dropImage(IMAGE)).toBe(false);
    await storage.reap();
    expect(await storage.dropImage(IMAGE)).toBe(true);
    expect(names()).toEqual(FIXED);
  });

  test('tells when its image was last wanted', async () => {
    clock.advance(3_600_000);
    await storage.createDiskFromImage(ONE, 'root', IMAGE, GiB);
    expect((await storage.images())[0]!.lastUsedAt).toEqual(clock.now());
  });
});

describe('a disk of another role', () => {
  beforeEach(() => ensure(rawContent(2 * MiB)));
  const disk = (role: string): string => `tank/nova/instances/${ONE}/${role}`;

  test('is empty, takes no space before it is used, and is marked from its first moment', async () => {
    expect(await storage.createBlankDisk(ONE, 'eph0', GiB)).toEqual({ role: 'eph0', bus: null, form: 'raw', dataset: disk('eph0'), devicePath: `/dev/zvol/${disk('eph0')}`, bytes: GiB, madeFor: null });
    const made = host.commands.find((line) => line.startsWith('zfs create -s -V') && line.endsWith('/eph0'))!;
    expect(made).toContain(`-o org.nova-bhyve:kind=disk -o org.nova-bhyve:instance=${ONE} -o org.nova-bhyve:role=eph0 `);
    expect(zfs.datasets.get(disk('eph0'))!.isSparse).toBe(true);
  });

  test('that somebody else put there is neither used, grown nor buried', async () => {
    await storage.createBlankDisk(ONE, 'swap', GiB);
    zfs.run(['create', '-s', '-V', String(MiB), disk('eph0')]);
    for (const work of [storage.createBlankDisk(ONE, 'eph0', GiB), storage.growDisk(ONE, 'eph0', GiB), storage.buryDisk(ONE, 'eph0')]) {
      expect(codeOf(await failure(work))).toBe('zfs-foreign');
    }
    expect((await storage.disks(ONE)).map(({ role }) => role)).toEqual(['swap']);
    expect(zfs.datasets.get(disk('eph0'))!.volsize).toBe(BigInt(MiB));
  });

  test('that is not there cannot grow', async () => {
    expect(codeOf(await failure(storage.growDisk(ONE, 'eph0', GiB)))).toBe('disk-missing');
  });

  test('a rescue disk is a clone of its image beside the root disk, and goes alone', async () => {
    await storage.createDiskFromImage(ONE, 'root', IMAGE, GiB);
    await storage.createDiskFromImage(ONE, 'rescue', IMAGE, null);
    expect((await storage.disks(ONE)).map(({ role }) => role)).toEqual(['root', 'rescue']);
    await storage.buryDisk(ONE, 'rescue');
    expect((await storage.disks(ONE)).map(({ role }) => role)).toEqual(['root']);
    expect(await storage.reap()).toEqual({ destroyed: 1, left: 0 });
  });
});

describe('burying', () => {
  beforeEach(async () => {
    await ensure(rawContent(2 * MiB));
    await storage.createDiskFromImage(ONE, 'root', IMAGE, GiB);
  });
  const graves = (): string[] => names().filter((name) => name.startsWith('tank/nova/graveyard/'));

  test('moves the disks out of the way by name; only reaping frees them', async () => {
    await storage.buryDisks(ONE);
    expect(await storage.instancesWithDisks()).toEqual([]);
    expect(await storage.disks(ONE)).toEqual([]);
    expect(graves()).toHaveLength(2);
    expect(host.commands.some((line) => line.startsWith('zfs destroy'))).toBe(false);
    expect(await storage.reap()).toEqual({ destroyed: 1, left: 0 });
    expect(graves()).toEqual([]);
  });

  test('waits a little for a guest that is letting go, and says busy if it does not', async () => {
    let refusals = 3;
    host.tool('zfs', ({ args }) => (args[0] === 'rename' && refusals-- > 0 ? { code: 1, stderr: `cannot rename '${args[1]}': dataset is busy\n` } : zfs.run(args)));
    await storage.buryDisks(ONE);
    expect(await storage.instancesWithDisks()).toEqual([]);
    await storage.createDiskFromImage(ONE, 'root', IMAGE, GiB);
    refusals = Infinity;
    expect(await failure(storage.buryDisks(ONE))).toMatchObject({ code: 'zfs-busy', retry: 'later' });
    expect(clock.sleptMs).toBeLessThan(10_000);
    expect(await storage.instancesWithDisks()).toEqual([ONE]);
  });

  test('again, or of an instance that has nothing, does nothing', async () => {
    await storage.buryDisks(TWO);
    await storage.buryDisks(ONE);
    await storage.buryDisks(ONE);
    expect(graves()).toHaveLength(2);
    expect(await storage.reap()).toEqual({ destroyed: 1, left: 0 });
    expect(await storage.reap()).toEqual({ destroyed: 0, left: 0 });
  });

  test('the same instance twice gives two graves', async () => {
    await storage.buryDisks(ONE);
    await storage.createDiskFromImage(ONE, 'root', IMAGE, GiB);
    await storage.buryDisks(ONE);
    expect(await storage.reap()).toEqual({ destroyed: 2, left: 0 });
  });

  test('is reaped by one at a time', async () => {
    await storage.buryDisks(ONE);
    let running = 0;
    host.tool('zfs', async ({ args }) => {
      if (args[0] !== 'destroy') return zfs.run(args);
      expect(++running).toBe(1);
      await new Promise(setImmediate);
      running -= 1;
      return zfs.run(args);
    });
    expect(await Promise.all([storage.reap(), storage.reap()])).toEqual([{ destroyed: 1, left: 0 }, { destroyed: 0, left: 0 }]);
  });

  test('leaves what is busy for the next time and goes on with the rest', async () => {
    await storage.createDiskFromImage(TWO, 'root', IMAGE, GiB);
    await storage.buryDisks(ONE);
    await storage.buryDisks(TWO);
    const busy = graves().find((name) => name.includes(ONE) && name.endsWith('/root'))!;
    zfs.open.add(busy);
    expect(await storage.reap()).toEqual({ destroyed: 1, left: 1 });
    expect(lines().some((line) => line['level'] === 40 && line['msg'] === 'left a grave for the next time')).toBe(true);
    zfs.open.clear();
    expect(await storage.reap()).toEqual({ destroyed: 1, left: 0 });
  });

  test('waits a little for what a reader of the pool holds for a moment', async () => {
    await storage.buryDisks(ONE);
    let refusals = 3;
    host.tool('zfs', ({ args }) => (args[0] === 'destroy' && refusals-- > 0 ? { code: 1, stderr: `cannot destroy '${args.at(-1)!}': dataset is busy\n` } : zfs.run(args)));
    expect(await storage.reap()).toEqual({ destroyed: 1, left: 0 });
    expect(graves()).toEqual([]);
    expect(lines().filter((line) => line['level'] === 40)).toEqual([]);
  });

  test('never destroys a dataset without our mark, nor what is cloned from a buried disk', async () => {
    await storage.buryDisks(ONE);
    const grave = graves()[0]!;
    zfs.run(['create', '-s', '-V', String(MiB), `${grave}/foreign`]);
    zfs.run(['create', 'tank/nova/graveyard/operator']);
    expect(await storage.reap()).toEqual({ destroyed: 0, left: 2 });
    expect(graves()).toContain(`${grave}/root`);
    zfs.run(['destroy', `${grave}/foreign`]);
    zfs.run(['snapshot', `${grave}/root@s`]);
    zfs.run(['clone', `${grave}/root@s`, 'tank/rescued']);
    expect(await storage.reap()).toEqual({ destroyed: 0, left: 2 });
    expect(zfs.datasets.has('tank/rescued')).toBe(true);
  });

  test('does not touch a dataset in the place of an instance that we did not make', async () => {
    zfs.run(['create', `tank/nova/instances/${TWO}`]);
    expect(codeOf(await failure(storage.buryDisks(TWO)))).toBe('zfs-foreign');
    expect(zfs.datasets.has(`tank/nova/instances/${TWO}`)).toBe(true);
  });
});

describe('usage', () => {
  test('is what the root uses and may use', async () => {
    zfs.foreignBytes = 40n * GiB;
    const usage = await storage.usage();
    expect(usage.availableBytes).toBe(60n * GiB);
    expect(usage.totalBytes).toBe(usage.usedBytes + usage.availableBytes);
  });
});
