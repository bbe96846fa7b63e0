/**
 * VMDK, hosted sparse extents only (VMware's "Virtual Disk Format 5.0"; numbers little endian): streamOptimized and
 * monolithicSparse, where the one extent is this file. Refused: descriptors that stand alone or name other files, parents,
 * other kinds, encryption of the descriptor, and a capacity of 0, which makes converters follow the descriptor's file names.
 */
import { readExactly, require, type ImageReader } from './reader.js';

const SECTOR = 512n;
const HEADER_BYTES = 512;
const MAX_DESCRIPTOR_SECTORS = 2048n; // 1 MiB; real ones have one to twenty sectors
const GD_AT_END = (1n << 64n) - 1n;
const FOOTER_BYTES = 1536n; // footer marker, footer, end-of-stream marker
const allowedTypes = ['streamoptimized', 'monolithicsparse'];

interface SparseHeader {
  readonly version: number;
  readonly flags: number;
  readonly capacitySectors: bigint;
  readonly grainSectors: bigint;
  readonly descriptorSector: bigint;
  readonly descriptorSectors: bigint;
  readonly entriesPerTable: number;
  readonly directorySector: bigint;
  readonly compression: number;
}

/** Virtual size in octets. */
export async function inspectVmdk(reader: ImageReader): Promise<bigint> {
  const header = await readHeader(reader, 0n);
  inspectHeader(header);
  await inspectDescriptor(reader, header);
  if (header.directorySector === GD_AT_END) await inspectFooter(reader, header);
  else requireDirectory(reader, header);
  return header.capacitySectors * SECTOR;
}

async function readHeader(reader: ImageReader, offset: bigint): Promise<SparseHeader> {
  const octets = await readExactly(reader, offset, HEADER_BYTES, 'vmdk header');
  require(octets.toString('latin1', 0, 4) === 'KDMV', 'the vmdk image has no sparse header where it should be');
  require(octets.toString('latin1', 73, 77) === '\n \r\n', 'the vmdk header was damaged by a text transfer');
  return {
    version: octets.readUInt32LE(4),
    flags: octets.readUInt32LE(8),
    capacitySectors: octets.readBigUInt64LE(12),
    grainSectors: octets.readBigUInt64LE(20),
    descriptorSector: octets.readBigUInt64LE(28),
    descriptorSectors: octets.readBigUInt64LE(36),
    entriesPerTable: octets.readUInt32LE(44),
    directorySector: octets.readBigUInt64LE(56),
    compression: octets.readUInt16LE(77),
  };
}

function inspectHeader(header: SparseHeader): void {
  require(header.version >= 1 && header.version <= 3, 'this version of vmdk is not supported');
  require(header.capacitySectors > 0n && header.capacitySectors < 1n << 54n, 'the vmdk image has an impossible size');
  const grain = header.grainSectors;
  require(grain >= 8n && grain <= 2048n && (grain & (grain - 1n)) === 0n, 'the vmdk image has an impossible grain size');
  require(header.entriesPerTable > 0 && header.entriesPerTable <= 512, 'the vmdk image has impossible grain tables');
  require(header.compression === 0 || header.compression === 1, 'the vmdk image is compressed in an unknown way');
}

async function inspectDescriptor(reader: ImageReader, header: SparseHeader): Promise<void> {
  require(header.descriptorSector > 0n && header.descriptorSectors > 0n, 'the vmdk image has no descriptor');
  require(header.descriptorSectors <= MAX_DESCRIPTOR_SECTORS, 'the vmdk descriptor is too long');
  require((header.descriptorSector + header.descriptorSectors) * SECTOR <= reader.sizeBytes, 'the vmdk descriptor lies outside the file');
  const octets = await readExactly(reader, header.descriptorSector * SECTOR, Number(header.descriptorSectors * SECTOR), 'vmdk descriptor');
  const end = octets.indexOf(0);
  const text = octets.toString('latin1', 0, end < 0 ? octets.length : end);
  require(/^# Disk DescriptorFile/.test(text), 'the vmdk descriptor is not one');
  require(octets.subarray(end < 0 ? octets.length : end).every((octet) => octet === 0), 'the vmdk descriptor has something hidden behind its end');
  const lines = text.split(/\r?\n/).map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'));
  inspectSettings(lines.filter((line) => !isExtent(line)));
  inspectExtents(lines.filter(isExtent), header);
}

const isExtent = (line: string): boolean => /^(?:RW|RDONLY|NOACCESS)\b/i.test(line);

/** Settings are `name = value` lines; each of those that matter must be there once, with a harmless value. */
function inspectSettings(lines: readonly string[]): void {
  const valuesOf = (name: string): string[] => lines.flatMap((line) => {
    const match = /^([\w.]+)\s*=\s*"?([^"]*)"?$/.exec(line);
    return match !== null && match[1]!.toLowerCase() === name ? [match[2]!.trim().toLowerCase()] : [];
  });
  require(lines.every((line) => /^[\w.]+\s*=/.test(line)), 'the vmdk descriptor has lines of an unknown kind');
  const types = valuesOf('createtype');
  require(types.length === 1 && allowedTypes.includes(types[0]!), 'only vmdk images of the kinds streamOptimized and monolithicSparse are supported');
  require(valuesOf('parentcid').every((value) => value === 'ffffffff'), 'the vmdk image has a parent');
  require(!lines.some((line) => /^parentFileNameHint/i.test(line)), 'the vmdk image has a parent');
  require(!lines.some((line) => /^(?:encryption|changeTrackPath)/i.test(line)), 'the vmdk image is encrypted or tracks changes in another file');
}

function inspectExtents(extents: readonly string[], header: SparseHeader): void {
  require(extents.length === 1, 'the vmdk image is not made of exactly one extent');
  const match = /^(?:RW|RDONLY)\s+(\d{1,18})\s+SPARSE\s+"([^"]*)"$/i.exec(extents[0]!);
  require(match !== null, 'the vmdk image has an extent of an unknown kind');
  require(match[2] !== '' && !/[/\\:]/.test(match[2]!), 'the vmdk image names a file outside itself');
  require(BigInt(match[1]!) === header.capacitySectors, 'the vmdk descriptor and header differ in size');
}

/** A stream-optimised image repeats its header at the end, now with the place of the grain directory. Converters believe that one. */
async function inspectFooter(reader: ImageReader, header: SparseHeader): Promise<void> {
  require(reader.sizeBytes >= FOOTER_BYTES && reader.sizeBytes % SECTOR === 0n, 'the vmdk image is cut short');
  const footer = await readHeader(reader, reader.sizeBytes - FOOTER_BYTES + SECTOR);
  inspectHeader(footer);
  const same = (['version', 'capacitySectors', 'grainSectors', 'entriesPerTable', 'descriptorSector', 'descriptorSectors', 'compression'] as const)
    .every((field) => footer[field] === header[field]);
  require(same, 'the vmdk image contradicts itself in its footer');
  require(footer.directorySector !== GD_AT_END, 'the vmdk image has no grain directory');
  requireDirectory(reader, footer);
}

function requireDirectory(reader: ImageReader, header: SparseHeader): void {
  const sectorsPerTable = header.grainSectors * BigInt(header.entriesPerTable);
  const tables = (header.capacitySectors + sectorsPerTable - 1n) / sectorsPerTable;
  require(header.directorySector > 0n && header.directorySector * SECTOR + tables * 4n <= reader.sizeBytes, 'the vmdk image has its grain directory outside the file');
}
