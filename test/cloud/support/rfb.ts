/**
 * Enough of RFC 6143 to look through nova-novncproxy at a guest's screen: RFB's handshake up to the size of the screen and one picture of it.
 */
import { webSocket, type ByteStream } from './websocket.js';

/** The token in the URL that Nova gave is for the path of the WebSocket: `...?path=%3Ftoken%3DTOKEN`. */
export function webSocketPath(consoleUrl: string): string {
  const path = new URL(consoleUrl).searchParams.get('path');
  if (path === null) throw new Error(`no path in the console's URL ${consoleUrl}`);
  return `/${path}`;
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
  const stream = await webSocket(consoleUrl, webSocketPath(consoleUrl));
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
