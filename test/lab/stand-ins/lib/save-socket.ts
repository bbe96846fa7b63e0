/**
 * The socket through which bhyvectl asks bhyve to save its guest. /var/run/bhyve is NODE/run/bhyve here: a socket stays when bhyve ends, so that
 * one that is there proves nothing. As in life there is no answer, one request a connection, and requests wait for each other.
 */
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { dirname, join } from 'node:path';
import type { StandInNode } from './lab-node.js';
import { Exit, err } from './tool.js';

export interface SaveRequest {
  /** As given to bhyvectl; its base name where bhyvectl opens the folder. */
  readonly filename: string;
  readonly suspend: boolean;
  /** Stands for the descriptor of the folder that newer bhyvectls send along. */
  readonly folder?: string;
  /** libvdsk: what is to be done to the disks, under the name that `filename` is. Nothing is saved for `delete`. */
  readonly disks?: 'internal' | 'external' | 'delete';
}

const socketOf = (node: StandInNode, name: string): string => join(node.run, 'bhyve', name);

/** Listens, in the place of whatever socket was there. `take` runs for one request at a time. */
export async function listenForSaves(node: StandInNode, name: string, take: (request: SaveRequest) => Promise<void>): Promise<void> {
  const path = socketOf(node, name);
  mkdirSync(dirname(path), { recursive: true });
  rmSync(path, { force: true });
  let last = Promise.resolve();
  const server = createServer((socket) => {
    let text = '';
    socket.on('data', (data) => (text += data.toString('utf8')));
    socket.on('error', () => socket.destroy());
    socket.on('end', () => {
      last = last.then(async () => take(JSON.parse(text) as SaveRequest)).catch((error: unknown) => {
        err(`stand-in: a save failed: ${String(error)}\n`);
      });
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  // Node removes the file of a server that it closes; bhyve leaves it, and so do we: this server lives as long as the process.
  server.unref();
}

/** Sends a request; returns when the kernel has it. Without a listener it ends the program as bhyvectl ends. */
export async function sendSave(node: StandInNode, name: string, request: SaveRequest): Promise<void> {
  const path = socketOf(node, name);
  if (!existsSync(path)) throw new Exit(2, 'connect() failed: No such file or directory\n');
  await new Promise<void>((resolve, reject) => {
    const socket = createConnection(path, () => {
      socket.end(JSON.stringify(request), resolve);
    });
    socket.once('error', () => reject(new Exit(61, 'connect() failed: Connection refused\n')));
  });
}
