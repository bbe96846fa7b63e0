import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { guestPids } from './support/guest-process.js';
import { askGuest, waitPing } from './support/node-network.js';
import { addressOf, qemuImage, useLab } from './support/use-lab.js';

const lab = useLab();

test('a rebuilt server keeps its address, boots a fresh disk of the same or another image with new metadata, and a stopped one stays off', async () => {
  const { cloud, node, boot, upload, image, imageFile } = lab();
  const { id, address } = await boot({ metadata: { color: 'red' } });
  await cloud.servers.waitConsole(id, /guest: meta meta.color red[\s\S]*guest: ready/);
  await cloud.servers.action(id, { reboot: { type: 'HARD' } });
  await cloud.servers.waitStatus(id, 'ACTIVE');
  expect((await askGuest(node, address)).boot).toBe(2);

  await cloud.servers.action(id, { rebuild: { imageRef: image, metadata: { color: 'green' } } });
  const rebuilt = await cloud.servers.waitStatus(id, 'ACTIVE');
  expect(addressOf(rebuilt)).toBe(address);
  await cloud.servers.waitConsole(id, /guest: meta meta.color green[\s\S]*guest: ready/);
  await waitPing(node, address);
  expect((await askGuest(node, address)).boot).toBe(1);
  expect((await cloud.servers.lastAction(id, 'rebuild')).events).toContain('compute_rebuild_instance: Success');

  await cloud.servers.action(id, { 'os-stop': null });
  await cloud.servers.waitStatus(id, 'SHUTOFF');
  const other = await upload({ name: 'lab-guest-copy', diskFormat: 'raw', properties: { hw_firmware_type: 'uefi' } }, await readFile(imageFile));
  await cloud.servers.action(id, { rebuild: { imageRef: other } });
  await cloud.servers.waitStatus(id, 'SHUTOFF');
  expect((await guestPids(node)).size).toBe(0);
  expect((await cloud.servers.lastAction(id, 'rebuild')).events).toContain('compute_rebuild_instance: Success');
  await cloud.servers.action(id, { 'os-start': null });
  await cloud.servers.waitStatus(id, 'ACTIVE');
  await waitPing(node, address);
  expect((await askGuest(node, address)).boot).toBe(1);
}, 300_000);

test('a rebuild with an image that is broken or too large is refused while the guest runs on', async () => {
  const { cloud, node, boot, upload, image } = lab();
  const { id, address } = await boot();
  await waitPing(node, address);
  const before = (await guestPids(node)).get(id);
  const broken = await upload({ name: 'broken', diskFormat: 'qcow2' }, new TextEncoder().encode('this is no qcow2 at all'.repeat(100)));
  const huge = await upload({ name: 'huge', diskFormat: 'qcow2' }, await qemuImage('qcow2', 'FILE', '3G'));
  for (const [bad, reason] of [[broken, /unacceptable/i], [huge, /too small|smaller than/i]] as const) {
    await cloud.servers.action(id, { rebuild: { imageRef: bad } });
    const server = await cloud.servers.waitStatus(id, 'ACTIVE');
    expect((server as unknown as { image: { id: string } }).image.id).toBe(image);
    expect((await guestPids(node)).get(id)).toBe(before);
    const { events, details } = await cloud.servers.lastAction(id, 'rebuild');
    expect(events).toContain('compute_rebuild_instance: Error');
    expect(details).toMatch(reason);
  }
  await waitPing(node, address);
}, 200_000);
