import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { guestPids } from './support/guest-process.js';
import { askGuest, waitPing } from './support/node-network.js';
import { useLab } from './support/use-lab.js';

const lab = useLab();

test('a rescued server boots another disk with its own beside it, stays rescued over a restart of the agent, and comes back as it was', async () => {
  const { cloud, node, agent, boot } = lab();
  const { id, address } = await boot();
  await cloud.servers.waitConsole(id, /guest: ready/);
  await cloud.servers.action(id, { reboot: { type: 'HARD' } });
  await cloud.servers.waitStatus(id, 'ACTIVE');
  expect((await askGuest(node, address)).boot).toBe(2);

  await cloud.servers.action(id, { rescue: {} });
  expect(await cloud.servers.waitStatus(id, 'RESCUE')).toMatchObject({ 'OS-EXT-STS:power_state': 1 });
  await cloud.servers.waitConsole(id, /guest: boot 1[\s\S]*guest: disk vda rescue-[\s\S]*guest: disk vdb root-[\s\S]*guest: ready/);
  await waitPing(node, address);
  expect((await askGuest(node, address)).boot).toBe(1);

  await agent.restart(cloud);
  const pid = (await guestPids(node)).get(id)!;
  expect(await cloud.servers.show(id)).toMatchObject({ status: 'RESCUE', 'OS-EXT-STS:task_state': null });
  expect((await guestPids(node)).get(id)).toBe(pid);

  await cloud.servers.action(id, { unrescue: null });
  await cloud.servers.waitStatus(id, 'ACTIVE');
  await waitPing(node, address);
  expect((await askGuest(node, address)).boot).toBe(3);
  expect((await cloud.servers.lastAction(id, 'rescue')).events).toEqual(['compute_rescue_instance: Success']);
}, 300_000);

test('a stopped server is rescued with an image that says how, a device that bhyve has not is refused, and a rescued server is gone after delete', async () => {
  const { cloud, node, boot, upload, remove, imageFile } = lab();
  const { id, address } = await boot();
  await cloud.servers.waitConsole(id, /guest: ready/);
  const floppy = await upload({ name: 'floppy', diskFormat: 'raw', properties: { hw_rescue_device: 'floppy' } }, new Uint8Array(1024 * 1024));
  await cloud.servers.action(id, { rescue: { rescue_image_ref: floppy } });
  await cloud.servers.waitStatus(id, 'ACTIVE');
  expect(await cloud.servers.lastAction(id, 'rescue')).toMatchObject({ events: ['compute_rescue_instance: Error'], details: expect.stringMatching(/hw_rescue_device=floppy/) as unknown });

  await cloud.servers.action(id, { 'os-stop': null });
  await cloud.servers.waitStatus(id, 'SHUTOFF');
  const stable = await upload({ name: 'rescue-disk', diskFormat: 'raw', properties: { hw_rescue_device: 'disk', hw_rescue_bus: 'virtio' } }, await readFile(imageFile));
  await cloud.servers.action(id, { rescue: { rescue_image_ref: stable } });
  await cloud.servers.waitStatus(id, 'RESCUE');
  await waitPing(node, address);
  expect((await askGuest(node, address)).boot).toBe(1);
  await remove(id);
}, 300_000);
