/** VirtualBox VDI 1.1 (numbers little endian): dynamic and fixed images without a parent. */
import { readExactly, require, type ImageReader } from './reader.js';

const HEADER_BYTES = 512;
const VERSION_1_1 = 0x0001_0001;
const TYPE = { dynamic: 1, fixed: 2 } as const;
const BLOCK_BYTES = 1024n * 1024n;

/** Virtual size in octets. */
export async function inspectVdi(reader: ImageReader): Promise<bigint> {
  const header = await readExactly(reader, 0n, HEADER_BYTES, 'vdi header');
  require(header.readUInt32LE(68) === VERSION_1_1, 'this version of vdi is not supported');
  const type = header.readUInt32LE(76);
  require(type === TYPE.dynamic || type === TYPE.fixed, 'the vdi image is not a plain disk: it depends on another one');
  const isNull = (offset: number): boolean => header.subarray(offset, offset + 16).every((octet) => octet === 0);
  require(isNull(424) && isNull(440), 'the vdi image has a parent');
  require(header.readUInt32LE(360) === 512, 'the vdi image has an impossible sector size');
  require(BigInt(header.readUInt32LE(376)) === BLOCK_BYTES && header.readUInt32LE(380) === 0, 'the vdi image has an unsupported block size');
  const virtualBytes = header.readBigUInt64LE(368);
  const blocks = BigInt(header.readUInt32LE(384));
  const allocated = BigInt(header.readUInt32LE(388));
  require(virtualBytes > 0n && virtualBytes <= blocks * BLOCK_BYTES, 'the vdi image has an impossible size');
  require(allocated <= blocks, 'the vdi image has more blocks than its size allows');
  const map = BigInt(header.readUInt32LE(340));
  const data = BigInt(header.readUInt32LE(344));
  require(map % 512n === 0n && map >= 512n && map + blocks * 4n <= reader.sizeBytes, 'the vdi image has its block map outside the file');
  require(data % 512n === 0n && data >= map + blocks * 4n && data + allocated * BLOCK_BYTES <= reader.sizeBytes, 'the vdi image is cut short');
  return virtualBytes;
}
