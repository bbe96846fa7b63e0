import { createConnection } from 'node:net';
import { expect, test } from 'vitest';
import { waitClean } from '../lab/leaks.js';
import { until } from './control-plane/index.js';
import { useLab } from './support/use-lab.js';
import { webSocket, type ByteStream } from './support/websocket.js';

const lab = useLab();

const enter = (url: string): Promise<ByteStream> => webSocket(url, new URL(url).pathname + new URL(url).search);

/** Reads until `pattern` was seen; gives all that came. */
async function see(stream: ByteStream, pattern: RegExp): Promise<string> {
  let seen = '';
  while (!pattern.test(seen)) seen += (await stream.readSome()).toString();
  return seen;
}

/** The number in the last whole line of the guest's that counts. */
const lastTick = (log: string): number => Number([...log.matchAll(/tick (\d+)\r?\n/g)].at(-1)?.[1] ?? NaN);

/** Whether a connection straight to the guest's port is closed without a byte. */
const isTurnedAway = (port: number): Promise<boolean> => new Promise((resolve) => {
  const socket = createConnection(port, '127.0.0.1');
  socket.on('data', () => resolve(false)).on('error', () => resolve(true)).on('close', () => resolve(true));
});

test('a user types at the serial console through nova-serialproxy while the log goes on; nobody else gets in, and an agent that died is no end of it', async () => {
  const { cloud, agent, node, boot } = lab();
  const { id } = await boot();
  await cloud.servers.waitConsole(id, /guest: ready/);
  const url = await cloud.servers.serialUrl(id);
  const console = await enter(url);
  await see(console, /tick \d+/);
  console.write(Buffer.from('hello from outside\r'));
  await see(console, /guest: typed hello from outside/);
  const log = await cloud.servers.waitConsole(id, /guest: typed hello from outside/);
  expect(log).toMatch(/guest: boot 1/);

  const port = Number([...agent.log(5000).matchAll(/"port":(\d+),"msg":"serial console opened"/g)].at(-1)?.[1]);
  expect(port).toBeGreaterThan(10_000);
  expect(await isTurnedAway(port)).toBe(true);
  await expect(enter(url.replace(/token=.*/, 'token=00000000-0000-4000-8000-000000000000')).then((stream) => stream.readSome())).rejects.toThrow();
  await see(console, /tick \d+/); // the session did not notice

  await agent.kill();
  agent.start();
  await agent.waitUp(cloud);
  await expect(see(console, /never/)).rejects.toThrow();
  const before = lastTick(await cloud.servers.consoleLog(id));
  expect(before).toBeGreaterThan(0);
  const again = await enter(await cloud.servers.serialUrl(id));
  again.write(Buffer.from('still there\r'));
  await see(again, /guest: typed still there/);
  await until(120_000, () => 'the log stands still', async () => lastTick(await cloud.servers.consoleLog(id)) > before);

  await cloud.servers.action(id, { 'os-stop': null });
  await cloud.servers.waitStatus(id, 'SHUTOFF');
  await expect(see(again, /never/)).rejects.toThrow();
  await expect(cloud.servers.serialUrl(id)).rejects.toMatchObject({ status: 404 });
  expect(await cloud.servers.consoleLog(id)).toContain('guest: typed still there');
  await waitClean(node, /^process/);
});
