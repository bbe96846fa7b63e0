/**
 * A socket in a folder of this host, for programs of its operator. Who may use it is decided by the file system alone: the folder is its owner's (0700), the socket 0600.
 * What is there already and is no socket is not touched, and no symbolic link is followed: neither for the folder nor, by bind(2), for the socket. A dead socket is
 * replaced; that no living process listens on it is the caller's to know (claim-folder.ts).
 */
import { once } from 'node:events';
import { chmod, lstat, mkdir, rm } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { AgentError } from '../lib/errors.js';
import type { HostConnection } from './host.js';
import { connectionOn } from './listen.js';

const MAX_CONNECTIONS = 16;

export interface LocalConnection extends Omit<HostConnection, 'remote'> {
  /** Ends it when everything that was written has been sent. */
  end(): void;
}

export interface LocalListener {
  /** Cuts what is open, and removes the socket. */
  close(): Promise<void>;
}

/** The folder is made if its parent exists. AgentError `local-socket-failed`: something else is in the way, or the system refuses; `onError` hears of what goes wrong later. */
export async function listenLocally(path: string, onConnection: (connection: LocalConnection) => void, onError: (error: unknown) => void): Promise<LocalListener> {
  try {
    await prepareFolder(dirname(path));
    await removeDead(path);
    const open = new Set<Socket>();
    const server = createServer({ pauseOnConnect: true }, (socket) => {
      open.add(socket);
      socket.on('close', () => open.delete(socket));
      onConnection(localConnection(socket));
    });
    server.maxConnections = MAX_CONNECTIONS;
    await listen(server, path);
    await chmod(path, 0o600);
    server.on('error', onError);
    server.unref();
    return {
      async close() {
        for (const socket of open) socket.destroy();
        await new Promise<void>((resolve) => server.close(() => resolve())); // takes the socket's name away
      },
    };
  } catch (cause) {
    throw cause instanceof AgentError ? cause : new AgentError('local-socket-failed', `could not listen on ${path}`, { cause, details: { path } });
  }
}

async function listen(server: Server, path: string): Promise<void> {
  server.listen(path);
  await once(server, 'listening');
}

async function prepareFolder(folder: string): Promise<void> {
  await mkdir(folder, { mode: 0o700 }).catch((error: unknown) => {
    if (errnoOf(error) !== 'EEXIST') throw error;
  });
  const found = await lstat(folder);
  if (!found.isDirectory() || found.uid !== process.getuid?.()) throw inTheWay(folder, 'not a folder of ours');
  await chmod(folder, 0o700); // whatever the umask is
}

async function removeDead(path: string): Promise<void> {
  const found = await lstat(path).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw error;
  });
  if (found === undefined) return;
  if (!found.isSocket()) throw inTheWay(path, 'not a socket');
  await rm(path);
}

const inTheWay = (path: string, what: string): AgentError => new AgentError('local-socket-failed', `${path} is ${what}: move it away`, { details: { path } });

const errnoOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;

/** Undefined if nobody listens there. AgentError `local-socket-denied`, `local-socket-failed`. */
export async function connectLocally(path: string): Promise<LocalConnection | undefined> {
  const socket = connect(path);
  try {
    await once(socket, 'connect');
    return localConnection(socket);
  } catch (cause) {
    socket.destroy();
    const errno = errnoOf(cause);
    if (errno === 'ENOENT' || errno === 'ECONNREFUSED') return undefined;
    if (errno === 'EACCES' || errno === 'EPERM') throw new AgentError('local-socket-denied', `${path} is not yours to use: run this as root`, { cause });
    throw new AgentError('local-socket-failed', `could not connect to ${path}`, { cause, details: { path } });
  }
}

function localConnection(socket: Socket): LocalConnection {
  socket.on('error', () => socket.destroy()); // the reading side sees the end
  return Object.assign(connectionOn(socket), { end: () => socket.destroySoon() });
}
