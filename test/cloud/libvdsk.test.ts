import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { askForSnapshot, waitActive, waitImageGone } from './support/images.js';
import { askGuest, waitPing } from './support/node-network.js';
import { useLab } from './support/use-lab.js';

const lab = useLab({ name: 'node2', profile: 'libvdsk' });

test('a server on qcow2 disks boots, is checkpointed while it runs, goes back, becomes an image, and leaves nothing', async () => {
  const { withOptions, cloud, node, boot, remove } = lab();
  await withOptions({ bhyve: { disk_format: 'qcow2' } }, async () => {
    const { id, address } = await boot({ name: 'qcow2' });
    const folder = join(node.statePath, 'chains/instances', id);
    expect(readdirSync(join(folder, 'root')).sort()).toEqual(['base', 'chain.json']);
    /** How often this disk has been booted from: the guest counts on it. */
    const bootsOf = async (): Promise<number> => {
      await waitPing(node, address);
      return (await askGuest(node, address)).boot;
    };
    expect(await bootsOf()).toBe(1);

    const made = await askForSnapshot(lab(), id, 'before', { bhyve_checkpoint: 'disk' });
    expect(await waitActive(lab(), made)).toMatchObject({ bhyve_checkpoint_id: made, bhyve_checkpoint_guest: 'running' });
    await cloud.servers.waitStatus(id, 'ACTIVE');
    expect(readdirSync(join(folder, 'root'))).toContain(made);
    await cloud.servers.action(id, { reboot: { type: 'HARD' } });
    await cloud.servers.waitStatus(id, 'ACTIVE');
    expect(await bootsOf()).toBe(2);
    await cloud.servers.action(id, { rebuild: { imageRef: made } });
    await cloud.servers.waitStatus(id, 'ACTIVE');
    expect(await bootsOf()).toBe(2); // the other second boot is given up

    const copy = await askForSnapshot(lab(), id, 'copy');
    expect(await waitActive(lab(), copy)).toMatchObject({ disk_format: 'raw' });
    await cloud.servers.waitStatus(id, 'ACTIVE');
    await cloud.images.remove(made);
    await waitImageGone(lab(), made);
    await remove(id);
    expect(existsSync(folder)).toBe(false);
  });
});
