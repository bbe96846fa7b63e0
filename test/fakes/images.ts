/** Disk images made on the spot: good by default, and bad in the one way that a test asks for. No data, only headers and tables. */

const MiB = 1024 * 1024;

export interface Qcow2Options {
  version?: number; clusterBits?: number; virtualBytes?: bigint; backing?: string; backingOffset?: bigint; backingLength?: number; crypt?: number;
  incompatible?: bigint; l1Entries?: number; l1Offset?: bigint; refcountOffset?: bigint; refcountClusters?: number; refcountOrder?: number; headerLength?: number;
  compressionType?: number; snapshots?: number; snapshotsOffset?: bigint;
}

/** Header, refcount table, a refcount block and the L1 table, one cluster each. */
export function qcow2(options: Qcow2Options = {}): Buffer {
  const clusterBits = options.clusterBits ?? 16;
  const clusterBytes = clusterBits >= 9 && clusterBits <= 21 ? 1 << clusterBits : 65_536;
  const image = Buffer.alloc(4 * clusterBytes);
  image.write('QFI\xfb', 0, 'latin1');
  image.writeUInt32BE(options.version ?? 3, 4);
  image.writeBigUInt64BE(options.backingOffset ?? (options.backing === undefined ? 0n : 400n), 8);
  image.writeUInt32BE(options.backingLength ?? options.backing?.length ?? 0, 16);
  image.writeUInt32BE(clusterBits, 20);
  image.writeBigUInt64BE(options.virtualBytes ?? BigInt(MiB), 24);
  image.writeUInt32BE(options.crypt ?? 0, 32);
  image.writeUInt32BE(options.l1Entries ?? 4, 36);
  image.writeBigUInt64BE(options.l1Offset ?? BigInt(3 * clusterBytes), 40);
  image.writeBigUInt64BE(options.refcountOffset ?? BigInt(clusterBytes), 48);
  image.writeUInt32BE(options.refcountClusters ?? 1, 56);
  image.writeUInt32BE(options.snapshots ?? 0, 60);
  image.writeBigUInt64BE(options.snapshotsOffset ?? 0n, 64);
  if (options.backing !== undefined) image.write(options.backing, 400);
  if ((options.version ?? 3) === 2) return image;
  image.writeBigUInt64BE(options.incompatible ?? 0n, 72);
  image.writeUInt32BE(options.refcountOrder ?? 4, 96);
  image.writeUInt32BE(options.headerLength ?? 104, 100);
  image[104] = options.compressionType ?? 0;
  return image;
}

/** A qcow2 image with one header extension, then the end mark. */
export function qcow2Extension(type: number, length: number, options: Qcow2Options = {}): Buffer {
  const image = qcow2(options);
  const at = options.version === 2 ? 72 : 104;
  image.writeUInt32BE(type, at);
  image.writeUInt32BE(length, at + 4);
  return image;
}

export interface VmdkOptions {
  version?: number; capacity?: bigint; grain?: bigint; descriptorSector?: bigint; descriptorSectors?: bigint; entriesPerTable?: number; directory?: bigint;
  compression?: number; lineEnds?: string; createType?: string; descriptor?: string;
  /** Puts the grain directory's place into a footer. */
  footer?: Pick<VmdkOptions, 'capacity' | 'descriptorSector' | 'directory'>;
}

export function vmdkDescriptor(options: { createType?: string; extents?: readonly string[] }): string {
  return ['# Disk DescriptorFile', 'version=1', 'CID=9a8b7c6d', 'parentCID=ffffffff', `createType="${options.createType ?? 'monolithicSparse'}"`, '', '# Extent description',
    ...(options.extents ?? ['RW 2048 SPARSE "disk.vmdk"']), '', '# The Disk Data Base', '#DDB', '', 'ddb.virtualHWVersion = "4"', 'ddb.geometry.cylinders = "1"', ''].join('\n');
}

/** 1 MiB of capacity: header, descriptor, grain directory, perhaps a footer. */
export function vmdk(options: VmdkOptions = {}): Buffer {
  const image = Buffer.alloc(64 * 512 + (options.footer === undefined ? 0 : 1536));
  const atEnd = (1n << 64n) - 1n;
  vmdkHeader(options, options.directory ?? (options.footer === undefined ? 40n : atEnd)).copy(image);
  image.write(options.descriptor ?? vmdkDescriptor(options.createType === undefined ? {} : { createType: options.createType }), 512, 'latin1');
  if (options.footer !== undefined) {
    const { footer, ...header } = options;
    vmdkHeader({ ...header, ...footer }, footer.directory ?? 40n).copy(image, image.length - 1024);
  }
  return image;
}

function vmdkHeader(options: VmdkOptions, directory: bigint): Buffer {
  const header = Buffer.alloc(512);
  header.write('KDMV');
  header.writeUInt32LE(options.version ?? 1, 4);
  header.writeUInt32LE(3, 8);
  header.writeBigUInt64LE(options.capacity ?? 2048n, 12);
  header.writeBigUInt64LE(options.grain ?? 128n, 20);
  header.writeBigUInt64LE(options.descriptorSector ?? 1n, 28);
  header.writeBigUInt64LE(options.descriptorSectors ?? 20n, 36);
  header.writeUInt32LE(options.entriesPerTable ?? 512, 44);
  header.writeBigUInt64LE(directory, 56);
  header.write(options.lineEnds ?? '\n \r\n', 73, 'latin1');
  header.writeUInt16LE(options.compression ?? 0, 77);
  return header;
}

export interface VdiOptions {
  version?: number; type?: number; virtualBytes?: bigint; blockBytes?: number; blocks?: number; allocated?: number; map?: number; data?: number; parent?: boolean; link?: boolean;
}

/** Two blocks of 1 MiB, none allocated. */
export function vdi(options: VdiOptions = {}): Buffer {
  const allocated = options.allocated ?? 0;
  const image = Buffer.alloc(MiB + Math.min(allocated, 2) * MiB);
  image.write('<<< Oracle VM VirtualBox Disk Image >>>\n');
  image.writeUInt32LE(0xbeda107f, 64);
  image.writeUInt32LE(options.version ?? 0x0001_0001, 68);
  image.writeUInt32LE(400, 72);
  image.writeUInt32LE(options.type ?? 1, 76);
  image.writeUInt32LE(options.map ?? 512, 340);
  image.writeUInt32LE(options.data ?? MiB, 344);
  image.writeUInt32LE(512, 360);
  image.writeBigUInt64LE(options.virtualBytes ?? BigInt(2 * MiB), 368);
  image.writeUInt32LE(options.blockBytes ?? MiB, 376);
  image.writeUInt32LE(options.blocks ?? 2, 384);
  image.writeUInt32LE(allocated, 388);
  image.fill(7, 392, 424);
  if (options.link === true) image.fill(7, 424, 440);
  if (options.parent === true) image.fill(7, 440, 456);
  return image;
}

/** Writes a VHD checksum: of 512 octets at 0, and of the dynamic header behind it if there is one. */
export function vhdSeal(image: Buffer, change: (image: Buffer) => void = () => undefined, offset = 0): Buffer {
  change(image);
  seal(image.subarray(offset, offset + 512), 64);
  if (image.toString('latin1', 512, 520) === 'cxsparse') seal(image.subarray(512, 1536), 36);
  return image;
}

function seal(part: Buffer, at: number): void {
  part.writeUInt32BE(0, at);
  part.writeUInt32BE(~part.reduce((sum, octet) => sum + octet, 0) >>> 0, at);
}

function vhdFooter(type: number, virtualBytes: bigint, dataOffset: bigint): Buffer {
  const footer = Buffer.alloc(512);
  footer.write('conectix');
  footer.writeUInt32BE(2, 8);
  footer.writeUInt32BE(0x0001_0000, 12);
  footer.writeBigUInt64BE(dataOffset, 16);
  footer.write('vpc ', 28);
  footer.writeBigUInt64BE(virtualBytes, 40);
  footer.writeBigUInt64BE(virtualBytes, 48);
  footer.writeUInt16BE(60, 56);
  footer[58] = 4;
  footer[59] = 17;
  footer.writeUInt32BE(type, 60);
  return footer;
}

/** 2 MiB in one block that is not there. */
export function vhdDynamic(options: { type?: number; parent?: boolean; blockBytes?: number; entries?: number } = {}): Buffer {
  const header = Buffer.alloc(1024);
  header.write('cxsparse');
  header.writeBigUInt64BE((1n << 64n) - 1n, 8);
  header.writeBigUInt64BE(1536n, 16);
  header.writeUInt32BE(0x0001_0000, 24);
  header.writeUInt32BE(options.entries ?? 1, 28);
  header.writeUInt32BE(options.blockBytes ?? 2 * MiB, 32);
  if (options.parent === true) header.fill(7, 40, 56);
  const footer = vhdFooter(options.type ?? 3, BigInt(2 * MiB), 512n);
  const image = vhdSeal(Buffer.concat([footer, header, Buffer.alloc(512, 0xff), footer]));
  image.copy(image, image.length - 512, 0, 512);
  return image;
}

/** 1 MiB of disk, then the footer. */
export function vhdFixed(options: { type?: number; virtualBytes?: bigint } = {}): Buffer {
  const image = Buffer.concat([Buffer.alloc(MiB, 'd'), vhdFooter(options.type ?? 2, options.virtualBytes ?? BigInt(MiB), (1n << 64n) - 1n)]);
  return vhdSeal(image, undefined, MiB);
}

/** A disk with a protective MBR and a GPT header. */
export function gptDisk(bytes = 128 * 1024): Buffer {
  const disk = Buffer.alloc(bytes);
  disk[446 + 4] = 0xee;
  disk.writeUInt16LE(0xaa55, 510);
  disk.write('EFI PART', 512);
  return disk;
}

export function mbrDisk(bytes = 64 * 1024): Buffer {
  const disk = Buffer.alloc(bytes);
  disk[446] = 0x80;
  disk[446 + 4] = 0xa5;
  disk.writeUInt16LE(0xaa55, 510);
  return disk;
}

/** An ISO 9660 image, on `disk` if given (hybrid). */
export function iso(disk: Buffer = Buffer.alloc(64 * 1024)): Buffer {
  const image = Buffer.from(disk);
  image[0x8000] = 1;
  image.write('CD001', 0x8001);
  return image;
}
