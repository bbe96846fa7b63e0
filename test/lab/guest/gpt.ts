/** A disk image with a GUID partition table: the few bytes that firmware and Linux look at (UEFI 2.10, chapter 5). */
import { randomUUID } from 'node:crypto';
import { crc32 } from 'node:zlib';

const SECTOR = 512;
const FIRST = 2048;
const ENTRY_BYTES = 128;
const ENTRIES = 128;

export interface Partition {
  readonly name: string;
  /** Type GUID. */
  readonly type: string;
  /** A multiple of 1 MiB. */
  readonly content: Buffer;
}

export function gptImage(bytes: number, partitions: readonly Partition[]): Buffer {
  const disk = Buffer.alloc(bytes);
  const last = bytes / SECTOR - 1;
  const entries = Buffer.alloc(ENTRY_BYTES * ENTRIES);
  let start = FIRST;
  for (const [index, { name, type, content }] of partitions.entries()) {
    const at = index * ENTRY_BYTES;
    guid(type).copy(entries, at);
    guid(randomUUID()).copy(entries, at + 16);
    entries.writeBigUInt64LE(BigInt(start), at + 32);
    entries.writeBigUInt64LE(BigInt(start + content.length / SECTOR - 1), at + 40);
    entries.write(name, at + 56, 'utf16le');
    content.copy(disk, start * SECTOR);
    start += content.length / SECTOR;
  }
  const diskGuid = guid(randomUUID());
  protectiveMbr(disk, last);
  header(1, last, 2, last, diskGuid, entries).copy(disk, SECTOR);
  entries.copy(disk, 2 * SECTOR);
  entries.copy(disk, (last - 32) * SECTOR);
  header(last, 1, last - 32, last, diskGuid, entries).copy(disk, last * SECTOR);
  return disk;
}

/** The first three fields of a GUID are little endian. */
function guid(text: string): Buffer {
  const plain = Buffer.from(text.replaceAll('-', ''), 'hex');
  return Buffer.concat([Buffer.from(plain.subarray(0, 4)).reverse(), Buffer.from(plain.subarray(4, 6)).reverse(), Buffer.from(plain.subarray(6, 8)).reverse(), plain.subarray(8)]);
}

function protectiveMbr(disk: Buffer, last: number): void {
  disk.set([0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff], 446);
  disk.writeUInt32LE(1, 454);
  disk.writeUInt32LE(Math.min(last, 0xffffffff), 458);
  disk.writeUInt16LE(0xaa55, 510);
}

function header(own: number, other: number, entriesAt: number, last: number, diskGuid: Buffer, entries: Buffer): Buffer {
  const block = Buffer.alloc(SECTOR);
  block.write('EFI PART', 0);
  block.writeUInt32LE(0x10000, 8);
  block.writeUInt32LE(92, 12);
  block.writeBigUInt64LE(BigInt(own), 24);
  block.writeBigUInt64LE(BigInt(other), 32);
  block.writeBigUInt64LE(34n, 40);
  block.writeBigUInt64LE(BigInt(last - 33), 48);
  diskGuid.copy(block, 56);
  block.writeBigUInt64LE(BigInt(entriesAt), 72);
  block.writeUInt32LE(ENTRIES, 80);
  block.writeUInt32LE(ENTRY_BYTES, 84);
  block.writeUInt32LE(checksum(entries), 88);
  block.writeUInt32LE(checksum(block.subarray(0, 92)), 16);
  return block;
}

const checksum = (data: Buffer): number => crc32(data) >>> 0;
