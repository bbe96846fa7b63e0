/** The inspector against images made by hand: for each format one that is accepted, and every way of it being hostile or broken. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { codeOf } from '../../../src/lib/errors.js';
import { inspectImage } from '../../../src/storage/image-inspector/inspect.js';
import { memoryReader, type ImageReader } from '../../../src/storage/image-inspector/reader.js';
import { gptDisk, iso, mbrDisk, qcow2, qcow2Extension, vdi, vhdDynamic, vhdFixed, vhdSeal, vmdk, vmdkDescriptor } from '../../fakes/images.js';

const inspect = (content: Uint8Array, format: string | null) => inspectImage(memoryReader(content), format);
async function refusal(content: Uint8Array, format: string | null): Promise<string> {
  return inspect(content, format).then(
    (accepted) => expect.fail(`accepted as ${accepted.format}`),
    (error: Error) => {
      expect(codeOf(error), String(error.stack)).toBe('image-unacceptable');
      return error.message;
    });
}
const MiB = 1024 * 1024;

describe('a disk image without a container', () => {
  test.each<[string, Buffer, string]>([
    ['raw', Buffer.alloc(1000, 'x'), 'raw'],
    ['raw', Buffer.from('a'), 'raw'],
    ['raw', gptDisk(), 'gpt'],
    ['raw', mbrDisk(), 'mbr'],
    ['gpt', gptDisk(), 'gpt'],
    ['iso', iso(), 'iso'],
    ['iso', iso(gptDisk(64 * 1024)), 'iso'],
    ['ami', mbrDisk(), 'mbr'],
    ['aki', Buffer.alloc(5000, 'k'), 'raw'],
  ])('registered as %s is taken for what it is', async (format, content, expected) => {
    expect(await inspect(content, format)).toEqual({ format: expected, virtualBytes: BigInt(content.length), otherBytes: [], converterFormat: undefined });
  });

  test.each<[string, Buffer, string | null]>([
    ['an iso as raw', iso(), 'raw'],
    ['raw as iso', Buffer.alloc(40_000), 'iso'],
    ['raw as gpt', Buffer.alloc(40_000), 'gpt'],
    ['gpt as qcow2', gptDisk(), 'qcow2'],
    ['raw as qcow2', Buffer.alloc(40_000), 'qcow2'],
    ['raw as an unknown format', Buffer.alloc(10), 'ploop'],
    ['raw as a name of an object', Buffer.alloc(10), 'constructor'],
    ['raw without a format', Buffer.alloc(10), null],
    ['nothing', Buffer.alloc(0), 'raw'],
  ])('is refused: %s', async (_name, content, format) => {
    await refusal(content, format);
  });

  test('with the boot sector of a file system is raw: that is no partition table', async () => {
    const sector = Buffer.alloc(4096, 0x90);
    sector.writeUInt16LE(0xaa55, 510);
    expect((await inspect(sector, 'raw')).format).toBe('raw');
  });
});

describe('a container', () => {
  const all: Record<string, Buffer> = { qcow2: qcow2(), vmdk: vmdk(), vdi: vdi(), vhd: vhdDynamic() };
  test.each(Object.entries(all))('%s is accepted under its own name only', async (format, content) => {
    expect((await inspect(content, format)).format).toBe(format);
    for (const other of ['raw', 'iso', 'gpt', ...Object.keys(all)]) if (other !== format) await refusal(content, other);
  });

  test.each(Object.entries(all))('%s that is a partitioned disk or an iso as well is refused', async (format, content) => {
    const padded = Buffer.concat([content, Buffer.alloc(Math.max(0, 40_000 - content.length))]);
    const both = Buffer.from(padded);
    both.write('CD001', 0x8001);
    expect(await refusal(both, format)).toMatch(/several formats/);
    await refusal(both, 'iso');
    if (format === 'vmdk' || format === 'vhd') return; // their first sectors are header
    const gpt = Buffer.from(padded);
    gpt.write('EFI PART', 512);
    expect(await refusal(gpt, format)).toMatch(/several formats/);
    await refusal(gpt, 'raw');
  });

  test('of two kinds at once is refused', async () => {
    const both = qcow2();
    both.writeUInt32LE(0xbeda107f, 64);
    expect(await refusal(both, 'qcow2')).toMatch(/several formats/);
    expect(await refusal(both, 'vdi')).toMatch(/several formats/);
  });

  test.each<[string, Buffer | string]>([
    ['qcow', Buffer.from('QFI\xfb\0\0\0\x01', 'latin1')], ['vmdk', 'COWD'], ['vmdk', '# Disk DescriptorFile\nversion=1\n'], ['vmdk', '\n\n# a comment\nversion=1\nRW 1 FLAT "/etc/passwd" 0\n'],
    ['vhdx', 'vhdxfile'], ['qed', 'QED\0'], ['luks', 'LUKS\xba\xbe'], ['parallels', 'WithoutFreeSpace'], ['bochs', 'Bochs Virtual HD Image'],
  ])('of a kind that we do not read (%s) is refused under every name', async (name, magic) => {
    const content = Buffer.concat([Buffer.from(magic as string, 'latin1'), Buffer.alloc(100_000)]);
    for (const format of [name, 'raw', 'qcow2', 'vmdk', 'ami']) await refusal(content, format);
  });
});

describe('a qcow2 image', () => {
  test.each([
    ['version 2', qcow2({ version: 2 })],
    ['the largest clusters', qcow2({ clusterBits: 21 })],
    ['the smallest clusters', qcow2({ clusterBits: 9, virtualBytes: 65_536n })],
    ['dirty flag', qcow2({ incompatible: 1n })],
    ['extended L2 entries', qcow2({ incompatible: 16n })],
    ['zstd compression', qcow2({ incompatible: 8n, headerLength: 112, compressionType: 1 })],
    ['a feature name table', qcow2Extension(0x6803f857, 96)],
    ['internal snapshots', qcow2({ snapshots: 2, snapshotsOffset: 65_536n })],
    ['an end in the middle of a cluster', qcow2().subarray(0, 196_608 + 8)],
  ])('with %s is accepted', async (_name, content) => {
    expect((await inspect(content, 'qcow2')).converterFormat).toBe('qcow2');
  });

  test('tells its virtual size', async () => {
    expect((await inspect(qcow2({ virtualBytes: 1n << 33n, l1Entries: 16 }), 'qcow2')).virtualBytes).toBe(1n << 33n);
  });

  test.each<[string, RegExp, Buffer]>([
    ['a backing file', /backing file/, qcow2({ backing: '/etc/passwd' })],
    ['a backing offset without length', /backing file/, qcow2({ backingOffset: 200n })],
    ['a backing length without offset', /backing file/, qcow2({ backingLength: 5 })],
    ['a data file', /data file/, qcow2({ incompatible: 4n })],
    ['a data file named in an extension only', /data file/, qcow2Extension(0x44415441, 11)],
    ['a data file in an extension of version 2', /data file/, qcow2Extension(0x44415441, 11, { version: 2 })],
    ['LUKS', /encrypted/, qcow2Extension(0x0537be77, 16)],
    ['AES', /encrypted/, qcow2({ crypt: 1 })],
    ['the corrupt flag', /corrupt/, qcow2({ incompatible: 2n })],
    ['an unknown feature', /features/, qcow2({ incompatible: 32n })],
    ['the highest unknown feature', /features/, qcow2({ incompatible: 1n << 63n })],
    ['version 4', /version/, qcow2({ version: 4 })],
    ['clusters of 256 octets', /cluster size/, qcow2({ clusterBits: 8 })],
    ['clusters of 4 MiB', /cluster size/, qcow2({ clusterBits: 22 })],
    ['clusters of 2^32 bits', /cluster size/, qcow2({ clusterBits: 0xffff_ffff })],
    ['no size', /impossible size/, qcow2({ virtualBytes: 0n })],
    ['the largest size', /size/, qcow2({ virtualBytes: (1n << 64n) - 1n })],
    ['a size of 8 EiB less one', /L1 table/, qcow2({ virtualBytes: (1n << 63n) - 1n })],
    ['too small an L1 table', /L1 table/, qcow2({ virtualBytes: 1n << 40n, l1Entries: 1 })],
    ['too large an L1 table', /L1 table/, qcow2({ l1Entries: 0xffff_ffff })],
    ['an L1 table outside the file', /L1 table outside/, qcow2({ l1Offset: 1n << 40n })],
    ['an L1 table in the header', /L1 table outside/, qcow2({ l1Offset: 0n })],
    ['an unaligned L1 table', /L1 table outside/, qcow2({ l1Offset: 65_537n })],
    ['a refcount table outside the file', /refcount table outside/, qcow2({ refcountOffset: 1n << 62n })],
    ['a refcount table of 256 TiB', /refcount table/, qcow2({ refcountClusters: 0xffff_ffff })],
    ['no refcount table', /refcount table/, qcow2({ refcountClusters: 0 })],
    ['reference counts of 2^7 bits', /reference counts/, qcow2({ refcountOrder: 7 })],
    ['a short header length', /length/, qcow2({ headerLength: 96 })],
    ['a long header length', /length/, qcow2({ headerLength: 0x7fff_fff8 })],
    ['an unknown compression', /compressed/, qcow2({ incompatible: 8n, headerLength: 112, compressionType: 2 })],
    ['a compression that it does not name', /compression/, qcow2({ incompatible: 8n })],
    ['an endless extension', /extension/, qcow2Extension(0x6803f857, 0xffff_fff0)],
    ['too many snapshots', /snapshots/, qcow2({ snapshots: 65_537 })],
    ['snapshots outside the file', /snapshot table/, qcow2({ snapshots: 1, snapshotsOffset: 1n << 50n })],
    ['half a header', /ends inside/, qcow2().subarray(0, 90)],
    ['eight octets', /ends inside/, qcow2().subarray(0, 8)],
  ])('with %s is refused', async (_name, reason, content) => {
    expect(await refusal(content, 'qcow2')).toMatch(reason);
  });

  test('with very many small extensions is refused without reading them all', async () => {
    const content = qcow2();
    for (let offset = 104; offset < 65_000; offset += 8) content.writeUInt32BE(0x6803f857, offset);
    expect(await refusal(content, 'qcow2')).toMatch(/too many extensions/);
  });
});

describe('a vmdk image', () => {
  test.each([
    ['monolithicSparse', vmdk()],
    ['streamOptimized', vmdk({ createType: 'streamOptimized' })],
    ['streamOptimized with its directory at the end', vmdk({ createType: 'streamOptimized', footer: {} })],
    ['an extent that is read-only', vmdk({ descriptor: vmdkDescriptor({ extents: ['RDONLY 2048 SPARSE "disk.vmdk"'] }) })],
  ])('of kind %s is accepted', async (_name, content) => {
    expect(await inspect(content, 'vmdk')).toMatchObject({ format: 'vmdk', virtualBytes: BigInt(MiB), converterFormat: 'vmdk' });
  });

  test.each<[string, RegExp, Buffer]>([
    ['kind monolithicFlat', /kinds/, vmdk({ createType: 'monolithicFlat' })],
    ['kind twoGbMaxExtentSparse', /kinds/, vmdk({ createType: 'twoGbMaxExtentSparse' })],
    ['no kind', /kinds/, vmdk({ descriptor: vmdkDescriptor({}).replace(/createType.*\n/, '') })],
    ['two kinds', /kinds/, vmdk({ descriptor: vmdkDescriptor({}) + 'createType="monolithicFlat"\n' })],
    ['a flat extent', /extent/, vmdk({ descriptor: vmdkDescriptor({ extents: ['RW 2048 FLAT "/etc/passwd" 0'] }) })],
    ['a second extent', /one extent/, vmdk({ descriptor: vmdkDescriptor({ extents: ['RW 2048 SPARSE "a.vmdk"', 'RW 1 FLAT "/etc/passwd" 0'] }) })],
    ['no extent', /one extent/, vmdk({ descriptor: vmdkDescriptor({ extents: [] }) })],
    ['an extent with a path', /outside itself/, vmdk({ descriptor: vmdkDescriptor({ extents: ['RW 2048 SPARSE "/dev/ada0"'] }) })],
    ['an extent with a protocol', /outside itself/, vmdk({ descriptor: vmdkDescriptor({ extents: ['RW 2048 SPARSE "nbd:host"'] }) })],
    ['an extent with a Windows path', /outside itself/, vmdk({ descriptor: vmdkDescriptor({ extents: ['RW 2048 SPARSE "..\\x"'] }) })],
    ['an extent of another size', /differ in size/, vmdk({ descriptor: vmdkDescriptor({ extents: ['RW 9999999 SPARSE "a"'] }) })],
    ['an extent in other letters', /extent/, vmdk({ descriptor: vmdkDescriptor({ extents: ['rw 2048 vmfs "a"'] }) })],
    ['a parent', /parent/, vmdk({ descriptor: vmdkDescriptor({}).replace('ffffffff', '12345678') })],
    ['the name of a parent', /parent/, vmdk({ descriptor: vmdkDescriptor({}) + 'parentFileNameHint="/etc/passwd"\n' })],
    ['lines of an unknown kind', /unknown kind/, vmdk({ descriptor: vmdkDescriptor({}) + 'include /etc/passwd\n' })],
    ['encryption', /encrypted/, vmdk({ descriptor: vmdkDescriptor({}) + 'encryption.keySafe = "x"\n' })],
    ['text behind the end of its descriptor', /hidden/, vmdk({ descriptor: `${vmdkDescriptor({})}\0RW 1 FLAT "/etc/passwd" 0\n` })],
    ['no capacity, which makes converters read the descriptor', /size/, vmdk({ capacity: 0n })],
    ['the largest capacity', /size/, vmdk({ capacity: (1n << 64n) - 1n })],
    ['no descriptor', /no descriptor/, vmdk({ descriptorSector: 0n })],
    ['a descriptor outside the file', /outside/, vmdk({ descriptorSector: 1n << 40n })],
    ['a descriptor of 2 TiB', /too long/, vmdk({ descriptorSectors: 1n << 32n })],
    ['a descriptor that is not one', /not one/, vmdk({ descriptor: 'createType="monolithicSparse"\n' })],
    ['version 4', /version/, vmdk({ version: 4 })],
    ['an odd grain', /grain size/, vmdk({ grain: 100n })],
    ['a grain of 0', /grain size/, vmdk({ grain: 0n })],
    ['a huge grain', /grain size/, vmdk({ grain: 1n << 40n })],
    ['no grain table entries', /grain tables/, vmdk({ entriesPerTable: 0 })],
    ['very many grain table entries', /grain tables/, vmdk({ entriesPerTable: 0xffff_ffff })],
    ['an unknown compression', /compressed/, vmdk({ compression: 7 })],
    ['a grain directory outside the file', /grain directory/, vmdk({ directory: 1n << 50n })],
    ['a text transfer behind it', /text transfer/, vmdk({ lineEnds: '\n \n\n' })],
    ['a footer that contradicts its header', /contradicts/, vmdk({ createType: 'streamOptimized', footer: { capacity: 1n << 30n } })],
    ['a footer with another descriptor', /contradicts/, vmdk({ createType: 'streamOptimized', footer: { descriptorSector: 30n } })],
    ['a footer that has no directory either', /grain directory/, vmdk({ createType: 'streamOptimized', footer: { directory: (1n << 64n) - 1n } })],
    ['no footer where one is needed', /header where it should be|cut short/, vmdk({ directory: (1n << 64n) - 1n })],
  ])('with %s is refused', async (_name, reason, content) => {
    expect(await refusal(content, 'vmdk')).toMatch(reason);
  });
});

describe('a vdi image', () => {
  test.each([['dynamic', vdi()], ['fixed', vdi({ type: 2, allocated: 2 })]])('that is %s is accepted', async (_name, content) => {
    expect(await inspect(content, 'vdi')).toMatchObject({ format: 'vdi', virtualBytes: BigInt(2 * MiB), converterFormat: 'vdi' });
  });

  test.each<[string, RegExp, Buffer]>([
    ['a parent', /parent/, vdi({ parent: true })],
    ['a link', /parent/, vdi({ link: true })],
    ['the kind of a difference', /depends/, vdi({ type: 4 })],
    ['the kind of an undo log', /depends/, vdi({ type: 3 })],
    ['an unknown version', /version/, vdi({ version: 0x0002_0000 })],
    ['more size than blocks', /size/, vdi({ virtualBytes: 1n << 40n })],
    ['no size', /size/, vdi({ virtualBytes: 0n })],
    ['blocks of 64 KiB', /block size/, vdi({ blockBytes: 65_536 })],
    ['more allocated blocks than blocks', /more blocks/, vdi({ allocated: 3 })],
    ['very many blocks', /block map outside/, vdi({ blocks: 0xffff_ffff })],
    ['its map in the header', /block map/, vdi({ map: 0 })],
    ['its data in the map', /cut short/, vdi({ data: 0 })],
    ['fewer data than blocks', /cut short/, vdi({ type: 2, allocated: 2 }).subarray(0, MiB)],
  ])('with %s is refused', async (_name, reason, content) => {
    expect(await refusal(content, 'vdi')).toMatch(reason);
  });
});

describe('a vhd image', () => {
  test('tells both of its sizes', async () => {
    expect(await inspect(vhdDynamic(), 'vhd')).toEqual({ format: 'vhd', virtualBytes: BigInt(2 * MiB), otherBytes: [BigInt(60 * 4 * 17 * 512)], converterFormat: 'vpc' });
  });

  test('of fixed size is known by its end, but only if it is registered so', async () => {
    expect((await inspect(vhdFixed(), 'vhd')).virtualBytes).toBe(BigInt(MiB));
    expect((await inspect(vhdFixed(), 'raw')).format).toBe('raw');
    await refusal(Buffer.alloc(MiB), 'vhd');
  });

  test.each<[string, RegExp, Buffer]>([
    ['a parent', /parent/, vhdDynamic({ type: 4 })],
    ['the id of a parent', /parent/, vhdDynamic({ parent: true })],
    ['a fixed kind at the start', /unknown kind/, vhdDynamic({ type: 2 })],
    ['a dynamic kind at the end only', /unknown kind/, vhdFixed({ type: 3 })],
    ['an unknown kind', /unknown kind/, vhdDynamic({ type: 77 })],
    ['a wrong checksum', /damaged/, (() => { const image = vhdDynamic(); image[30] = 1; return image; })()],
    ['a wrong checksum of the dynamic header', /damaged/, (() => { const image = vhdDynamic(); image[512 + 30] = 1; return image; })()],
    ['another version', /version/, vhdSeal(vhdDynamic(), (image) => image.writeUInt32BE(0x0002_0000, 12))],
    ['no size', /size/, vhdSeal(vhdDynamic(), (image) => image.writeBigUInt64BE(0n, 48))],
    ['the largest size', /size/, vhdSeal(vhdDynamic(), (image) => image.writeBigUInt64BE((1n << 64n) - 512n, 48))],
    ['its dynamic header outside the file', /outside/, vhdSeal(vhdDynamic(), (image) => image.writeBigUInt64BE(1n << 60n, 16))],
    ['blocks of 0', /block size/, vhdDynamic({ blockBytes: 0 })],
    ['blocks of 3', /block size/, vhdDynamic({ blockBytes: 3 })],
    ['a block table outside the file', /block table/, vhdDynamic({ entries: 0xffff_ffff })],
    ['a fixed size larger than the file', /cut short/, vhdFixed({ virtualBytes: BigInt(8 * MiB) })],
  ])('with %s is refused', async (_name, reason, content) => {
    expect(await refusal(content, 'vhd')).toMatch(reason);
  });
});

describe('whatever the image', () => {
  const formats = ['raw', 'iso', 'gpt', 'qcow2', 'vmdk', 'vdi', 'vhd', 'vhdx', 'ami', 'unknown'];
  const seeds: readonly Buffer[] = [qcow2(), qcow2({ version: 2 }), vmdk(), vmdk({ createType: 'streamOptimized', footer: {} }), vdi(), vhdDynamic(), vhdFixed(), gptDisk(), iso()].map((image) => image.subarray(0, 262_144));

  /** Small pieces only, all inside the file. */
  function watched(content: Uint8Array): ImageReader & { bytes: number } {
    const inner = memoryReader(content);
    const reader = {
      sizeBytes: inner.sizeBytes,
      bytes: 0,
      async read(offset: bigint, length: number) {
        expect(length).toBeLessThanOrEqual(MiB);
        reader.bytes += length;
        return inner.read(offset, length);
      },
    };
    return reader;
  }

  async function outcome(content: Uint8Array, format: string): Promise<string> {
    const reader = watched(content);
    try {
      const { format: found, virtualBytes, converterFormat } = await inspectImage(reader, format);
      expect(virtualBytes).toBeGreaterThan(0n);
      if (converterFormat === undefined) expect(virtualBytes).toBe(reader.sizeBytes);
      return found;
    } catch (error) {
      expect(codeOf(error), String(error)).toBe('image-unacceptable');
      return 'refused';
    } finally {
      expect(reader.bytes).toBeLessThan(4 * MiB);
    }
  }

  test('random octets are a raw disk or refused, never a container, and never an accident', async () => {
    await fc.assert(fc.asyncProperty(fc.uint8Array({ maxLength: 70_000 }), fc.constantFrom(...formats), async (content, format) => {
      expect(['raw', 'mbr', 'refused']).toContain(await outcome(content, format));
    }), { numRuns: 300 });
  });

  test('a good image with some octets changed is refused or taken for what it is registered as', async () => {
    const change = fc.record({ at: fc.oneof(fc.nat(127), fc.nat(700), fc.nat(200_000)), value: fc.constantFrom(0, 1, 2, 0x7f, 0x80, 0xff) });
    await fc.assert(fc.asyncProperty(fc.nat(seeds.length - 1), fc.array(change, { minLength: 1, maxLength: 6 }), fc.constantFrom(...formats), async (seed, changes, format) => {
      const content = Buffer.from(seeds[seed]!);
      for (const { at, value } of changes) content[at % content.length] = value;
      const found = await outcome(content, format);
      const allowed: Record<string, string[]> = { raw: ['raw', 'gpt', 'mbr'], gpt: ['gpt', 'mbr'], ami: ['raw', 'gpt', 'mbr', 'iso', 'qcow2', 'vmdk', 'vdi', 'vhd'] };
      expect(['refused', ...(allowed[format] ?? [format])]).toContain(found);
    }), { numRuns: 1000 });
  });

  test('an image cut short anywhere is no accident', async () => {
    await fc.assert(fc.asyncProperty(fc.nat(seeds.length - 1), fc.nat(262_144), fc.constantFrom(...formats), async (seed, length, format) => {
      const image = seeds[seed]!;
      await outcome(image.subarray(0, length % (image.length + 1)), format);
    }), { numRuns: 500 });
  });

  test('a container registered as raw is refused as long as its signature stands', async () => {
    const containers = seeds.slice(0, 6);
    await fc.assert(fc.asyncProperty(fc.nat(containers.length - 1), fc.nat(200_000), fc.nat(255), async (seed, at, value) => {
      const content = Buffer.from(containers[seed]!);
      content[72 + (at % (content.length - 72))] = value; // every signature lies before that
      expect(await outcome(content, 'raw')).toBe('refused');
    }), { numRuns: 300 });
  });
});
