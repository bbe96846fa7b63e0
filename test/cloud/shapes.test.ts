/** What machine a guest is: disks, buses, cards, CPUs and limits as flavor and image ask for them, seen by the guest itself. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { guestIso } from '../lab/guest/iso.js';
import { guestPids } from './support/guest-process.js';
import { waitPing } from './support/node-network.js';
import { addressOf, useLab } from './support/use-lab.js';

const lab = useLab();
const GiB = 2 ** 30;

const configOf = (id: string): string => readFileSync(join(lab().node.statePath, 'instances', id, 'bhyve.conf'), 'utf8');
const rules = async (): Promise<string[]> => (await promisify(execFile)(join(lab().node.path, 'bin/rctl'))).stdout.split('\n').filter((line) => line !== '');
/** What the guest says of one thing, of the last boot. */
const said = (log: string, what: RegExp): RegExpExecArray | undefined => [...log.matchAll(new RegExp(what, 'g'))].at(-1);

test('a server has the ephemeral and swap disks, buses, formats, tags, cores and quota that were asked for, and keeps them over a hard reboot', async () => {
  const { cloud, node, image, flavor, create } = lab();
  const name = await flavor({ name: 'lab.shapes', vcpus: 2, disk: 1, 'OS-FLV-EXT-DATA:ephemeral': 2, swap: 64, extraSpecs: { 'hw:cpu_cores': '2', 'quota:cpu_quota': '90000', 'quota:disk_read_iops_sec': '5000' } });
  const blank = { source_type: 'blank', destination_type: 'local', delete_on_termination: true, boot_index: -1 };
  const [id] = await create({ name: 'shapes', flavor: name, more: {
    networks: [{ uuid: await cloud.network.id('lab-flat'), tag: 'front' }],
    block_device_mapping_v2: [
      { uuid: image, source_type: 'image', destination_type: 'local', delete_on_termination: true, boot_index: 0, tag: 'system' },
      { ...blank, volume_size: 1, guest_format: 'ext4', disk_bus: 'sata', tag: 'scratch' }, { ...blank, guest_format: 'swap', volume_size: 64 },
    ],
  } });
  const server = await cloud.servers.waitStatus(id!, 'ACTIVE');
  await waitPing(node, addressOf(server));
  const log = await cloud.servers.waitConsole(id!, /guest: ready/);
  expect(log).toMatch(new RegExp(`guest: disk sda eph0-\\w+ ${GiB}`));
  expect(log).toContain('guest: holds sda ext ephemeral0');
  expect(log).toMatch(new RegExp(`guest: disk vdb swap-\\w+ ${64 * 2 ** 20}`));
  expect(log).toContain('guest: holds vdb swap');
  expect(log).toContain('guest: topology 1 2 1');
  expect(log).toMatch(/guest: rng virtio_rng/);

  // The tags name the very addresses at which the guest finds its devices.
  const tagged = (tag: string): string | undefined => {
    const [, index] = said(log, new RegExp(`guest: meta devices\\.(\\d+)\\.tags\\.0 ${tag}`)) ?? [];
    return said(log, new RegExp(`guest: meta devices\\.${String(index)}\\.address (\\S+)`))?.[1];
  };
  const found = (device: string): string | undefined => said(log, new RegExp(`guest: pci ${device} (\\S+)`))?.[1];
  expect([tagged('system'), tagged('scratch'), tagged('front')]).toEqual([found('vda'), found('sda'), found('eth0')]);
  expect(found('eth0')).toMatch(/^0000:00:/);

  const [hypervisor] = await cloud.compute.hypervisors(node.name);
  const provider = await cloud.placement.provider(hypervisor!.hypervisor_hostname);
  expect((await cloud.placement.usages(provider!.uuid))['DISK_GB']).toBe(4); // 1 + 2 + swap rounded up
  const held = async (): Promise<string[]> => [...(await guestPids(node)).values()].flatMap((pid) => [`process:${pid}:pcpu:deny=180`, `process:${pid}:readiops:throttle=5000`]);
  expect(await rules()).toEqual(await held());

  await cloud.servers.action(id!, { reboot: { type: 'HARD' } });
  await cloud.servers.waitStatus(id!, 'ACTIVE');
  const again = await cloud.servers.waitConsole(id!, /guest: boot 2[^]*guest: ready/);
  for (const device of ['vda', 'sda', 'vdb', 'eth0']) expect(said(again, new RegExp(`guest: pci ${device} (\\S+)`))?.[1]).toBe(found(device));
  expect(await rules()).toEqual(await held());
});

test('an image that wants NVMe, e1000 and no screen gets them, pings, and gets them again at a hard reboot', async () => {
  const { cloud, node, imageFile, upload, create } = lab();
  const image = await upload({ name: 'old-machine', diskFormat: 'raw', properties: { bhyve_disk_bus: 'nvme', hw_vif_model: 'e1000', hw_video_model: 'none', os_shutdown_timeout: '5' } }, readFileSync(imageFile));
  const [id] = await create({ image, name: 'old-machine' });
  const server = await cloud.servers.waitStatus(id!, 'ACTIVE');
  await waitPing(node, addressOf(server));
  const log = await cloud.servers.waitConsole(id!, /guest: ready/);
  expect(log).toMatch(new RegExp(`guest: disk nvme0n1 root-\\w+ ${GiB}`));
  const devices = (): string[] => [...configOf(id!).matchAll(/^pci\.[\d.]+\.device=(.*)$/gm)].map((match) => match[1]!).sort();
  expect(devices()).toEqual(['ahci', 'e1000', 'hostbridge', 'lpc', 'nvme', 'virtio-rnd']); // ahci: the config drive
  expect((server as unknown as Readonly<Record<string, unknown>>)['OS-EXT-SRV-ATTR:root_device_name']).toBe('/dev/nvme0n1');
  await expect(cloud.servers.vncUrl(id!)).rejects.toThrow(/40[049]|unavailable/i);
  await cloud.servers.action(id!, { reboot: { type: 'HARD' } });
  await cloud.servers.waitStatus(id!, 'ACTIVE');
  await cloud.servers.waitConsole(id!, /guest: boot 2/);
  await waitPing(node, addressOf(server));
  expect(devices()).toEqual(['ahci', 'e1000', 'hostbridge', 'lpc', 'nvme', 'virtio-rnd']);
});

test('a server boots from an ISO image: a CD that it cannot write to, and an empty disk to install on', async () => {
  const { cloud, imageFile, upload, create, flavor } = lab();
  const image = await upload({ name: 'installer', diskFormat: 'iso', properties: { hw_cdrom_bus: 'sata' } }, await guestIso(imageFile));
  const name = await flavor({ name: 'lab.installer', disk: 1, 'OS-FLV-EXT-DATA:ephemeral': 1 });
  const [id] = await create({ image, flavor: name, name: 'installer' });
  await cloud.servers.waitStatus(id!, 'ACTIVE');
  const log = await cloud.servers.waitConsole(id!, /guest: ready/);
  expect(log).toMatch(/guest: holds sr\d iso LABGUEST/);
  expect(log).toMatch(/guest: config-drive \/dev\/sr\d/);
  expect(log).toMatch(new RegExp(`guest: disk vda eph0-\\w+ ${GiB}`));
  expect(log).toContain('guest: holds vda nothing');
  expect(configOf(id!)).toMatch(/^pci\.0\.2\.0\.port\.0\.type=cd$/m);
});

test('what this host cannot give ends in ERROR with a sentence that names it, and nothing is left', async () => {
  const { cloud, node, imageFile, upload, create, flavor } = lab();
  const image = await upload({ name: 'scsi-machine', diskFormat: 'raw', properties: { hw_disk_bus: 'scsi' } }, readFileSync(imageFile).subarray(0, 2 ** 20));
  const shares = await flavor({ name: 'lab.shares', extraSpecs: { 'quota:cpu_shares': '512' } });
  const [scsi] = await create({ image, name: 'scsi' });
  const [weighed] = await create({ flavor: shares, name: 'shares' });
  const fault = async (id: string): Promise<string> => (await cloud.servers.waitStatus(id, 'ERROR')).fault!.message;
  expect(await fault(scsi!)).toContain('image property hw_disk_bus=scsi is not supported by this host (it has: virtio, sata, nvme)');
  expect(await fault(weighed!)).toContain('flavor extra spec quota:cpu_shares is not supported by this host');
  const [hypervisor] = await cloud.compute.hypervisors(node.name);
  const provider = await cloud.placement.provider(hypervisor!.hypervisor_hostname);
  const traits = await cloud.placement.traits(provider!.uuid);
  expect(traits).toEqual(expect.arrayContaining(['COMPUTE_DEVICE_TAGGING', 'COMPUTE_STORAGE_BUS_SATA', 'COMPUTE_STORAGE_BUS_VIRTIO', 'COMPUTE_NET_VIF_MODEL_E1000', 'COMPUTE_GRAPHICS_MODEL_GOP']));
  expect(traits).not.toContain('COMPUTE_STORAGE_BUS_SCSI');
});
