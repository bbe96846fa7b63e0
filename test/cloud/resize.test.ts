import { expect, test } from 'vitest';
import { guestPids } from './support/guest-process.js';
import { askGuest, waitPing } from './support/node-network.js';
import { useLab } from './support/use-lab.js';

const lab = useLab();

test('a resized server has more of everything; a revert takes it back to the moment of the resize, a confirm keeps it', async () => {
  const { cloud, node, boot } = lab();
  const { id, address } = await boot();
  await cloud.servers.waitConsole(id, /guest: ready/);
  const [nano, small] = [await cloud.compute.flavor('m1.nano'), await cloud.compute.flavor('m1.small')];
  const provider = await cloud.placement.provider(node.name);
  const waitUsed = (wanted: Readonly<Record<string, number>>): Promise<boolean> => cloud.placement.waitUsages(provider!.uuid, wanted);

  await cloud.servers.action(id, { resize: { flavorRef: small } });
  await cloud.servers.waitStatus(id, 'VERIFY_RESIZE', 180_000);
  await cloud.servers.waitConsole(id, /guest: boot 2[\s\S]*guest: disk vda \S+ 2147483648[\s\S]*guest: ready/);
  await waitUsed({ VCPU: 3, MEMORY_MB: 768, DISK_GB: 3 });
  expect((await askGuest(node, address)).boot).toBe(2);
  await cloud.servers.action(id, { reboot: { type: 'HARD' } }).catch(() => undefined); // not allowed while resized; the state must not suffer
  await cloud.servers.waitStatus(id, 'VERIFY_RESIZE');

  await cloud.servers.action(id, { revertResize: null });
  await cloud.servers.waitStatus(id, 'ACTIVE', 180_000);
  await waitPing(node, address);
  expect((await askGuest(node, address)).boot).toBe(2); // boot 2 is undone
  await cloud.servers.waitConsole(id, /guest: disk vda \S+ 1073741824[\s\S]*guest: ready/);
  await waitUsed({ VCPU: 1, MEMORY_MB: 256, DISK_GB: 1 });
  expect(await cloud.servers.show(id)).toMatchObject({ flavor: { original_name: 'm1.nano' } });

  await cloud.servers.action(id, { resize: { flavorRef: small } });
  await cloud.servers.waitStatus(id, 'VERIFY_RESIZE', 180_000);
  await cloud.servers.action(id, { confirmResize: null });
  await cloud.servers.waitStatus(id, 'ACTIVE');
  await waitPing(node, address);
  expect((await askGuest(node, address)).boot).toBe(3);
  await waitUsed({ VCPU: 2, MEMORY_MB: 512, DISK_GB: 2 });
  expect((await cloud.servers.lastAction(id, 'resize')).events.sort()).toEqual(expect.arrayContaining([
    'compute_finish_resize: Success', 'compute_prep_resize: Success', 'compute_resize_instance: Success']));

  const pid = (await guestPids(node)).get(id);
  await cloud.servers.action(id, { resize: { flavorRef: nano } });
  const refused = await cloud.servers.waitStatus(id, 'ACTIVE');
  expect(refused).toMatchObject({ flavor: { original_name: 'm1.small' } });
  expect(await cloud.servers.lastAction(id, 'resize')).toMatchObject({ details: expect.stringMatching(/Unable to resize disk down/) as unknown });
  expect((await guestPids(node)).get(id)).toBe(pid);
  await waitUsed({ VCPU: 2, MEMORY_MB: 512, DISK_GB: 2 });
}, 500_000);

test('a stopped server is resized and reverted without being started, and a resized server is gone after delete', async () => {
  const { cloud, node, boot, remove } = lab();
  const { id } = await boot();
  await cloud.servers.action(id, { 'os-stop': null });
  await cloud.servers.waitStatus(id, 'SHUTOFF');
  const small = await cloud.compute.flavor('m1.small');
  await cloud.servers.action(id, { resize: { flavorRef: small } });
  await cloud.servers.waitStatus(id, 'VERIFY_RESIZE');
  expect((await guestPids(node)).size).toBe(0);
  await cloud.servers.action(id, { revertResize: null });
  await cloud.servers.waitStatus(id, 'SHUTOFF');
  await cloud.servers.action(id, { resize: { flavorRef: small } });
  await cloud.servers.waitStatus(id, 'VERIFY_RESIZE');
  await remove(id);
}, 300_000);
