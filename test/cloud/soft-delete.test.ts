import { expect, test } from 'vitest';
import { agentProcess } from './support/agent.js';
import { guestPids } from './support/guest-process.js';
import { askGuest, pings, waitPing } from './support/node-network.js';
import { useLab } from './support/use-lab.js';

const lab = useLab();
const deferred = (seconds: number) => ({ DEFAULT: { reclaim_instance_interval: seconds } });

test('with reclaim_instance_interval a deleted server is off but kept: it is restored, deleted by force, or reclaimed when its time is over', async () => {
  const { plane, cloud, node, agent, boot } = lab();
  const { id, address } = await boot();
  await waitPing(node, address);
  await plane.setApiOptions(deferred(3600));
  try {
    await cloud.servers.remove(id);
    expect(await cloud.servers.waitStatus(id, 'SOFT_DELETED')).toMatchObject({ 'OS-EXT-STS:power_state': 4 });
    expect((await guestPids(node)).size).toBe(0);
    expect(await pings(node, address)).toBe(false);
    await agent.restart(cloud);
    await cloud.servers.waitStatus(id, 'SOFT_DELETED');

    await cloud.servers.action(id, { restore: null });
    expect(await cloud.servers.waitStatus(id, 'ACTIVE')).toMatchObject({ 'OS-EXT-STS:power_state': 1 });
    await waitPing(node, address);
    expect((await askGuest(node, address)).boot).toBe(2);

    // a paused one too
    await cloud.servers.action(id, { pause: null });
    await cloud.servers.waitStatus(id, 'PAUSED');
    await cloud.servers.remove(id);
    await cloud.servers.waitStatus(id, 'SOFT_DELETED');
    await cloud.servers.action(id, { forceDelete: null });
    await cloud.servers.waitGone(id);

    const other = await boot();
    await cloud.servers.remove(other.id);
    await cloud.servers.waitStatus(other.id, 'SOFT_DELETED');
    await agent.stop();
    const impatient = agentProcess(node, deferred(2));
    impatient.start();
    await impatient.waitUp(cloud);
    await cloud.servers.waitGone(other.id); // the duty comes once a minute
  } finally {
    await plane.setApiOptions({});
    await agent.stop();
    agentProcess(node).start();
    await agent.waitUp(cloud);
  }
}, 360_000);
