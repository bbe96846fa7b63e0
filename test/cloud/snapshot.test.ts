import { expect, test } from 'vitest';
import { until } from './control-plane/index.js';
import { guestPids } from './support/guest-process.js';
import { askForSnapshot, resultOf, waitActive, waitImageGone } from './support/images.js';
import { askGuest, waitPing } from './support/node-network.js';
import { useLab } from './support/use-lab.js';

const lab = useLab();
const GiB = 1024 ** 3;
/** An image of 1 GiB takes two minutes: time enough for what happens meanwhile. */
const slow = { bhyve: { snapshot_upload_rate_mib: 8 } };

test('an image of a running server has its disk, the guest never notices, a new server boots from it; backups rotate', async () => {
  const { cloud, node, boot, adoptImage } = lab();
  const { id, address } = await boot({ name: 'original' });
  await cloud.servers.waitConsole(id, /guest: ready/);
  await waitPing(node, address);
  const before = await askGuest(node, address);
  const pid = (await guestPids(node)).get(id);

  const image = await askForSnapshot(lab(), id, 'snap-1');
  const made = await waitActive(lab(), image);
  expect(made).toMatchObject({
    name: 'snap-1', disk_format: 'raw', container_format: 'bare', size: GiB, min_disk: 1, image_type: 'snapshot', instance_uuid: id, image_location: 'snapshot',
    image_state: 'available', owner_id: cloud.demo.projectId, hw_firmware_type: 'uefi',
  });
  await cloud.servers.waitStatus(id, 'ACTIVE');
  expect(await resultOf(lab(), id, 'createImage')).toBe('Success');
  expect((await guestPids(node)).get(id)).toBe(pid);
  const after = await until(120_000, () => 'the guest has stopped counting', async () => {
    const now = await askGuest(node, address);
    return now.tick > before.tick ? now : null;
  });
  expect(after.boot).toBe(1);

  const copy = await boot({ name: 'copy', image });
  await cloud.servers.waitConsole(copy.id, /guest: boot 2[\s\S]*guest: ready/); // the disk of the first has been booted once
  await waitPing(node, copy.address);
  expect((await askGuest(node, copy.address)).uuid.toLowerCase()).toBe(copy.id);

  for (const name of ['backup-1', 'backup-2', 'backup-3']) {
    await cloud.servers.action(id, { createBackup: { name, backup_type: 'daily', rotation: 2 } });
    await cloud.servers.waitStatus(id, 'ACTIVE');
    expect(await resultOf(lab(), id, 'createBackup')).toBe('Success');
  }
  const backups = await cloud.images.list({ image_type: 'backup', instance_uuid: id });
  backups.forEach((one) => adoptImage(one.id));
  expect(backups.map((one) => [one.name, one.status]).sort()).toEqual([['backup-2', 'active'], ['backup-3', 'active']]);
}, 300_000);

test('while an image is uploaded: its user deletes it; the agent is killed; the server is deleted', async () => {
  const { cloud, node, agent, boot, remove, withOptions } = lab();
  await withOptions(slow, async () => {
    const { id, address } = await boot();
    await cloud.servers.waitConsole(id, /guest: ready/);
    await waitPing(node, address);
    const uploading = async (): Promise<void> =>
      void (await cloud.servers.waitUntil(id, 'image_uploading', (server) => server['OS-EXT-STS:task_state'] === 'image_uploading'));

    const unwanted = await askForSnapshot(lab(), id, 'unwanted');
    await uploading();
    await cloud.images.remove(unwanted);
    await cloud.servers.waitStatus(id, 'ACTIVE');
    expect(await resultOf(lab(), id, 'createImage')).toBe('Success'); // as Nova has it: nobody's error

    const cut = await askForSnapshot(lab(), id, 'cut');
    await uploading();
    const pid = (await guestPids(node)).get(id);
    await agent.kill();
    agent.start();
    await agent.waitUp(cloud);
    await cloud.servers.waitStatus(id, 'ACTIVE');
    await waitImageGone(lab(), cut);
    expect(await resultOf(lab(), id, 'createImage')).toBe('Error');
    expect((await guestPids(node)).get(id)).toBe(pid);
    expect((await askGuest(node, address)).boot).toBe(1);

    const last = await askForSnapshot(lab(), id, 'last');
    await uploading();
    await remove(id);
    await waitImageGone(lab(), last);
  });
}, 300_000);

test('an image that insists on a quiet guest is refused while the guest runs, and made when it is off', async () => {
  const { cloud, boot, upload, imageFile } = lab();
  const { readFileSync } = await import('node:fs');
  const image = await upload({ name: 'quiet', diskFormat: 'raw', properties: { hw_firmware_type: 'uefi', os_require_quiesce: 'yes' } }, readFileSync(imageFile));
  const { id } = await boot({ image });
  const refused = await askForSnapshot(lab(), id, 'refused');
  await cloud.servers.waitStatus(id, 'ACTIVE');
  await waitImageGone(lab(), refused);
  expect(await resultOf(lab(), id, 'createImage')).toBe('Error');
  await cloud.servers.action(id, { 'os-stop': null });
  await cloud.servers.waitStatus(id, 'SHUTOFF');
  await waitActive(lab(), await askForSnapshot(lab(), id, 'made'));
  await cloud.servers.waitStatus(id, 'SHUTOFF');
}, 300_000);
