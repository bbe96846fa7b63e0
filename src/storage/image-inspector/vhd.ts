/**
 * Microsoft VHD (numbers big endian): fixed (the disk, then a footer) and dynamic (a copy of the footer first). Differencing disks
 * are refused. The size stands twice, as octets and as cylinders, heads and sectors; which one counts depends on the
 * program that made the image, so both are given and the converter's own choice must be one of them.
 */
import { readExactly, require, type ImageReader } from './reader.js';

export const VHD_FOOTER_BYTES = 512;
const TYPE = { fixed: 2, dynamic: 3, differencing: 4 } as const;
const VERSION_1 = 0x0001_0000;

export interface VhdSizes {
  readonly virtualBytes: bigint;
  readonly otherBytes: readonly bigint[];
}

/** Whether the last 512 octets are the footer of a fixed VHD. */
export async function hasVhdFooter(reader: ImageReader): Promise<boolean> {
  if (reader.sizeBytes < BigInt(VHD_FOOTER_BYTES)) return false;
  const footer = await reader.read(reader.sizeBytes - BigInt(VHD_FOOTER_BYTES), VHD_FOOTER_BYTES);
  return footer.toString('latin1', 0, 8) === 'conectix';
}

export async function inspectVhd(reader: ImageReader): Promise<VhdSizes> {
  const first = await readExactly(reader, 0n, VHD_FOOTER_BYTES, 'vhd header');
  const isDynamic = first.toString('latin1', 0, 8) === 'conectix';
  require(reader.sizeBytes >= BigInt(VHD_FOOTER_BYTES), 'the vhd image is cut short');
  const footer = isDynamic ? first : await readExactly(reader, reader.sizeBytes - BigInt(VHD_FOOTER_BYTES), VHD_FOOTER_BYTES, 'vhd footer');
  require(footer.toString('latin1', 0, 8) === 'conectix' && footer.readUInt32BE(12) === VERSION_1, 'this version of vhd is not supported');
  require(footer.readUInt32BE(64) === checksum(footer, 64), 'the vhd header is damaged');
  const type = footer.readUInt32BE(60);
  require(type !== TYPE.differencing, 'the vhd image has a parent');
  require(type === (isDynamic ? TYPE.dynamic : TYPE.fixed), 'the vhd image is of an unknown kind');
  const sizes = sizesOf(footer);
  if (isDynamic) await inspectDynamic(reader, footer);
  else require(sizes.virtualBytes + BigInt(VHD_FOOTER_BYTES) <= reader.sizeBytes, 'the vhd image is cut short');
  return sizes;
}

function sizesOf(footer: Buffer): VhdSizes {
  const virtualBytes = footer.readBigUInt64BE(48);
  require(virtualBytes > 0n && virtualBytes < 1n << 53n && virtualBytes % 512n === 0n, 'the vhd image has an impossible size');
  const geometry = BigInt(footer.readUInt16BE(56)) * BigInt(footer[58]!) * BigInt(footer[59]!) * 512n;
  return { virtualBytes, otherBytes: geometry === 0n ? [] : [geometry] };
}

async function inspectDynamic(reader: ImageReader, footer: Buffer): Promise<void> {
  const offset = footer.readBigUInt64BE(16);
  require(offset >= 512n && offset <= reader.sizeBytes - 512n, 'the vhd image has its dynamic header outside the file');
  const header = await readExactly(reader, offset, 1024, 'vhd dynamic header');
  require(header.toString('latin1', 0, 8) === 'cxsparse' && header.readUInt32BE(36) === checksum(header, 36), 'the vhd dynamic header is damaged');
  require(header.subarray(40, 56).every((octet) => octet === 0), 'the vhd image has a parent');
  const blockBytes = header.readUInt32BE(32);
  require(blockBytes >= 512 && blockBytes <= 256 * 1024 * 1024 && (blockBytes & (blockBytes - 1)) === 0, 'the vhd image has an impossible block size');
  const entries = BigInt(header.readUInt32BE(28));
  const table = header.readBigUInt64BE(16);
  require(entries > 0n && table >= 512n && table + entries * 4n <= reader.sizeBytes, 'the vhd image has its block table outside the file');
}

/** One's complement of the sum of all octets but those of the checksum itself. */
function checksum(octets: Buffer, at: number): number {
  let sum = 0;
  for (let index = 0; index < octets.length; index += 1) if (index < at || index >= at + 4) sum += octets[index]!;
  return ~sum >>> 0;
}
