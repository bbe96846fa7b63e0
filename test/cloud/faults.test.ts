import { expect, test } from 'vitest';
import { until } from './control-plane/index.js';
import { waitPing } from './support/node-network.js';
import { addressOf, useLab, type Lab } from './support/use-lab.js';

const lab = useLab();

/** Waits until the build works on this host: from then on it can be hit. */
const untilBuilding = async ({ cloud, node }: Lab, id: string): Promise<void> => {
  await cloud.servers.waitUntil(id, 'a build on this host', (server) => server['OS-EXT-SRV-ATTR:host'] === node.name && server.status === 'BUILD');
};

test('a server whose build was under way when the broker restarted becomes ACTIVE and answers', async () => {
  const { cloud, node, plane, agent, create } = lab();
  const [id] = await create();
  await untilBuilding(lab(), id!);
  await plane.daemons.kill('rabbitmq');
  await plane.up();
  const server = await cloud.servers.waitStatus(id!, 'ACTIVE', 180_000);
  await waitPing(node, addressOf(server));
  // and the connections are what they were: the next request goes through
  await agent.waitUp(cloud);
  await cloud.servers.action(id!, { 'os-stop': null });
  await cloud.servers.waitStatus(id!, 'SHUTOFF');
});

test('a server whose build was under way when the conductor was away for a minute becomes ACTIVE once it is back', async () => {
  const { cloud, node, plane, agent, create } = lab();
  const [id] = await create();
  await untilBuilding(lab(), id!);
  await plane.daemons.kill('nova-conductor');
  const awayUntil = performance.now() + 60_000;
  await until(70_000, () => 'the minute does not pass', () => performance.now() > awayUntil, 1_000);
  expect((await cloud.servers.show(id!))?.status).toBe('BUILD');
  expect(agent.pid()).not.toBeNull();
  await plane.up();
  const server = await cloud.servers.waitStatus(id!, 'ACTIVE', 180_000);
  expect(await waitPing(node, addressOf(server))).toContain('time=');
});
