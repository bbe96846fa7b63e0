/** Enough of RFC 6455 to speak through Nova's console proxies: a WebSocket that carries bytes. Node 20 has no WebSocket of its own. */
import { randomBytes } from 'node:crypto';
import { request } from 'node:http';
import type { Socket } from 'node:net';

export interface ByteStream {
  read(bytes: number): Promise<Buffer>;
  /** Everything that has come and was not read; waits for something if nothing has. */
  readSome(): Promise<Buffer>;
  write(data: Buffer): void;
  close(): void;
}

const limitMs = 60_000;

function open(proxyUrl: string, path: string): Promise<Socket> {
  const { hostname, port, origin } = new URL(proxyUrl);
  return new Promise((resolve, reject) => {
    const upgrade = request({ host: hostname, port, path, timeout: limitMs, headers: {
      Connection: 'Upgrade', Upgrade: 'websocket', Origin: origin.replace(/^ws/, 'http'), 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Protocol': 'binary',
      'Sec-WebSocket-Key': randomBytes(16).toString('base64'),
    } });
    upgrade.once('upgrade', (_response, socket, head) => {
      if (head.length > 0) socket.unshift(head);
      resolve(socket);
    });
    upgrade.once('response', (response) => {
      response.resume();
      reject(new Error(`the proxy answered ${String(response.statusCode)} instead of opening a WebSocket`));
    });
    upgrade.once('timeout', () => upgrade.destroy(new Error('the proxy does not answer')));
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

/** Opens `path` at the proxy of `proxyUrl`. */
export async function webSocket(proxyUrl: string, path: string): Promise<ByteStream> {
  const socket = await open(proxyUrl, path);
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
    async readSome() {
      while (bytes.length === 0) {
        if (ended !== null) throw ended;
        await new Promise<void>((resolve) => { wake = resolve; });
      }
      const taken = bytes;
      bytes = Buffer.alloc(0);
      return taken;
    },
    write: (data) => { socket.write(frame(data)); },
    close: () => socket.destroy(),
  };
}

