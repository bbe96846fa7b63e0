/** Packed nvlists in native encoding, as zfs-fuse speaks them: header, then pairs {size, name size, count, type, name, value}. */

export type NvValue = bigint | number | string | true | NvList | NvList[] | bigint[];
export interface NvList {
  [name: string]: NvValue;
}

const UINT64 = 8;
const STRING = 9;
const align = (bytes: number): number => (bytes + 7) & ~7;

export function unpackNvlist(data: Buffer): NvList {
  // 4 bytes encoding, endianness and padding; 8 bytes version and flags
  return readPairs(data, { at: 12 });
}

function readPairs(data: Buffer, cursor: { at: number }): NvList {
  const list: NvList = {};
  for (;;) {
    const start = cursor.at;
    const size = data.readInt32LE(start);
    if (size === 0) {
      cursor.at += 4;
      return list;
    }
    const nameBytes = data.readInt16LE(start + 4);
    const count = data.readInt32LE(start + 8);
    const type = data.readInt32LE(start + 12);
    const name = data.toString('utf8', start + 16, start + 16 + nameBytes - 1);
    cursor.at = start + size;
    const value = readValue(data, cursor, type, count, start + align(16 + nameBytes));
    if (value !== undefined) list[name] = value;
  }
}

function readValue(data: Buffer, cursor: { at: number }, type: number, count: number, at: number): NvValue | undefined {
  switch (type) {
    case 1:
      return true;
    case 6:
      return data.readUInt32LE(at);
    case 7:
    case UINT64:
      return data.readBigUInt64LE(at);
    case STRING:
      return data.toString('utf8', at, data.indexOf(0, at));
    case 16:
      return Array.from({ length: count }, (_, index) => data.readBigUInt64LE(at + index * 8));
    case 19:
      return readPairs(data, cursor);
    case 20:
      return Array.from({ length: count }, () => readPairs(data, cursor));
    default:
      return undefined; // a type that no property of a dataset or pool has
  }
}

/** Only what stand-ins send: numbers and strings. */
export function packNvlist(list: Readonly<Record<string, bigint | string>>): Buffer {
  const header = Buffer.alloc(12);
  header.writeUInt8(1, 1);
  header.writeUInt32LE(1, 8); // unique names
  return Buffer.concat([header, ...Object.entries(list).map(([name, value]) => packPair(name, value)), Buffer.alloc(4)]);
}

function packPair(name: string, value: bigint | string): Buffer {
  const nameBytes = Buffer.byteLength(name) + 1;
  const valueAt = align(16 + nameBytes);
  const size = valueAt + (typeof value === 'bigint' ? 8 : align(Buffer.byteLength(value) + 1));
  const pair = Buffer.alloc(size);
  pair.writeInt32LE(size, 0);
  pair.writeInt16LE(nameBytes, 4);
  pair.writeInt32LE(1, 8);
  pair.writeInt32LE(typeof value === 'bigint' ? UINT64 : STRING, 12);
  pair.write(name, 16);
  if (typeof value === 'bigint') pair.writeBigUInt64LE(value, valueAt);
  else pair.write(value, valueAt);
  return pair;
}
