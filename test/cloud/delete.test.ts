import { expect, test } from 'vitest';
import { qemuImage, useLab } from './support/use-lab.js';
import { waitPing } from './support/node-network.js';

// After each of these the leak check of useLab is the better half of the test.
const lab = useLab();

test('a running server is gone after delete', async () => {
  const { node, boot, remove } = lab();
  const { id, address } = await boot();
  await waitPing(node, address);
  await remove(id);
});

test('a server that is deleted while it is being built is gone', async () => {
  const { cloud, create, remove } = lab();
  const [id] = await create();
  await cloud.servers.waitUntil(id!, 'a host', (server) => server['OS-EXT-SRV-ATTR:host'] !== null);
  await remove(id!);
});

test('a server that is deleted right after it was asked for is gone', async () => {
  const { create, remove } = lab();
  const [id] = await create();
  await remove(id!);
});

test('a stopped server is gone after delete', async () => {
  const { cloud, boot, remove } = lab();
  const { id } = await boot();
  await cloud.servers.action(id, { 'os-stop': null });
  await cloud.servers.waitStatus(id, 'SHUTOFF');
  await remove(id);
});

test('a server that is deleted while it is being stopped is gone', async () => {
  const { cloud, boot, remove } = lab();
  const { id } = await boot({ userData: 'guest-action=ignore-power-button\n' });
  await cloud.servers.waitConsole(id, /guest: ready/);
  await cloud.servers.action(id, { 'os-stop': null });
  await cloud.servers.waitUntil(id, 'powering-off', (server) => server['OS-EXT-STS:task_state'] === 'powering-off');
  await remove(id);
});

test('a server that is deleted while it reboots is gone', async () => {
  const { cloud, boot, remove } = lab();
  const { id } = await boot();
  await cloud.servers.action(id, { reboot: { type: 'HARD' } });
  await remove(id);
});

test('a server that is in ERROR is gone after delete', async () => {
  const { cloud, create, upload, remove } = lab();
  const image = await upload({ name: 'broken', diskFormat: 'qcow2' }, new TextEncoder().encode('this is no qcow2 at all'.repeat(100)));
  const [id] = await create({ image });
  await cloud.servers.waitStatus(id!, 'ERROR');
  await remove(id!);
});

test('a server that is deleted while the agent is dead is gone when the agent is back', async () => {
  const { cloud, agent, node, boot } = lab();
  const { id, address } = await boot();
  await waitPing(node, address);
  await agent.kill();
  await cloud.servers.remove(id);
  await waitPing(node, address); // the guest lives on without its agent
  agent.start();
  await agent.waitUp(cloud);
  await cloud.servers.waitGone(id);
});

test('a server that Nova deleted by itself because the host counted as down is removed when the agent is back', async () => {
  const { cloud, agent, node, boot } = lab();
  const { id, address } = await boot();
  await waitPing(node, address);
  await agent.kill();
  const [service] = await cloud.compute.services(node.name);
  await cloud.compute.setService(service!.id, { forced_down: true });
  try {
    await cloud.servers.remove(id);
    await cloud.servers.waitGone(id);
  } finally {
    await cloud.compute.setService(service!.id, { forced_down: false });
  }
  expect((await node.leaks()).join('\n')).toContain(id);
  agent.start();
  await agent.waitUp(cloud);
});

test('a server whose guest has been killed behind the back of the agent is gone after delete', async () => {
  const { cloud, boot, remove, node } = lab();
  const { guestPids } = await import('./support/guest-process.js');
  const { id } = await boot();
  process.kill((await guestPids(node)).get(id)!, 'SIGKILL');
  await cloud.servers.waitUntil(id, 'SHUTOFF or ERROR', (server) => server.status !== 'ACTIVE').catch(() => undefined);
  await remove(id);
});

test('the port of a user outlives the server that used it', async () => {
  const { cloud, boot, remove } = lab();
  const port = await cloud.network.createPort('lab-flat', cloud.demo.projectId);
  try {
    const { id } = await boot({ networks: [{ port: port.id }] });
    await remove(id);
    expect(await cloud.network.port(port.id)).toMatchObject({ device_id: '', 'binding:host_id': '' });
  } finally {
    await cloud.network.removePort(port.id);
  }
});

test('nothing of an image that does not fit the flavor is left, and the fault says what is wrong', async () => {
  const { cloud, create, upload } = lab();
  const image = await upload({ name: 'huge', diskFormat: 'qcow2' }, await qemuImage('qcow2', 'FILE', '3G'));
  const [id] = await create({ image, flavor: 'm1.nano' });
  const server = await cloud.servers.waitStatus(id!, 'ERROR');
  expect(server.fault!.message).toMatch(/too small|smaller than/i);
  expect(server['OS-EXT-SRV-ATTR:host']).toBeNull();
});
