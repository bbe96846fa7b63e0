/** The VNC server of bhyve as far as a viewer sees it: RFB 3.8, VNC authentication if it has a password, one viewer at a time, and then whatever the test makes of the stream. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { answerChallenge } from '../../src/console/enter-screen.js';
import { readExactly } from '../../src/console/read-exactly.js';

export interface ScreenServer {
  readonly port: number;
  password: string | undefined;
  /** Viewers that were let in, and how many of all hung up. */
  readonly viewers: Socket[];
  readonly seen: { connections: number; ended: number };
  close(): Promise<void>;
}

/** 1024x768 of 32 bits, and the name. */
export const serverInit = Buffer.concat([Buffer.from([4, 0, 3, 0, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0]), Buffer.from([0, 0, 0, 5]), Buffer.from('bhyve')]);

async function greet(socket: Socket, password: string | undefined): Promise<boolean> {
  socket.write('RFB 003.008\n');
  if ((await readExactly(socket, 12)).toString() !== 'RFB 003.008\n') return false;
  const type = password === undefined ? 1 : 2;
  socket.write(Buffer.from([1, type]));
  if ((await readExactly(socket, 1))[0] !== type) return false;
  if (password !== undefined) {
    const challenge = randomBytes(16);
    socket.write(challenge);
    if (!(await readExactly(socket, 16)).equals(answerChallenge(password, challenge))) {
      socket.end(Buffer.from([0, 0, 0, 1, 0, 0, 0, 2, 0x6e, 0x6f]));
      return false;
    }
  }
  socket.write(Buffer.alloc(4));
  return true;
}

/** `serve` gets a viewer that waits to send its ClientInit; by default it is shown ServerInit. */
export async function startScreen(password: string | undefined, serve?: (viewer: Socket) => void): Promise<ScreenServer> {
  const viewers: Socket[] = [];
  const seen = { connections: 0, ended: 0 };
  const server = createServer((socket) => {
    seen.connections += 1;
    socket.on('error', () => socket.destroy());
    socket.on('close', () => { seen.ended += 1; });
    void greet(socket, screen.password).then(async (isIn) => {
      if (!isIn) return void socket.destroySoon();
      viewers.push(socket);
      if (serve !== undefined) return serve(socket);
      await readExactly(socket, 1);
      socket.write(serverInit);
    }).catch(() => socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const screen: ScreenServer = {
    port: (server.address() as AddressInfo).port, password, viewers, seen,
    async close() {
      viewers.forEach((viewer) => viewer.destroy());
      server.close();
    },
  };
  return screen;
}
