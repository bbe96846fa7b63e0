/** Following a file and listening, on a real file system and real sockets. */
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createHost, type Host, type HostConnection } from '../../../src/host/index.js';
import { systemClock } from '../../../src/lib/clock.js';
import { noMetrics, recordingLog } from '../../fakes/recording-log.js';

let folder: string;
let host: Host;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'streams-'));
  host = createHost({ deviceRoot: '/dev', path: '/bin:/usr/bin', clock: systemClock, log: recordingLog().log, metrics: noMetrics });
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const text = (chunk: Uint8Array): string => Buffer.from(chunk).toString();

test('a follower gives what is appended, over a rotation, a cut and a file that came later', async () => {
  const path = join(folder, 'log');
  writeFileSync(path, 'before');
  const follower = await host.files.follow(path);
  expect(text(await follower.read())).toBe('');
  appendFileSync(path, 'one');
  expect(text(await follower.read())).toBe('one');
  appendFileSync(path, 'two');
  renameSync(path, `${path}.1`);
  expect(text(await follower.read())).toBe('two');
  expect(text(await follower.read())).toBe(''); // no new file yet
  writeFileSync(path, 'three');
  expect(text(await follower.read())).toBe('three');
  writeFileSync(path, '4');
  expect(text(await follower.read())).toBe('4');
  await follower.close();
  const early = await host.files.follow(join(folder, 'later'));
  expect(text(await early.read())).toBe('');
  writeFileSync(join(folder, 'later'), 'here');
  expect(text(await early.read())).toBe('here');
  await early.close();
});

test('a follower that is far behind skips to the end instead of dragging on', async () => {
  const path = join(folder, 'log');
  writeFileSync(path, '');
  const follower = await host.files.follow(path);
  appendFileSync(path, `${'x'.repeat(3 * 1024 * 1024)}end`);
  const chunk = text(await follower.read());
  expect(chunk).toHaveLength(64 * 1024);
  expect(chunk.endsWith('end')).toBe(true);
  expect(text(await follower.read())).toBe('');
  await follower.close();
});

test('a terminal without its other side is an error, a full one takes nothing', async () => {
  await expect(host.files.openTerminal(join(folder, 'none'))).rejects.toMatchObject({ code: 'file-failed' });
  const path = join(folder, 'pipe');
  execFileSync('mkfifo', [path]);
  await expect(host.files.openTerminal(path)).rejects.toMatchObject({ code: 'file-failed' });
});

async function listening(onConnection: (connection: HostConnection) => void): Promise<{ port: number; close: () => Promise<void> }> {
  for (let port = 42_117; ; port += 1) {
    const listener = await host.listen('127.0.0.1', port, onConnection);
    if (listener !== undefined) return listener;
  }
}

test('a listener passes bytes both ways, says that a port is taken, and closes its clients with itself', async () => {
  const got: string[] = [];
  const listener = await listening((connection) => {
    void (async () => {
      await connection.write(Buffer.from('welcome'));
      for await (const chunk of connection.input) got.push(text(chunk));
      got.push('end');
    })();
  });
  expect(await host.listen('127.0.0.1', listener.port, () => undefined)).toBeUndefined();
  const socket: Socket = createConnection(listener.port, '127.0.0.1');
  const [hello] = (await once(socket, 'data')) as [Buffer];
  expect(hello.toString()).toBe('welcome');
  socket.write('typed');
  await expect.poll(() => got).toEqual(['typed']);
  const isOver = once(socket, 'close');
  await listener.close();
  await isOver;
  await expect.poll(() => got).toEqual(['typed', 'end']);
});

test('an address that is not ours is an error that says so', async () => {
  await expect(host.listen('192.0.2.77', 42_999, () => undefined)).rejects.toMatchObject({ code: 'listen-failed' });
});
