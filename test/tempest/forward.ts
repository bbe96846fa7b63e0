/**
 * The way from a node's network namespace to the control plane on the lab's 127.0.0.1: one listener a port on the namespace's own 127.0.0.1, joined
 * to the lab's side by sockets of the file system, which belong to no namespace. Nothing leaves the machine.
 *
 *   Tempest ─ 127.0.0.1:8774 (nb-NODE) ═ FOLDER/8774.sock ═ 127.0.0.1:8774 (lab)
 *
 * Run as a program in the namespace it is the near end: `forward.js FOLDER PORT...`; it says `ready` and ends when its stdin does.
 */
import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { connect, createServer, type NetConnectOpts, type Server, type Socket } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const host = '127.0.0.1';
const socketOf = (folder: string, port: number): string => join(folder, `${port}.sock`);

function splice(client: Socket, target: NetConnectOpts): void {
  const other = connect(target);
  // A connection that breaks on one side breaks on the other; whoever speaks through it sees that.
  client.on('error', () => other.destroy());
  other.on('error', () => client.destroy());
  client.on('close', () => other.destroy());
  other.on('close', () => client.destroy());
  client.pipe(other).pipe(client);
}

const listen = (at: { path: string } | { host: string; port: number }, target: NetConnectOpts): Promise<Server> => new Promise((done, failed) => {
  const server = createServer({ allowHalfOpen: true }, (client) => splice(client, target));
  server.once('error', failed);
  server.listen(at, () => done(server));
});

export interface Forwarding {
  stop(): Promise<void>;
}

/** Makes the ports of the lab reachable in `netns` until stopped. `folder` is for the sockets. */
export async function forwardInto(netns: string, folder: string, ports: readonly number[]): Promise<Forwarding> {
  const servers: Server[] = [];
  for (const port of ports) {
    rmSync(socketOf(folder, port), { force: true });
    servers.push(await listen({ path: socketOf(folder, port) }, { host, port, allowHalfOpen: true }));
  }
  const program = import.meta.filename.endsWith('.ts') ? resolve(dirname(import.meta.filename), '../../dist/test/tempest/forward.js') : import.meta.filename;
  const near = spawn('/usr/bin/nsenter', [`--net=/run/netns/${netns}`, process.execPath, program, folder, ...ports.map(String)], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = new Promise<void>((done) => near.once('close', () => done()));
  await new Promise<void>((done, failed) => {
    near.once('error', failed);
    near.once('exit', (code) => failed(new Error(`the forwarder in ${netns} ended with ${String(code)}`)));
    near.stdout.once('data', () => done());
  });
  return {
    async stop() {
      near.stdin.end();
      for (const server of servers) server.close();
      await ended;
    },
  };
}

async function nearEnd(folder: string, ports: readonly number[]): Promise<void> {
  for (const port of ports) await listen({ host, port }, { path: socketOf(folder, port), allowHalfOpen: true });
  process.stdout.write('ready\n');
  process.stdin.resume().on('end', () => process.exit(0));
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  await nearEnd(process.argv[2]!, process.argv.slice(3).map(Number));
}
