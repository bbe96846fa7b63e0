/**
 * The engine below the zfs and zpool stand-ins: zfs-fuse, spoken to over its own socket as its command-line tools do. It gives exact
 * numbers (its tools print rounded ones), and it renames, snapshots and rolls back what is open, as FreeBSD does.
 *
 * A request is a 32-byte message naming an ioctl; the daemon then asks for pieces of "our memory" (the command block, lists) and writes
 * others back, until it sends the result. The layout of the command block is that of zfs-fuse 0.7.0; the daemon asks for the whole
 * block first, so a different size is noticed at once.
 */
import { type Socket, connect } from 'node:net';
import { type NvList, packNvlist, unpackNvlist } from './nvlist.js';

const SOCKET = '/var/run/zfs/zfs_socket';
const BLOCK_AT = 0x10000;
const SOURCE_AT = 0x1000000;
const TARGET_AT = 0x2000000;
const BLOCK_BYTES = 17728;
const MESSAGE_BYTES = 32;

const requests = {
  poolConfigs: 4, poolStats: 5, objsetStats: 18, listDatasets: 20, listSnapshots: 21, setProperty: 22, create: 23, destroy: 24, rollback: 25,
  rename: 26, promote: 34, destroySnapshots: 35, snapshot: 36, inherit: 44, hold: 49, release: 50, holds: 51,
} as const;
export type ZfsRequest = keyof typeof requests;

/** What a request takes and gives; names of fields as zfs-fuse has them. */
export interface ZfsCommand {
  readonly name: string;
  readonly value?: string;
  readonly string?: string;
  readonly cookie?: bigint;
  readonly objsetType?: bigint;
  readonly source?: Readonly<Record<string, bigint | string>>;
  readonly wantsList?: boolean;
  readonly deferDestroy?: boolean;
}

export interface ZfsAnswer {
  /** errno of Linux; 0 = done. */
  readonly errno: number;
  readonly name: string;
  readonly cookie: bigint;
  readonly list: NvList;
  readonly string: string;
}

export interface ZfsFuse {
  request(kind: ZfsRequest, command: ZfsCommand): Promise<ZfsAnswer>;
  /** Mounts a file system of the pool on a folder; errno, 0 = done. */
  mount(dataset: string, folder: string): Promise<number>;
  close(): void;
}

const at = { value: 4096, string: 12288, guid: 16640, source: 16664, sourceSize: 16672, target: 16680, targetSize: 16688, cookie: 16696, objsetType: 16704, defer: 17720 };
const LIST_BYTES = 1 << 20;

/** Connects to the daemon; an error with code ENOENT or ECONNREFUSED means that it does not run. */
export async function openZfsFuse(): Promise<ZfsFuse> {
  const socket = connect(SOCKET);
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
  const reader = createReader(socket);
  return {
    request: async (kind, command) => exchange(socket, reader, requests[kind], command),
    mount: async (dataset, folder) => {
      const message = Buffer.alloc(MESSAGE_BYTES);
      message.writeInt32LE(6, 0);
      message.writeUInt32LE(Buffer.byteLength(dataset), 8);
      message.writeUInt32LE(Buffer.byteLength(folder), 12);
      socket.write(Buffer.concat([message, Buffer.from(dataset), Buffer.from(folder)]));
      return (await reader.read(4)).readUInt32LE(0);
    },
    close: () => socket.destroy(),
  };
}

interface Reader {
  read(bytes: number): Promise<Buffer>;
}

function createReader(socket: Socket): Reader {
  let held = Buffer.alloc(0);
  let waiting: (() => void) | null = null;
  let failure: Error | null = null;
  socket.on('data', (chunk) => {
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    waiting?.();
  });
  const fail = (error?: Error): void => {
    failure = error ?? new Error('zfs-fuse closed the connection');
    waiting?.();
  };
  socket.on('error', fail);
  socket.on('close', () => fail());
  return {
    async read(bytes) {
      while (held.length < bytes) {
        if (failure !== null) throw failure;
        await new Promise<void>((resolve) => {
          waiting = resolve;
        });
      }
      const piece = held.subarray(0, bytes);
      held = held.subarray(bytes);
      return piece;
    },
  };
}

async function exchange(socket: Socket, reader: Reader, request: number, command: ZfsCommand): Promise<ZfsAnswer> {
  const block = Buffer.alloc(BLOCK_BYTES);
  const source = command.source === undefined ? null : packNvlist(command.source);
  const target = command.wantsList === true ? Buffer.alloc(LIST_BYTES) : null;
  fillBlock(block, command, source, target);
  const memory = (pointer: number, size: number): Buffer => {
    for (const [base, region] of [[BLOCK_AT, block], [SOURCE_AT, source], [TARGET_AT, target]] as const) {
      if (region !== null && pointer >= base && pointer + size <= base + region.length) return region.subarray(pointer - base, pointer - base + size);
    }
    throw new Error(`zfs-fuse asks for ${size} bytes at ${pointer.toString(16)}: is it another version than 0.7.0?`);
  };
  const message = Buffer.alloc(MESSAGE_BYTES);
  message.writeInt32LE(0x5a00 + request, 8);
  message.writeBigUInt64LE(BigInt(BLOCK_AT), 16);
  socket.write(message);
  for (;;) {
    const ask = await reader.read(MESSAGE_BYTES);
    const type = ask.readInt32LE(0);
    if (type === 1) return readAnswer(ask.readInt32LE(8), block, target);
    const pointer = Number(ask.readBigUInt64LE(8));
    const size = Number(ask.readBigUInt64LE(16));
    if (type === 2) socket.write(Buffer.from(memory(pointer, size)));
    else if (type === 5) (await reader.read(size)).copy(memory(pointer, size));
    else throw new Error(`zfs-fuse sent a message of type ${type}`);
  }
}

function fillBlock(block: Buffer, command: ZfsCommand, source: Buffer | null, target: Buffer | null): void {
  block.write(command.name, 0);
  block.write(command.value ?? '', at.value);
  block.write(command.string ?? '', at.string);
  block.writeBigUInt64LE(command.cookie ?? 0n, at.cookie);
  block.writeBigUInt64LE(command.objsetType ?? 0n, at.objsetType);
  block.writeUInt32LE(command.deferDestroy === true ? 1 : 0, at.defer);
  if (source !== null) {
    block.writeBigUInt64LE(BigInt(SOURCE_AT), at.source);
    block.writeBigUInt64LE(BigInt(source.length), at.sourceSize);
  }
  if (target !== null) {
    block.writeBigUInt64LE(BigInt(TARGET_AT), at.target);
    block.writeBigUInt64LE(BigInt(target.length), at.targetSize);
  }
}

function readAnswer(errno: number, block: Buffer, target: Buffer | null): ZfsAnswer {
  const text = (start: number): string => block.toString('utf8', start, block.indexOf(0, start));
  return {
    errno,
    name: text(0),
    string: text(at.string),
    cookie: block.readBigUInt64LE(at.cookie),
    list: target !== null && errno === 0 && target[12] !== undefined ? unpackNvlist(target) : {},
  };
}
