import { expect, test } from 'vitest';
import { guestPids } from './support/guest-process.js';
import { askGuest, pings, waitPing } from './support/node-network.js';
import { useLab } from './support/use-lab.js';

const lab = useLab();

test('a paused guest does nothing, is PAUSED for an agent that was killed too, goes on counting, hears an NMI, and is gone after a delete while it is paused', async () => {
  const { cloud, node, agent, boot, remove } = lab();
  const { id, address } = await boot();
  await waitPing(node, address);
  const pid = (await guestPids(node)).get(id);
  const before = await askGuest(node, address);
  await cloud.servers.action(id, { pause: null });
  expect(await cloud.servers.waitStatus(id, 'PAUSED')).toMatchObject({ 'OS-EXT-STS:power_state': 3 });
  expect(await pings(node, address)).toBe(false);
  await expect(cloud.servers.vncUrl(id)).rejects.toMatchObject({ status: 409 });

  await agent.kill();
  agent.start();
  await agent.waitUp(cloud);
  expect(await cloud.servers.show(id)).toMatchObject({ status: 'PAUSED', 'OS-EXT-STS:power_state': 3, 'OS-EXT-STS:task_state': null });
  expect((await guestPids(node)).get(id)).toBe(pid);
  expect(await pings(node, address)).toBe(false);

  await cloud.servers.action(id, { unpause: null });
  expect(await cloud.servers.waitStatus(id, 'ACTIVE')).toMatchObject({ 'OS-EXT-STS:power_state': 1 });
  await waitPing(node, address);
  const after = await askGuest(node, address);
  expect(after.boot).toBe(before.boot);
  expect(after.tick).toBeGreaterThanOrEqual(before.tick);
  expect((await guestPids(node)).get(id)).toBe(pid);

  await cloud.servers.action(id, { trigger_crash_dump: null }, cloud.admin);
  await cloud.servers.waitConsole(id, /NMI received/);
  await expect(cloud.servers.action(id, { changePassword: { adminPass: 'not-for-logs-1' } })).rejects.toMatchObject({ status: 501 });
  expect(await cloud.servers.waitStatus(id, 'ACTIVE')).toMatchObject({ 'OS-EXT-STS:power_state': 1 });
  expect(agent.log(2000)).not.toContain('not-for-logs-1');

  await cloud.servers.action(id, { pause: null });
  await cloud.servers.waitStatus(id, 'PAUSED');
  await remove(id);
});

test('a paused server reboots hard into ACTIVE, and is SHUTOFF when its process is killed behind everybody’s back', async () => {
  const { cloud, node, boot } = lab();
  const { id, address } = await boot();
  await waitPing(node, address);
  await cloud.servers.action(id, { pause: null });
  await cloud.servers.waitStatus(id, 'PAUSED');
  await cloud.servers.action(id, { reboot: { type: 'HARD' } });
  await cloud.servers.waitStatus(id, 'ACTIVE');
  await waitPing(node, address);
  expect((await askGuest(node, address)).boot).toBe(2);

  await cloud.servers.action(id, { pause: null });
  await cloud.servers.waitStatus(id, 'PAUSED');
  process.kill((await guestPids(node)).get(id)!, 'SIGKILL');
  expect(await cloud.servers.waitStatus(id, 'SHUTOFF')).toMatchObject({ 'OS-EXT-STS:power_state': 4 });
  await cloud.servers.action(id, { 'os-start': null });
  await cloud.servers.waitStatus(id, 'ACTIVE');
  await waitPing(node, address);
});
