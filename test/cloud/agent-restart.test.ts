import { expect, test } from 'vitest';
import { until } from './control-plane/index.js';
import { guestPids } from './support/guest-process.js';
import { askGuest, waitPing } from './support/node-network.js';
import { useLab } from './support/use-lab.js';

const lab = useLab();

test.for(['is stopped', 'is killed'] as const)('a guest keeps its pid and goes on counting while the agent %s and started again', async (how) => {
  const { cloud, node, agent, boot } = lab();
  const { id, address } = await boot();
  await waitPing(node, address);
  const before = await askGuest(node, address);
  const pid = (await guestPids(node)).get(id);
  const agentPid = agent.pid();
  if (how === 'is stopped') expect(await agent.stop()).toBe('stopped');
  else await agent.kill();
  expect((await guestPids(node)).get(id)).toBe(pid);
  agent.start();
  await agent.waitUp(cloud);
  expect(agent.pid()).not.toBe(agentPid);
  expect((await guestPids(node)).get(id)).toBe(pid);
  const after = await until(120_000, () => 'the guest has stopped counting', async () => {
    const now = await askGuest(node, address);
    return now.tick > before.tick ? now : null;
  });
  expect(after.boot).toBe(before.boot);
  expect(await cloud.servers.show(id)).toMatchObject({ status: 'ACTIVE', 'OS-EXT-STS:power_state': 1 });
  // and the new agent really holds the guest
  await cloud.servers.action(id, { 'os-stop': null });
  await cloud.servers.waitStatus(id, 'SHUTOFF');
  expect((await guestPids(node)).size).toBe(0);
});

test('a guest that powers itself off while the agent is away is SHUTOFF when the agent is back', async () => {
  const { cloud, agent, node, boot } = lab();
  const { id } = await boot({ userData: 'guest-action=poweroff-after=6\n' });
  await cloud.servers.waitConsole(id, /guest: ready/);
  await agent.kill();
  await until(120_000, () => 'the guest does not end', async () => !(await guestPids(node)).has(id));
  agent.start();
  await agent.waitUp(cloud);
  await cloud.servers.waitStatus(id, 'SHUTOFF');
});

test('a server whose build was cut by kill -9 ends as ACTIVE or as ERROR with a fault, never in between', async () => {
  const { cloud, agent, create } = lab();
  const [id] = await create();
  await cloud.servers.waitUntil(id!, 'spawning', (server) => server.status === 'ACTIVE' || ['networking', 'block_device_mapping', 'spawning'].includes(server['OS-EXT-STS:task_state'] ?? ''));
  await agent.kill();
  agent.start();
  await agent.waitUp(cloud);
  const end = await until(120_000, () => 'the build neither went on nor ended', async () => {
    const server = await cloud.servers.show(id!);
    return server !== null && server['OS-EXT-STS:task_state'] === null && server.status !== 'BUILD' ? server : null;
  });
  expect(['ACTIVE', 'ERROR']).toContain(end.status);
});
