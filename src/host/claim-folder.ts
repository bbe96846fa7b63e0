/**
 * One process for a folder. A claim is a listening socket in it: it ends with its process, however that ends, so what a dead one left is told
 * from a living one by connecting, and no pid has to be believed. Everyone listens first and looks at the others then: of two that start at the
 * same moment at least one sees the other, so never do two go on (it may be none; whoever starts them tries again).
 */
import { randomBytes } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { AgentError } from '../lib/errors.js';

/** sockaddr_un of FreeBSD holds 104 bytes with the ending zero (unix(4)). */
const MAX_PATH_BYTES = 103;
const SOCKET_NAME = /^agent-\d+-[0-9a-f]+\.sock$/;

export interface FolderClaim {
  /** Gives the folder free. */
  release(): Promise<void>;
}

/**
 * Claims `folder`, which must exist, for this process. AgentError `already-running` if a living process holds it, `state-path-too-long` if the
 * system cannot name a socket in it.
 */
export async function claimFolder(folder: string): Promise<FolderClaim> {
  const name = `agent-${process.pid}-${randomBytes(4).toString('hex')}.sock`;
  const path = join(folder, name);
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) {
    throw new AgentError('state-path-too-long', `the path ${folder} is too long: a socket in it may have ${MAX_PATH_BYTES} bytes. Choose a shorter state_path`);
  }
  const server = await listen(path);
  const release = (): Promise<void> => new Promise((resolve) => { server.close(() => resolve()); });
  try {
    for (const other of await readdir(folder)) {
      if (!SOCKET_NAME.test(other) || other === name) continue;
      const pid = await holderOf(join(folder, other));
      if (pid !== null) {
        throw new AgentError('already-running', `an agent with pid ${pid} works with ${folder} already; stop it first (service nova_bhyve stop), or give this one a state_path of its own`);
      }
      await rm(join(folder, other), { force: true });
    }
  } catch (error) {
    await release();
    throw error;
  }
  return { release };
}

function listen(path: string): Promise<Server> {
  const server = createServer((visitor) => visitor.on('error', () => undefined).end(`${process.pid}\n`));
  server.unref(); // it must not keep the process alive
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => reject(new AgentError('file-failed', 'could not create the socket that claims the state folder', { cause, details: { path } })));
    server.listen(path, () => resolve(server));
  });
}

/** Who listens there, by its own word; null if nobody does. */
function holderOf(path: string): Promise<string | null> {
  return new Promise((resolve) => {
    let greeting = '';
    const socket = connect(path);
    socket.setTimeout(5_000, () => socket.destroy()); // it listens, if slowly
    socket.on('data', (data) => { greeting += data.toString(); });
    socket.once('connect', () => socket.once('close', () => resolve(greeting.trim() || 'unknown')));
    socket.once('error', () => resolve(null));
  });
}
