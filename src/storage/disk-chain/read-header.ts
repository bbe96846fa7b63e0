/**
 * Header of a qcow2 file of ours (layout: docs/interop/qcow2.txt of QEMU; all numbers big endian). Not for images of tenants: those go through the image inspector,
 * which lets no backing file pass. Stricter than the format, by what libvdsk can open (qcow.c of FreeBSD-UPB/libvdsk, master of 2021): no encryption, no incompatible
 * feature, reference counts of 16 bits, and version 3 only, because it reads the features of version 2 too, which has the format of the backing file in their place.
 */
import { AgentError } from '../../lib/errors.js';
import { MAX_PIECE_BYTES, type ImageReader } from '../image-inspector/reader.js';
import type { InternalSnapshot } from './types.js';

const HEADER_BYTES = 104;
const REFCOUNT_ORDER = 4;
const FORMAT_EXTENSION = 0xe2792aca;
const SNAPSHOT_ENTRY_BYTES = 40;
/** QEMU's own limit for the name of a backing file. */
const MAX_NAME_BYTES = 1023;

export interface Qcow2Header {
  readonly virtualBytes: bigint;
  readonly clusterBytes: number;
  readonly backing: { readonly name: string; readonly format: string | null } | null;
  readonly snapshots: readonly InternalSnapshot[];
}

/** The error for a file or an index that is not as we write it. */
export const damaged = (path: string, reason: string): AgentError => new AgentError('disk-chain-damaged', `a file of a disk is not as it was made: ${reason}`, { details: { path, reason } });

/** AgentError `disk-chain-damaged`. Reads the first cluster and the table of snapshots. `path` is for the message only. */
export async function readHeader(reader: ImageReader, path: string): Promise<Qcow2Header> {
  const check: Check = (isGood, reason) => {
    if (!isGood) throw damaged(path, reason);
  };
  const start = await reader.read(0n, HEADER_BYTES);
  check(start.length === HEADER_BYTES && start.toString('latin1', 0, 4) === 'QFI\xfb', 'it is no qcow2 file');
  check(start.readUInt32BE(4) === 3, 'it is not of version 3 of qcow2');
  const clusterBits = start.readUInt32BE(20);
  check(clusterBits >= 9 && clusterBits <= 21, 'its cluster size is impossible');
  const clusterBytes = 2 ** clusterBits;
  const first = await reader.read(0n, Math.min(clusterBytes, MAX_PIECE_BYTES));
  check(first.readUInt32BE(32) === 0, 'it is encrypted');
  check(first.length >= HEADER_BYTES && first.readBigUInt64BE(72) === 0n, 'it is marked as dirty or corrupt, or has features that libvdsk does not know');
  check(first.readUInt32BE(96) === REFCOUNT_ORDER, 'its reference counts are not of 16 bits');
  const headerBytes = first.readUInt32BE(100);
  check(headerBytes >= HEADER_BYTES && headerBytes <= first.length, 'its header has an impossible length');
  return {
    virtualBytes: first.readBigUInt64BE(24),
    clusterBytes,
    backing: backingOf(first, headerBytes, check),
    snapshots: await readSnapshots(reader, first, clusterBytes, check),
  };
}

type Check = (isGood: boolean, reason: string) => void;

function backingOf(first: Buffer, headerBytes: number, check: Check): Qcow2Header['backing'] {
  const [offset, length] = [Number(first.readBigUInt64BE(8)), first.readUInt32BE(16)];
  if (offset === 0) return null;
  check(length > 0 && length <= MAX_NAME_BYTES && offset >= headerBytes && offset + length <= first.length, 'the name of its backing file is out of place');
  return { name: first.toString('utf8', offset, offset + length), format: backingFormat(first, headerBytes, offset) };
}

/** Extensions lie between the header and the name of the backing file, each of a type, a length and octets up to a multiple of 8. */
function backingFormat(first: Buffer, headerBytes: number, end: number): string | null {
  for (let at = headerBytes; at + 8 <= end; ) {
    const [type, length] = [first.readUInt32BE(at), first.readUInt32BE(at + 4)];
    if (type === 0 || at + 8 + length > end) return null;
    if (type === FORMAT_EXTENSION) return first.toString('latin1', at + 8, at + 8 + length);
    at += 8 + Math.ceil(length / 8) * 8;
  }
  return null;
}

async function readSnapshots(reader: ImageReader, first: Buffer, clusterBytes: number, check: Check): Promise<InternalSnapshot[]> {
  const [count, offset] = [first.readUInt32BE(60), first.readBigUInt64BE(64)];
  if (count === 0) return [];
  check(offset >= BigInt(clusterBytes) && offset % BigInt(clusterBytes) === 0n && offset < reader.sizeBytes, 'its table of snapshots is out of place');
  const table = await reader.read(offset, MAX_PIECE_BYTES);
  const snapshots: InternalSnapshot[] = [];
  for (let at = 0; snapshots.length < count; ) {
    check(at + SNAPSHOT_ENTRY_BYTES <= table.length, 'its table of snapshots is cut short or too large');
    const [idBytes, nameBytes, extraBytes] = [table.readUInt16BE(at + 12), table.readUInt16BE(at + 14), table.readUInt32BE(at + 36)];
    const [idAt, end] = [at + SNAPSHOT_ENTRY_BYTES + extraBytes, at + SNAPSHOT_ENTRY_BYTES + extraBytes + idBytes + nameBytes];
    check(end <= table.length, 'its table of snapshots is cut short or too large');
    snapshots.push({ id: table.toString('utf8', idAt, idAt + idBytes), name: table.toString('utf8', idAt + idBytes, end) });
    at = Math.ceil(end / 8) * 8;
  }
  return snapshots;
}
