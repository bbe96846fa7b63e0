import { expect, test } from 'vitest';
import { agentProcess } from './support/agent.js';
import { guestPids } from './support/guest-process.js';
import { askGuest, waitPing } from './support/node-network.js';
import { useLab } from './support/use-lab.js';

const lab = useLab();

test('after a reboot of the host a server is SHUTOFF, or runs again by itself with resume_guests_state_on_host_boot; its disk and address are kept', async () => {
  const { cloud, node, agent, boot } = lab();
  const { id, address } = await boot();
  await waitPing(node, address);
  expect((await askGuest(node, address)).boot).toBe(1);

  await agent.stop();
  await node.rebootHost();
  agent.start();
  await agent.waitUp(cloud);
  expect(await cloud.servers.waitStatus(id, 'SHUTOFF')).toMatchObject({ 'OS-EXT-STS:power_state': 4 });
  expect((await guestPids(node)).size).toBe(0);
  await cloud.servers.action(id, { 'os-start': null });
  await cloud.servers.waitStatus(id, 'ACTIVE');
  await waitPing(node, address);
  expect((await askGuest(node, address)).boot).toBe(2);

  await agent.stop();
  await node.rebootHost();
  try {
    const resuming = agentProcess(node, { DEFAULT: { resume_guests_state_on_host_boot: true } });
    resuming.start();
    await resuming.waitUp(cloud);
    expect(await cloud.servers.waitStatus(id, 'ACTIVE')).toMatchObject({ 'OS-EXT-STS:power_state': 1 });
    await waitPing(node, address);
    expect((await askGuest(node, address)).boot).toBe(3);
  } finally {
    await agent.stop();
    agentProcess(node).start();
    await agent.waitUp(cloud);
  }
}, 360_000);
