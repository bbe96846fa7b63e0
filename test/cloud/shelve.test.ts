import { expect, test } from 'vitest';
import { until } from './control-plane/index.js';
import { guestPids } from './support/guest-process.js';
import { waitImageGone } from './support/images.js';
import { leaksOf } from './support/leak-check.js';
import { askGuest, waitPing } from './support/node-network.js';
import { addressOf, useLab } from './support/use-lab.js';

const lab = useLab();

/** What the host still has, apart from the row and the unbound port that a shelved server keeps. */
const traces = async (): Promise<string[]> => (await leaksOf(lab().cloud, lab().node)).filter((line) => !line.startsWith('Nova still has server'));

async function waitOffloaded(id: string): Promise<void> {
  await lab().cloud.servers.waitUntil(id, 'SHELVED_OFFLOADED on no host', (server) =>
    server.status === 'SHELVED_OFFLOADED' && server['OS-EXT-STS:task_state'] === null && server['OS-EXT-SRV-ATTR:host'] === null);
  await until(120_000, () => 'something of the server is left on the host', async () => (await traces()).length === 0);
}

async function shelvedImage(id: string): Promise<string> {
  const [image] = (await lab().cloud.images.list({ instance_uuid: id })).filter((one) => one.name.endsWith('-shelved'));
  lab().adoptImage(image!.id);
  return image!.id;
}

test('a shelved server leaves the host and comes back with disk, addresses and name, whatever is killed on the way', async () => {
  const { cloud, node, agent, boot, remove, withOptions } = lab();
  await withOptions({ bhyve: { snapshot_image_format: 'qcow2' } }, async () => {
    const { id, address } = await boot({ name: 'sleeper' });
    await cloud.servers.waitConsole(id, /guest: ready/);
    await waitPing(node, address);
    const [port] = await cloud.network.ports({ device_id: id });

    await cloud.servers.action(id, { shelve: null });
    await waitOffloaded(id);
    const first = await shelvedImage(id);
    expect(await cloud.images.show(first)).toMatchObject({ status: 'active', disk_format: 'qcow2' });
    expect(await cloud.network.port(port!.id)).toMatchObject({ device_id: id, 'binding:host_id': '' });

    await cloud.servers.action(id, { unshelve: null });
    const back = await cloud.servers.waitStatus(id, 'ACTIVE');
    expect([addressOf(back), back['OS-EXT-SRV-ATTR:host']]).toEqual([address, node.name]);
    await cloud.servers.waitConsole(id, /guest: boot 2[\s\S]*guest: ready/);
    await waitPing(node, address);
    await waitImageGone(lab(), first);

    await cloud.servers.action(id, { shelve: null });
    await cloud.servers.waitUntil(id, 'an upload', (server) => server.status !== 'ACTIVE' || (server['OS-EXT-STS:task_state'] ?? '').startsWith('shelving_image'));
    await agent.kill();
    agent.start();
    await agent.waitUp(cloud);
    await waitOffloaded(id);
    const second = await shelvedImage(id);

    await cloud.servers.action(id, { unshelve: null });
    await cloud.servers.waitUntil(id, 'spawning', (server) => server.status === 'ACTIVE' || server['OS-EXT-STS:task_state'] === 'spawning');
    await agent.kill();
    agent.start();
    await agent.waitUp(cloud);
    await cloud.servers.waitStatus(id, 'ACTIVE');
    await waitPing(node, address);
    expect([(await askGuest(node, address)).boot, (await guestPids(node)).size]).toEqual([3, 1]);
    await waitImageGone(lab(), second);

    await cloud.servers.action(id, { shelve: null });
    await waitOffloaded(id);
    const third = await shelvedImage(id);
    await remove(id);
    await waitImageGone(lab(), third);
  });
}, 400_000);

test('a server may stay here shelved, start again, be offloaded by the operator or by time; what this host cannot carry stays offloaded', async () => {
  const { cloud, node, boot, remove, withOptions } = lab();
  const { id, address } = await boot();
  await cloud.servers.waitConsole(id, /guest: ready/);
  await withOptions({ DEFAULT: { shelved_offload_time: 3600 } }, async () => {
    await cloud.servers.action(id, { shelve: null });
    const shelved = await cloud.servers.waitStatus(id, 'SHELVED');
    expect([shelved['OS-EXT-SRV-ATTR:host'], shelved['OS-EXT-STS:power_state']]).toEqual([node.name, 4]);
    const first = await shelvedImage(id);
    await cloud.servers.action(id, { unshelve: null });
    await cloud.servers.waitStatus(id, 'ACTIVE');
    await waitPing(node, address);
    expect((await askGuest(node, address)).boot).toBe(2);
    await waitImageGone(lab(), first);

    await cloud.servers.action(id, { shelve: null });
    await cloud.servers.waitStatus(id, 'SHELVED');
    await cloud.servers.action(id, { shelveOffload: null }, cloud.admin);
    await waitOffloaded(id);

    const image = await shelvedImage(id);
    await cloud.images.setProperty(image, 'hw_mem_encryption', 'true');
    await cloud.servers.action(id, { unshelve: null });
    await until(120_000, () => 'the unshelve is not refused', async () => (await cloud.servers.actions(id)).find((one) => one.action === 'unshelve')?.message ?? null);
    await waitOffloaded(id);
    await cloud.images.setProperty(image, 'hw_mem_encryption', null);
    await cloud.servers.action(id, { unshelve: null });
    await cloud.servers.waitStatus(id, 'ACTIVE');
  });
  await withOptions({ DEFAULT: { shelved_offload_time: 2, shelved_poll_interval: 5 } }, async () => {
    await cloud.servers.action(id, { shelve: null });
    await waitOffloaded(id);
    await shelvedImage(id);
  });
  await remove(id);
}, 400_000);
