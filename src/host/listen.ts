import { connect, createServer, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { AgentError } from '../lib/errors.js';
import type { HostConnection, HostListener } from './host.js';

/** See host.ts. */
export async function listenTcp(address: string, port: number, onConnection: (connection: HostConnection) => void): Promise<HostListener | undefined> {
  return listenForSockets(address, port, 8, (socket) => onConnection(connectionOn(socket))); // the handler keeps one; the others are on their way out
}

/** See host.ts. */
export async function listenForSockets(address: string, port: number, maxConnections: number, onSocket: (socket: Socket) => void): Promise<HostListener | undefined> {
  const open = new Set<Socket>();
  const server = createServer({ pauseOnConnect: true, keepAlive: true, noDelay: true }, (socket) => {
    open.add(socket);
    socket.on('close', () => open.delete(socket));
    socket.on('error', () => socket.destroy()); // the reading side sees the end
    onSocket(socket);
  });
  server.maxConnections = maxConnections;
  if (!(await isListening(server, address, port))) return undefined;
  server.unref();
  return {
    port,
    close: async () => {
      for (const socket of open) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

async function isListening(server: Server, address: string, port: number): Promise<boolean> {
  try {
    server.listen({ host: address, port });
    await once(server, 'listening');
    return true;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EADDRINUSE') return false;
    throw new AgentError('listen-failed', `cannot listen on ${address}: is it an address of this host?`, { cause, details: { address, port } });
  }
}

/** See host.ts. */
export async function connectTcp(address: string, port: number, signal: AbortSignal): Promise<Socket> {
  const socket = connect({ host: address, port, keepAlive: true, noDelay: true });
  socket.on('error', () => socket.destroy());
  try {
    await once(socket, 'connect', { signal });
    return socket;
  } catch (cause) {
    socket.destroy();
    throw new AgentError('connect-failed', `cannot connect to ${address}`, { cause, details: { address, port } });
  }
}

/** Who is at the other end, for logs: ADDRESS:PORT. */
export const remoteOf = (socket: Pick<Socket, 'remoteAddress' | 'remotePort'>): string => `${socket.remoteAddress ?? 'unknown'}:${socket.remotePort ?? 0}`;

/** What is written is sent in order; a client that is gone is no error. */
export function connectionOn(socket: Socket): HostConnection {
  return {
    remote: remoteOf(socket),
    input: read(socket),
    async write(chunk) {
      if (socket.destroyed || socket.write(chunk)) return;
      await Promise.race([once(socket, 'drain'), once(socket, 'close')]).catch(() => undefined); // an error ends in close
    },
    close: () => socket.destroy(),
  };
}

async function* read(socket: Socket): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of socket) yield chunk as Uint8Array;
  } catch {
    // Reset by the client, or closed by us: the end either way.
  }
}
