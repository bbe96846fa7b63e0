import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { until } from './control-plane/index.js';
import { askForSnapshot, waitActive, waitImageGone } from './support/images.js';
import { askGuest, waitPing } from './support/node-network.js';
import { addressOf, useLab } from './support/use-lab.js';

const lab = useLab();
const run = promisify(execFile);
const stored = { bhyve_checkpoint: 'disk', bhyve_checkpoint_store: 'glance' };

/** Whether this node has a node of a checkpoint tree of that name. */
async function hasNode(checkpoint: string): Promise<boolean> {
  const { node } = lab();
  const { stdout } = await run('zfs', ['list', '-H', '-o', 'name', '-t', 'snapshot', '-r', `${node.zfsRoot}/instances`], { env: node.env });
  return stdout.includes(`@ckpt-${checkpoint}`);
}

const partsOf = async (checkpoint: string): Promise<{ name: string; status: string }[]> => lab().cloud.images.list({ os_hidden: 'true', bhyve_checkpoint_part_of: checkpoint });

test('a checkpoint in Glance boots a new server, outlives the server on its host, and brings all its disks back; its parts go with it', async () => {
  const { cloud, node, boot, create, flavor, image, withOptions } = lab();
  const bootsOf = async (address: string): Promise<number> => {
    await waitPing(node, address);
    return (await askGuest(node, address)).boot;
  };
  let checkpoint = '';
  await withOptions({ bhyve: { snapshot_image_format: 'qcow2' } }, async () => {
    const disks = await flavor({ name: 'lab.checkpoint', 'OS-FLV-EXT-DATA:ephemeral': 1, swap: 64 });
    const { id, address } = await boot({ name: 'stored', flavor: disks });
    expect(await bootsOf(address)).toBe(1);

    const made = await askForSnapshot(lab(), id, 'whole', stored);
    expect(await waitActive(lab(), made)).toMatchObject({ bhyve_checkpoint_id: made, bhyve_checkpoint_instance: id, bhyve_checkpoint_parts: '3', disk_format: 'qcow2' });
    await cloud.servers.waitStatus(id, 'ACTIVE');
    expect((await cloud.servers.lastAction(id, 'createImage')).events).toContain('compute_snapshot_instance: Success');
    expect((await partsOf(made)).map(({ name, status }) => [name.split(': ')[1], status]).sort()).toEqual([['eph0', 'active'], ['nvram.fd', 'active'], ['swap', 'active']]);
    expect(await hasNode(made)).toBe(true);

    const [copy = ''] = await create({ name: 'copy', image: made });
    expect(await bootsOf(addressOf(await cloud.servers.waitStatus(copy, 'ACTIVE')))).toBe(2);

    await cloud.servers.action(id, { shelve: null });
    await cloud.servers.waitUntil(id, 'SHELVED_OFFLOADED on no host', (server) =>
      server.status === 'SHELVED_OFFLOADED' && server['OS-EXT-STS:task_state'] === null && server['OS-EXT-SRV-ATTR:host'] === null);
    await cloud.servers.action(id, { unshelve: null });
    await cloud.servers.waitStatus(id, 'ACTIVE');
    expect([await bootsOf(address), await hasNode(made)]).toEqual([2, false]);
    await cloud.servers.action(id, { reboot: { type: 'HARD' } });
    await cloud.servers.waitStatus(id, 'ACTIVE');
    expect(await bootsOf(address)).toBe(3);

    await cloud.servers.action(id, { rebuild: { imageRef: made } });
    const back = await cloud.servers.waitStatus(id, 'ACTIVE');
    expect([addressOf(back), (back as unknown as { image: { id: string } }).image.id]).toEqual([address, image]);
    expect((await cloud.servers.lastAction(id, 'rebuild')).events).toContain('compute_rebuild_instance: Success');
    expect(await bootsOf(address)).toBe(2); // booted once when it was made

    await cloud.images.remove(made);
    await waitImageGone(lab(), made);
    checkpoint = made;
  });
  // The agent has been restarted, and the duty runs at its start.
  await until(120_000, () => 'parts outlive their checkpoint', async () => (await partsOf(checkpoint)).length === 0);
}, 600_000);
