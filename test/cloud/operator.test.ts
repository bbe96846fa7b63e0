import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { until } from './control-plane/index.js';
import { downloadsOf } from './support/images.js';
import { waitPing } from './support/node-network.js';
import { useLab } from './support/use-lab.js';

const run = promisify(execFile);

const lab = useLab();

async function providerOf(): Promise<{ uuid: string; hypervisor: string }> {
  const { cloud, node } = lab();
  const [hypervisor] = await cloud.compute.hypervisors(node.name);
  const provider = await cloud.placement.provider(hypervisor!.hypervisor_hostname);
  return { uuid: provider!.uuid, hypervisor: hypervisor!.id };
}

test('the operator sees a bhyve hypervisor that is up, with an uptime', async () => {
  const { cloud } = lab();
  const { hypervisor, uuid } = await providerOf();
  const shown = await cloud.compute.showHypervisor(hypervisor);
  expect(shown).toMatchObject({ hypervisor_type: 'bhyve', state: 'up', status: 'enabled', host_ip: '127.0.0.1', id: uuid });
  expect(shown.uptime).toMatch(/\S/);
});

test('Placement has processors, memory and disk of the node, and traits of Nova that say what it can do', async () => {
  const { cloud } = lab();
  const { uuid } = await providerOf();
  const inventories = await cloud.placement.inventories(uuid);
  expect(Object.keys(inventories).sort()).toEqual(expect.arrayContaining(['DISK_GB', 'MEMORY_MB', 'VCPU']));
  for (const [name, { total, reserved, max_unit: max }] of Object.entries(inventories)) {
    expect(total, name).toBeGreaterThan(0);
    expect(reserved, name).toBeLessThan(total);
    expect(max, name).toBeLessThanOrEqual(total);
  }
  expect(inventories['MEMORY_MB']!.reserved).toBe(512);
  expect(await cloud.placement.traits(uuid)).toEqual(expect.arrayContaining(['COMPUTE_NODE']));
});

test('usages rise by what the flavor says while a server is there, and an operator’s trait survives an audit', async () => {
  const { cloud, boot, remove, agent } = lab();
  const { uuid } = await providerOf();
  const { id } = await boot();
  await cloud.placement.waitUsages(uuid, { VCPU: 1, MEMORY_MB: 256, DISK_GB: 1 });
  expect(Object.keys(await cloud.placement.allocations(uuid))).toEqual([id]);
  await agent.restart(cloud);
  await cloud.placement.waitUsages(uuid, { VCPU: 1, MEMORY_MB: 256, DISK_GB: 1 });
  await remove(id);
  await cloud.placement.waitUsages(uuid, { VCPU: 0, MEMORY_MB: 0, DISK_GB: 0 });
});

test('a disabled service gets no servers, says so in Placement, and gets them again when it is enabled', async () => {
  const { cloud, node, create, boot, remove } = lab();
  const { uuid } = await providerOf();
  const [service] = await cloud.compute.services(node.name);
  const trait = 'COMPUTE_STATUS_DISABLED';
  const hasTrait = async (): Promise<boolean> => (await cloud.placement.traits(uuid)).includes(trait);
  await cloud.compute.setService(service!.id, { status: 'disabled', disabled_reason: 'a test' });
  try {
    await until(120_000, () => `${trait} does not appear`, hasTrait);
    const [id] = await create();
    const failed = await cloud.servers.waitStatus(id!, 'ERROR');
    expect(failed.fault!.message).toContain('No valid host');
    await remove(id!);
  } finally {
    await cloud.compute.setService(service!.id, { status: 'enabled' });
  }
  await until(120_000, () => `${trait} does not go away`, async () => !(await hasTrait()));
  await boot();
});

test('an image that the operator has cached in advance is not downloaded again when a server boots from it', async () => {
  const { cloud, node, imageFile, boot, upload } = lab();
  const image = await upload({ name: 'precached', diskFormat: 'raw', properties: { hw_firmware_type: 'uefi' } }, readFileSync(imageFile));
  const isCached = async (): Promise<boolean> =>
    run('zfs', ['list', '-H', `${node.zfsRoot}/images/${image}@base`], { env: node.env }).then(() => true, () => false);
  await cloud.compute.precache(node.name, image, isCached);
  expect(downloadsOf(image)).toBe(1);
  const { address } = await boot({ image });
  await waitPing(node, address);
  expect(downloadsOf(image)).toBe(1);
});

test('Neutron hears an Open vSwitch agent on the node, with the mapping of physnet1', async () => {
  const { cloud, node } = lab();
  const agents = await cloud.network.agents(node.name);
  expect(agents).toHaveLength(1);
  expect(agents[0]).toMatchObject({ agent_type: 'Open vSwitch agent', alive: true, configurations: { bridge_mappings: { physnet1: node.bridge } } });
});
