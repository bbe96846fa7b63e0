import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { downloadsOf } from './support/images.js';
import { addressOf, useLab } from './support/use-lab.js';
import { askGuest, pings, waitPing } from './support/node-network.js';
import { guestPids } from './support/guest-process.js';

const lab = useLab();

test('a server on a flat network becomes ACTIVE, answers ping at the address Neutron gave it, and its guest says its own uuid', async () => {
  const { cloud, node, boot } = lab();
  const { id, address, server } = await boot();
  expect(server['OS-EXT-STS:power_state']).toBe(1);
  expect(server['OS-EXT-SRV-ATTR:host']).toBe(node.name);
  await waitPing(node, address);
  expect((await askGuest(node, address)).uuid.toLowerCase()).toBe(id);
  const [port] = await cloud.network.ports({ device_id: id });
  expect(port).toMatchObject({ status: 'ACTIVE', 'binding:host_id': node.name });
  expect(port!.fixed_ips[0]!.ip_address).toBe(address);
  expect([...(await guestPids(node)).keys()]).toEqual([id]);
});

test("a guest finds what the user gave it on its config drive, and says so on its console", async () => {
  const { cloud, boot } = lab();
  const { id, address } = await boot({ name: 'drive', configDrive: true, userData: '#!words of the user\n', metadata: { colour: 'green' } });
  const log = await cloud.servers.waitConsole(id, /guest: ready/);
  expect(log).toMatch(/guest: config-drive \/dev\/\w+/);
  expect(log).toContain(`guest: meta uuid ${id}`);
  expect(log).toContain('guest: meta name drive');
  expect(log).toContain('guest: meta meta.colour green');
  expect(log).toContain('guest: user-data #!words of the user');
  expect(log).toContain(`${address}/20`);
});

test('a server without a network and without a config drive boots, and has neither', async () => {
  const { cloud, boot } = lab();
  const { id, address } = await boot({ networks: 'none', configDrive: false });
  expect(address).toBe('');
  const log = await cloud.servers.waitConsole(id, /guest: ready/);
  expect(log).toContain('guest: config-drive none');
  expect(log).not.toMatch(/guest: net /);
  expect(await cloud.network.ports({ device_id: id })).toEqual([]);
});

test('a server on a VLAN network becomes ACTIVE and its guest has that address, on that VLAN and not on the flat network', async () => {
  const { cloud, node, boot } = lab();
  const { id, address } = await boot({ networks: ['lab-vlan'] });
  expect(address).toMatch(/^10\.21\.0\./);
  expect(await cloud.servers.waitConsole(id, /guest: ready/)).toContain(`${address}/24`);
  await waitPing(node, address);
  await waitPing(node, address, 120_000, 'fabric0.120');
  expect(await pings(node, address, 'fabric0')).toBe(false);
});

test('three servers of one request become ACTIVE and all answer ping at the same time', async () => {
  const { cloud, node, create } = lab();
  const ids = await create({ name: 'many', count: 3 });
  expect(ids).toHaveLength(3);
  const servers = await Promise.all(ids.map((id) => cloud.servers.waitStatus(id, 'ACTIVE', 180_000)));
  const addresses = servers.map(addressOf);
  expect(new Set(addresses).size).toBe(3);
  await Promise.all(addresses.map((address) => waitPing(node, address, 120_000)));
  expect((await guestPids(node)).size).toBe(3);
});

test('two servers at once from an image that is not cached download it once', async () => {
  const { cloud, node, imageFile, create, upload } = lab();
  const image = await upload({ name: 'uncached', diskFormat: 'raw', properties: { hw_firmware_type: 'uefi' } }, readFileSync(imageFile));
  const ids = (await Promise.all([create({ image, name: 'first' }), create({ image, name: 'second' })])).flat();
  const servers = await Promise.all(ids.map((id) => cloud.servers.waitStatus(id, 'ACTIVE', 180_000)));
  await Promise.all(servers.map((server) => waitPing(node, addressOf(server), 120_000)));
  expect(downloadsOf(image)).toBe(1);
});
