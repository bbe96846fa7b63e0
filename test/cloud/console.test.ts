import { expect, test } from 'vitest';
import { lookAtScreen } from './support/rfb.js';
import { useLab } from './support/use-lab.js';

const lab = useLab();

test("a guest's screen can be seen through nova-novncproxy with the URL that Nova gives, and not with a made-up token", async () => {
  const { cloud, boot } = lab();
  const { id } = await boot();
  const url = await cloud.servers.vncUrl(id);
  const screen = await lookAtScreen(url);
  expect(screen.width).toBeGreaterThanOrEqual(640);
  expect(screen.height).toBeGreaterThanOrEqual(400);
  const [, token] = /token%3D([0-9a-f-]+)/.exec(url) ?? [];
  expect(token).toBeDefined();
  await expect(lookAtScreen(url.replace(token!, '00000000-0000-4000-8000-000000000000'))).rejects.toThrow();
});

test('the console log gives the lines that were asked for, from the end', async () => {
  const { cloud, boot } = lab();
  const { id } = await boot();
  await cloud.servers.waitConsole(id, /tick 3/);
  const lines = (await cloud.servers.consoleLog(id, 2)).trim().split('\n');
  expect(lines.length).toBeLessThanOrEqual(2);
  expect(lines.join('\n')).toMatch(/tick \d+/);
});

test('the console of a stopped server can still be read', async () => {
  const { cloud, boot } = lab();
  const { id } = await boot();
  await cloud.servers.waitConsole(id, /guest: ready/);
  await cloud.servers.action(id, { 'os-stop': null });
  await cloud.servers.waitStatus(id, 'SHUTOFF');
  expect(await cloud.servers.consoleLog(id)).toContain('guest: ready');
});
