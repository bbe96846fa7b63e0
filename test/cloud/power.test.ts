import { expect, test } from 'vitest';
import { guestPids } from './support/guest-process.js';
import { askGuest, pings, waitPing } from './support/node-network.js';
import { useLab } from './support/use-lab.js';

const lab = useLab();

test('stop ends the guest by its power button and start boots the same disk again at the same address', async () => {
  const { cloud, node, boot } = lab();
  const { id, address } = await boot();
  await waitPing(node, address);
  await cloud.servers.waitConsole(id, /guest: ready/);
  await cloud.servers.action(id, { 'os-stop': null });
  const stopped = await cloud.servers.waitStatus(id, 'SHUTOFF');
  expect(stopped['OS-EXT-STS:power_state']).toBe(4);
  expect(await cloud.servers.consoleLog(id)).toContain('guest: power button');
  expect([...(await guestPids(node)).keys()]).toEqual([]);
  expect(await pings(node, address)).toBe(false);
  await cloud.servers.action(id, { 'os-start': null });
  await cloud.servers.waitStatus(id, 'ACTIVE');
  await waitPing(node, address);
  expect((await askGuest(node, address)).boot).toBe(2);
});

test.for(['SOFT', 'HARD'] as const)('a %s reboot ends in ACTIVE with the guest booted once more, its address and its disk kept', async (type) => {
  const { cloud, node, boot } = lab();
  const { id, address } = await boot();
  await cloud.servers.waitConsole(id, /guest: ready/);
  expect((await askGuest(node, address)).boot).toBe(1);
  await cloud.servers.action(id, { reboot: { type } });
  await cloud.servers.waitStatus(id, 'ACTIVE');
  await cloud.servers.waitConsole(id, /guest: boot 2/);
  await waitPing(node, address);
  expect((await askGuest(node, address)).boot).toBe(2);
  expect((await guestPids(node)).size).toBe(1);
});

test('a guest that reboots itself comes back with the same address, and Nova goes on calling it ACTIVE', async () => {
  const { cloud, node, boot } = lab();
  const { id, address } = await boot({ userData: 'guest-action=reboot-after=2\n' });
  await cloud.servers.waitConsole(id, /guest: action reboot/);
  await cloud.servers.waitConsole(id, /guest: boot 2[\s\S]*guest: ready/);
  await waitPing(node, address);
  expect((await askGuest(node, address)).boot).toBe(2);
  expect(await cloud.servers.show(id)).toMatchObject({ status: 'ACTIVE', 'OS-EXT-STS:power_state': 1 });
});

test('a guest that powers itself off becomes SHUTOFF without anybody asking, and can be started', async () => {
  const { cloud, node, boot } = lab();
  const { id, address } = await boot({ userData: 'guest-action=poweroff-after=2\n' });
  await cloud.servers.waitConsole(id, /guest: action poweroff/);
  await cloud.servers.waitStatus(id, 'SHUTOFF');
  expect((await guestPids(node)).size).toBe(0);
  await cloud.servers.action(id, { 'os-start': null });
  await cloud.servers.waitStatus(id, 'ACTIVE');
  await waitPing(node, address);
});
