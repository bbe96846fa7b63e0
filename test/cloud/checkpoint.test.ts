import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { until } from './control-plane/index.js';
import { agentProgram } from './support/agent.js';
import { guestPids } from './support/guest-process.js';
import { askForSnapshot, resultOf, waitActive, waitImageGone } from './support/images.js';
import { askGuest, waitPing } from './support/node-network.js';
import { addressOf, useLab } from './support/use-lab.js';

const lab = useLab();
const run = promisify(execFile);
const disk = { bhyve_checkpoint: 'disk' };

/** Names of the datasets of an instance, snapshots included, without what comes before its uuid. */
async function datasets(id: string): Promise<string[]> {
  const { node } = lab();
  const { stdout } = await run('zfs', ['list', '-H', '-o', 'name', '-t', 'all', '-r', `${node.zfsRoot}/instances`], { env: node.env });
  return stdout.split('\n').filter((name) => name.includes(id)).map((name) => name.slice(name.indexOf(id)));
}

test('a server goes back and forth between the checkpoints of two branches; one goes with its image, all go with the server', async () => {
  const { cloud, node, boot, create, image } = lab();
  const { id, address } = await boot({ name: 'tree' });
  /** How often this disk has been booted from: the guest counts on it. */
  const bootsOf = async (): Promise<number> => {
    await waitPing(node, address);
    return (await askGuest(node, address)).boot;
  };
  const checkpoint = async (name: string): Promise<string> => {
    const made = await askForSnapshot(lab(), id, name, disk);
    expect(await waitActive(lab(), made)).toMatchObject({ bhyve_checkpoint_id: made, bhyve_checkpoint_instance: id, bhyve_checkpoint_guest: 'running', disk_format: 'raw' });
    await cloud.servers.waitStatus(id, 'ACTIVE');
    return made;
  };
  const reboot = async (): Promise<number> => {
    await cloud.servers.action(id, { reboot: { type: 'HARD' } });
    await cloud.servers.waitStatus(id, 'ACTIVE');
    return bootsOf();
  };
  const backTo = async (made: string): Promise<number> => {
    await cloud.servers.action(id, { rebuild: { imageRef: made } });
    const server = await cloud.servers.waitStatus(id, 'ACTIVE');
    expect([addressOf(server), (server as unknown as { image: { id: string } }).image.id]).toEqual([address, image]);
    expect((await cloud.servers.lastAction(id, 'rebuild')).events).toContain('compute_rebuild_instance: Success');
    return bootsOf();
  };

  expect(await bootsOf()).toBe(1);
  const pid = (await guestPids(node)).get(id);
  const first = await checkpoint('first');
  expect((await guestPids(node)).get(id)).toBe(pid);
  expect(await reboot()).toBe(2);
  const second = await checkpoint('second');
  expect(await backTo(first)).toBe(2); // booted once when it was made
  expect(await reboot()).toBe(3);
  const third = await checkpoint('third');
  expect(await backTo(second)).toBe(3);
  expect(await backTo(third)).toBe(4);
  expect(await backTo(second)).toBe(3);
  expect(await backTo(first)).toBe(2);

  const [copy = ''] = await create({ name: 'copy', image: second });
  const refused = await cloud.servers.waitStatus(copy, 'ERROR');
  expect(JSON.stringify(refused)).toMatch(/stands for a checkpoint and holds no disk/);

  await cloud.images.remove(first); // both branches begin there
  await waitImageGone(lab(), first);
  await cloud.images.remove(second);
  await until(120_000, () => 'the checkpoint outlives its image', async () => !(await datasets(id)).some((name) => name.includes(second)));
  expect(await backTo(third)).toBe(4);

  const full = await askForSnapshot(lab(), id, 'full', { bhyve_checkpoint: 'full' });
  await waitImageGone(lab(), full);
  await cloud.servers.waitStatus(id, 'ACTIVE');
  expect(await resultOf(lab(), id, 'createImage')).toBe('Error');

  await cloud.servers.remove(id);
  await cloud.servers.waitGone(id);
  await until(180_000, () => 'datasets of the server are left', async () => (await datasets(id)).length === 0);
}, 600_000);

test('the operator makes a checkpoint on the node, takes the server back to it while Nova calls it active, and the duty for images leaves it alone until he deletes it', async () => {
  const { cloud, node, agent, boot } = lab();
  const { id, address } = await boot({ name: 'kept' });
  const bootsOf = async (): Promise<number> => {
    await waitPing(node, address);
    return (await askGuest(node, address)).boot;
  };
  const operator = async <T>(...args: string[]): Promise<T> => {
    const { stdout } = await run(process.execPath, [agentProgram, 'checkpoint', ...args, '--json', '--config-file', agent.configFile], { env: node.env, timeout: 300_000 });
    return JSON.parse(stdout) as T;
  };
  const hasNode = async (checkpoint: string): Promise<boolean> => (await datasets(id)).some((name) => name.includes(checkpoint));

  expect(await bootsOf()).toBe(1);
  const made = await operator<{ checkpoint: string }>('create', id, '--name', 'mine');
  expect(made).toMatchObject({ name: 'mine', content: 'disk', guest: 'running', stopMs: null });
  for (const boots of [2, 3]) {
    await cloud.servers.action(id, { reboot: { type: 'HARD' } });
    await cloud.servers.waitStatus(id, 'ACTIVE');
    expect(await bootsOf()).toBe(boots);
  }

  // A younger one of a user, whose image goes: when the duty has deleted it, it has passed over the operator's.
  const users = await askForSnapshot(lab(), id, 'users', disk);
  await waitActive(lab(), users);
  await cloud.servers.waitStatus(id, 'ACTIVE');
  await cloud.images.remove(users);
  await waitImageGone(lab(), users);
  await until(180_000, () => 'the checkpoint outlives its image', async () => !(await hasNode(users)));
  expect(await operator<unknown[]>('list', id)).toMatchObject([{ id: made.checkpoint, keeper: 'operator', name: 'mine' }]);

  expect(await operator('restore', id, 'mine')).toMatchObject({ checkpoint: made.checkpoint, content: 'disk', isRunning: true });
  expect(await cloud.servers.waitStatus(id, 'ACTIVE')).toMatchObject({ 'OS-EXT-STS:power_state': 1, 'OS-EXT-STS:vm_state': 'active' });
  expect(await bootsOf()).toBe(2); // booted once when it was made
  await expect(operator('restore', id, 'nobody')).rejects.toThrow(/has no checkpoint nobody/);

  await operator('delete', id, 'mine');
  expect(await operator<unknown[]>('list', id)).toEqual([]);
  await until(240_000, () => 'the checkpoint is still in the pool', async () => !(await hasNode(made.checkpoint)));
  expect(await bootsOf()).toBe(2);
}, 600_000);
