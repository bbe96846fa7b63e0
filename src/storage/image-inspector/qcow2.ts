/**
 * qcow2, versions 2 and 3 (layout: docs/interop/qcow2 of QEMU; all numbers big endian). Refused: anything that makes a converter
 * open another file (backing file, external data file), encryption, features that we do not know, tables outside the file
 * or larger than the disk needs. Internal snapshots are let through: they are data that the converter does not read.
 */
import { readExactly, require, type ImageReader } from './reader.js';

const HEADER_BYTES = { 2: 72, 3: 104 } as const;
/** Incompatible features: dirty, corrupt, data file, compression type, extended L2. */
const FEATURE = { dirty: 1n, corrupt: 2n, dataFile: 4n, compressionType: 8n, extendedL2: 16n } as const;
const ACCEPTED_FEATURES = FEATURE.dirty | FEATURE.compressionType | FEATURE.extendedL2;
const EXTENSION = { end: 0, dataFile: 0x44415441, luks: 0x0537be77 } as const;
/** QEMU's own limits. */
const MAX_L1_BYTES = 32n * 1024n * 1024n;
const MAX_REFCOUNT_TABLE_BYTES = 8n * 1024n * 1024n;
const MAX_SNAPSHOTS = 65_536;
const MAX_EXTENSIONS = 64;

/** Virtual size in octets. */
export async function inspectQcow2(reader: ImageReader): Promise<bigint> {
  const start = await readExactly(reader, 0n, HEADER_BYTES[2], 'qcow2 header');
  const version = start.readUInt32BE(4);
  require(version === 2 || version === 3, 'this version of qcow2 is not supported');
  const header = await readExactly(reader, 0n, HEADER_BYTES[version], 'qcow2 header');
  require(header.readBigUInt64BE(8) === 0n && header.readUInt32BE(16) === 0, 'the qcow2 image has a backing file');
  require(header.readUInt32BE(32) === 0, 'the qcow2 image is encrypted');
  const clusterBits = header.readUInt32BE(20);
  require(clusterBits >= 9 && clusterBits <= 21, 'the qcow2 image has an impossible cluster size');
  const clusterBytes = 1n << BigInt(clusterBits);
  const headerBytes = version === 2 ? HEADER_BYTES[2] : await inspectVersion3(reader, header, clusterBytes);
  await inspectExtensions(reader, headerBytes, clusterBytes);
  const hasExtendedL2 = version === 3 && (header.readBigUInt64BE(72) & FEATURE.extendedL2) !== 0n;
  return inspectTables(reader, header, clusterBytes, hasExtendedL2 ? 16n : 8n);
}

/** Length of the header. */
async function inspectVersion3(reader: ImageReader, header: Buffer, clusterBytes: bigint): Promise<number> {
  const features = header.readBigUInt64BE(72);
  require((features & FEATURE.dataFile) === 0n, 'the qcow2 image has an external data file');
  require((features & FEATURE.corrupt) === 0n, 'the qcow2 image is marked as corrupt');
  require((features & ~ACCEPTED_FEATURES) === 0n, 'the qcow2 image needs features that are not known here');
  require((features & FEATURE.extendedL2) === 0n || clusterBytes >= 16_384n, 'the qcow2 image has an impossible cluster size');
  require(header.readUInt32BE(96) <= 6, 'the qcow2 image has impossible reference counts');
  const headerBytes = header.readUInt32BE(100);
  require(headerBytes >= HEADER_BYTES[3] && headerBytes % 8 === 0 && BigInt(headerBytes) <= clusterBytes && headerBytes <= 65_536,
    'the qcow2 header has an impossible length');
  if ((features & FEATURE.compressionType) !== 0n) {
    require(headerBytes > HEADER_BYTES[3], 'the qcow2 header does not hold its compression type');
    const [type] = await readExactly(reader, BigInt(HEADER_BYTES[3]), 1, 'qcow2 header');
    require(type === 0 || type === 1, 'the qcow2 image is compressed in an unknown way');
  }
  return headerBytes;
}

async function inspectExtensions(reader: ImageReader, headerBytes: number, clusterBytes: bigint): Promise<void> {
  let offset = BigInt(headerBytes);
  for (let count = 0; offset + 8n <= clusterBytes; count += 1) {
    require(count < MAX_EXTENSIONS, 'the qcow2 header has too many extensions');
    const extension = await readExactly(reader, offset, 8, 'qcow2 header');
    const type = extension.readUInt32BE(0);
    if (type === EXTENSION.end) return;
    require(type !== EXTENSION.dataFile, 'the qcow2 image has an external data file');
    require(type !== EXTENSION.luks, 'the qcow2 image is encrypted');
    const length = BigInt(extension.readUInt32BE(4));
    offset += 8n + ((length + 7n) / 8n) * 8n;
    require(offset <= clusterBytes, 'the qcow2 header has an extension that is too long');
  }
}

async function inspectTables(reader: ImageReader, header: Buffer, clusterBytes: bigint, l2EntryBytes: bigint): Promise<bigint> {
  const virtualBytes = header.readBigUInt64BE(24);
  require(virtualBytes > 0n && virtualBytes < 1n << 63n, 'the qcow2 image has an impossible size');
  const entries = BigInt(header.readUInt32BE(36));
  const bytesPerEntry = clusterBytes * (clusterBytes / l2EntryBytes);
  const needed = (virtualBytes + bytesPerEntry - 1n) / bytesPerEntry;
  require(entries >= needed && entries * 8n <= MAX_L1_BYTES, 'the qcow2 image has an L1 table of an impossible size');
  requireInside(reader, header.readBigUInt64BE(40), entries * 8n, clusterBytes, 'L1 table');
  const refcountBytes = BigInt(header.readUInt32BE(56)) * clusterBytes;
  require(refcountBytes > 0n && refcountBytes <= MAX_REFCOUNT_TABLE_BYTES, 'the qcow2 image has a refcount table of an impossible size');
  requireInside(reader, header.readBigUInt64BE(48), refcountBytes, clusterBytes, 'refcount table');
  const snapshots = header.readUInt32BE(60);
  require(snapshots <= MAX_SNAPSHOTS, 'the qcow2 image has too many snapshots');
  if (snapshots > 0) requireInside(reader, header.readBigUInt64BE(64), BigInt(snapshots) * 40n, clusterBytes, 'snapshot table');
  return virtualBytes;
}

/** A table may end in the middle of the last cluster, but it must start inside the file and be aligned. */
function requireInside(reader: ImageReader, offset: bigint, bytes: bigint, clusterBytes: bigint, what: string): void {
  require(offset >= clusterBytes && offset % clusterBytes === 0n && offset + bytes <= roundUp(reader.sizeBytes, clusterBytes), `the qcow2 image has its ${what} outside the file`);
}

const roundUp = (value: bigint, unit: bigint): bigint => ((value + unit - 1n) / unit) * unit;
