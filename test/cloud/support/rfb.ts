/**
 * Enough of RFC 6455 and RFC 6143 to look through nova-novncproxy at a guest's screen: a WebSocket that carries bytes, and RFB's handshake up to the
 * size of the screen and one picture of it. Node 20 has no WebSocket of its own.
 */
import { randomBytes } from 'node:crypto';
import { request } from 'node:http';
import type { Socket } from 'node:net';

interface ByteStream {
  read(bytes: number): Promise<Buffer>;
  write(data: Buffer): void;
  close(): void;
}

const limitMs = 20_000;

/** The token in the URL that Nova gave is for the path of the WebSocket: `...?path=%3Ftoken%3DTOKEN`. */
export function webSocketPath(consoleUrl: string): string {
  const path = new URL(consoleUrl).searchParams.get('path');
  if (path === null) throw new Error(`no path in the console's URL ${consoleUrl}`);
  return `/${path}`;
}

function open(consoleUrl: string): Promise<Socket> {
  const { hostname, port, origin } = new URL(consoleUrl);
  return new Promise((resolve, reject) => {
    const upgrade = request({ host: hostname, port, path: webSocketPath(consoleUrl), timeout: limitMs, headers: {
      Connection: 'Upgrade', Upgrade: 'websocket', Origin: origin, 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Protocol': 'binary',
      'Sec-WebSocket-Key': randomBytes(16).toString('base64'),
    } });
    upgrade.once('upgrade', (_response, socket, head) => {
      if (head.length > 0) socket.unshift(head);
      resolve(socket);
    });
    upgrade.once('response', (response) => {
      response.resume();
      reject(new Error(`nova-novncproxy answered ${String(response.statusCode)} instead of opening a WebSocket`));
    });
    upgrade.once('timeout', () => upgrade.destroy(new Error('nova-novncproxy does not answer')));
    upgrade.once('error', reject);
    upgrade.end();
  });
}

/** A client's frame: final, binary, masked as the standard demands. */
function frame(data: Buffer): Buffer {
  const mask = randomBytes(4);
  const header = data.length < 126 ? Buffer.from([0x82, 0x80 | data.length]) : Buffer.from([0x82, 0x80 | 126, data.length >> 8, data.length & 0xff]);
  return Buffer.concat([header, mask, data.map((byte, index) => byte ^ mask[index % 4]!)]);
}

/** Takes one complete frame off the front; null if it is not all there. */
function takeFrame(input: Buffer): { opcode: number; payload: Buffer; rest: Buffer } | null {
  if (input.length < 2) return null;
  const short = input[1]! & 0x7f;
  const start = short < 126 ? 2 : short === 126 ? 4 : 10;
  if (input.length < start) return null;
  const length = short < 126 ? short : short === 126 ? input.readUInt16BE(2) : Number(input.readBigUInt64BE(2));
  if (input.length < start + length) return null;
  return { opcode: input[0]! & 0x0f, payload: input.subarray(start, start + length), rest: input.subarray(start + length) };
}

async function webSocket(consoleUrl: string): Promise<ByteStream> {
  const socket = await open(consoleUrl);
  let raw = Buffer.alloc(0);
  let bytes = Buffer.alloc(0);
  let ended: Error | null = null;
  let wake = (): void => undefined;
  socket.on('data', (chunk: Buffer) => {
    raw = Buffer.concat([raw, chunk]);
    for (let next = takeFrame(raw); next !== null; next = takeFrame(raw)) {
      raw = next.rest as Buffer<ArrayBuffer>;
      if (next.opcode === 8) ended = new Error(`the proxy closed the WebSocket: ${next.payload.subarray(2).toString()}`);
      else if (next.opcode <= 2) bytes = Buffer.concat([bytes, next.payload]);
    }
    wake();
  });
  const end = (err?: Error): void => {
    ended ??= err ?? new Error('the proxy ended the connection');
    wake();
  };
  socket.on('error', end).on('close', () => end()).setTimeout(limitMs, () => socket.destroy(new Error('nothing came through the proxy in time')));
  return {
    async read(count) {
      while (bytes.length < count) {
        if (ended !== null) throw ended;
        await new Promise<void>((resolve) => { wake = resolve; });
      }
      const taken = bytes.subarray(0, count);
      bytes = bytes.subarray(count);
      return taken;
    },
    write: (data) => { socket.write(frame(data)); },
    close: () => socket.destroy(),
  };
}

export interface Screen {
  readonly name: string;
  readonly width: number;
  readonly height: number;
  /** How many different bytes the first rectangle has: 1 means a blank screen. */
  readonly colours: number;
}

/** Opens the console that Nova's URL leads to and looks at the screen once. */
export async function lookAtScreen(consoleUrl: string): Promise<Screen> {
  const stream = await webSocket(consoleUrl);
  try {
    const version = await stream.read(12);
    if (!version.toString().startsWith('RFB 003.')) throw new Error(`not an RFB server: ${JSON.stringify(version.toString())}`);
    stream.write(Buffer.from('RFB 003.008\n'));
    const [count] = await stream.read(1);
    if (count === 0) throw new Error(`the RFB server refuses: ${(await stream.read((await stream.read(4)).readUInt32BE())).toString()}`);
    const kinds = await stream.read(count!);
    if (!kinds.includes(1)) throw new Error(`the RFB server asks for a password (security types ${[...kinds].join(', ')})`);
    stream.write(Buffer.from([1]));
    if ((await stream.read(4)).readUInt32BE() !== 0) throw new Error('the RFB server refuses security type none');
    stream.write(Buffer.from([1])); // shared
    const init = await stream.read(24);
    const [width, height] = [init.readUInt16BE(0), init.readUInt16BE(2)];
    const name = (await stream.read(init.readUInt32BE(20))).toString();
    return { name, width, height, colours: await picture(stream, width, height, init[4]! / 8) };
  } finally {
    stream.close();
  }
}

/** One full update in raw encoding; gives the number of distinct byte values of its first rectangle. */
async function picture(stream: ByteStream, width: number, height: number, bytesPerPixel: number): Promise<number> {
  stream.write(Buffer.from([2, 0, 0, 1, 0, 0, 0, 0])); // SetEncodings: raw
  const ask = Buffer.alloc(10);
  ask[0] = 3;
  ask.writeUInt16BE(width, 6);
  ask.writeUInt16BE(height, 8);
  stream.write(ask);
  await stream.read(4); // type, padding, number of rectangles
  const rectangle = await stream.read(12);
  return new Set(await stream.read(rectangle.readUInt16BE(4) * rectangle.readUInt16BE(6) * bytesPerPixel)).size;
}
