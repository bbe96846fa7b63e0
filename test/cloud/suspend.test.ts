import { execFile } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { until } from './control-plane/index.js';
import { agentProgram } from './support/agent.js';
import { guestPids } from './support/guest-process.js';
import { askForSnapshot, resultOf, waitActive, waitImageGone } from './support/images.js';
import { askGuest, waitPing } from './support/node-network.js';
import { useLab } from './support/use-lab.js';

/** A host whose FreeBSD is built with BHYVE_SNAPSHOT, beside the lab's ordinary one. */
const lab = useLab({ name: 'node2', profile: 'snapshot-15' });

async function selfTest(): Promise<{ isGood: boolean; family: string; models: string[]; trials: { title: string; outcome: string }[] }> {
  const { node, agent } = lab();
  const { stdout } = await promisify(execFile)(process.execPath, [agentProgram, 'selftest', 'save-restore', '--json', '--config-file', agent.configFile], { env: node.env, encoding: 'utf8', timeout: 280_000 });
  return JSON.parse(stdout) as Awaited<ReturnType<typeof selfTest>>;
}

const traits = async (): Promise<string[]> => {
  const { cloud } = lab();
  const provider = await cloud.placement.provider('node2');
  return cloud.placement.traits(provider!.uuid);
};

const namesIn = (id: string, folder: string): string[] => {
  const path = join(lab().node.statePath, 'instances', id, folder);
  return existsSync(path) ? readdirSync(path).sort() : [];
};
/** What is kept of a suspended server. */
const savesIn = (id: string): string[] => namesIn(id, 'suspended');
/** Checkpoints of which the host keeps more than disks. */
const keptOf = (id: string): string[] => namesIn(id, 'checkpoints');

test('a host that has not shown that guests come back refuses to suspend and to keep memory, and the server runs on; the self-test lets it', async () => {
  const { cloud, node, boot } = lab();
  const { id, address } = await boot();
  await waitPing(node, address);
  await cloud.servers.action(id, { suspend: null });
  const { events, details } = await cloud.servers.lastAction(id, 'suspend');
  expect(events).toEqual(['compute_suspend_instance: Error']);
  expect(details).toMatch(/no self-test has restored a guest here/);
  expect(await cloud.servers.show(id)).toMatchObject({ status: 'ACTIVE', 'OS-EXT-STS:task_state': null });
  const unkept = await askForSnapshot(lab(), id, 'unkept', { bhyve_checkpoint: 'full' });
  await waitImageGone(lab(), unkept);
  expect((await cloud.servers.lastAction(id, 'createImage')).details).toMatch(/its memory cannot be saved: .*no self-test has restored a guest here.*bhyve_checkpoint=disk/);
  expect(await cloud.servers.waitStatus(id, 'ACTIVE')).toMatchObject({ 'OS-EXT-STS:power_state': 1 });
  expect(keptOf(id)).toEqual([]);
  await waitPing(node, address);
  expect(await traits()).not.toContain('CUSTOM_BHYVE_SAVE_RESTORE');

  const result = await selfTest();
  expect(result).toMatchObject({ isGood: true, family: 'kern-structs' });
  expect(result.models).toEqual(expect.arrayContaining(['virtio-blk', 'virtio-net', 'ahci', 'fbuf']));
  expect(result.models).not.toContain('nvme');
  expect(result.trials).toContainEqual(expect.objectContaining({ title: 'two virtio-net', outcome: 'passed' }));
  await until(180_000, () => 'Placement is not told', async () => (await traits()).includes('CUSTOM_BHYVE_SAVE_RESTORE'));
}, 400_000);

test('a suspended server has its memory back, with two disks and two ports, after the agent was killed and the host rebooted; reboots cold, and is deleted with its save', async () => {
  const { cloud, node, agent, boot, flavor, remove } = lab();
  const twoDisks = await flavor({ name: 'two-disks', 'OS-FLV-EXT-DATA:ephemeral': 1 });
  const { id, address, server } = await boot({ flavor: twoDisks, networks: ['lab-flat', 'lab-flat'] });
  const addresses = Object.values(server.addresses).flat().map(({ addr }) => addr);
  expect(addresses).toHaveLength(2);
  for (const each of addresses) await waitPing(node, each);
  const before = await askGuest(node, address);

  await cloud.servers.action(id, { suspend: null });
  expect(await cloud.servers.waitStatus(id, 'SUSPENDED')).toMatchObject({ 'OS-EXT-STS:power_state': 7 });
  expect((await guestPids(node)).size).toBe(0);
  expect(savesIn(id)).toEqual(['bhyve.conf', 'manifest.json', 'nvram.fd', 'ram', 'ram.kern', 'ram.meta']);
  await expect(cloud.servers.action(id, { 'os-start': null })).rejects.toMatchObject({ status: 409 });

  await agent.kill();
  await node.rebootHost();
  agent.start();
  await agent.waitUp(cloud);
  expect(await cloud.servers.show(id)).toMatchObject({ status: 'SUSPENDED', 'OS-EXT-STS:power_state': 7, 'OS-EXT-STS:task_state': null });
  expect((await guestPids(node)).size).toBe(0);

  await cloud.servers.action(id, { resume: null });
  expect(await cloud.servers.waitStatus(id, 'ACTIVE')).toMatchObject({ 'OS-EXT-STS:power_state': 1 });
  for (const each of addresses) await waitPing(node, each);
  const after = await askGuest(node, address);
  expect(after.boot).toBe(before.boot);
  expect(after.tick).toBeGreaterThanOrEqual(before.tick);
  expect(savesIn(id)).toEqual([]);

  await cloud.servers.action(id, { suspend: null });
  await cloud.servers.waitStatus(id, 'SUSPENDED');
  await cloud.servers.action(id, { reboot: { type: 'HARD' } });
  await cloud.servers.waitStatus(id, 'ACTIVE');
  await waitPing(node, address);
  expect((await askGuest(node, address)).boot).toBe(before.boot + 1);
  expect(savesIn(id)).toEqual([]);

  await cloud.servers.action(id, { suspend: null });
  await cloud.servers.waitStatus(id, 'SUSPENDED');
  await remove(id);
  expect(savesIn(id)).toEqual([]);
}, 400_000);

test('a server goes back and forth between checkpoints with memory and one of its disks; memory and disk are of one moment, and all of it goes with the server', async () => {
  const { cloud, node, boot, remove, image } = lab();
  const { id, address } = await boot({ name: 'full-tree' });
  /** What the guest says: `boot` is in its memory, and one more than what its disk had when it started; `tick` is in its memory alone. */
  const counters = async (): Promise<{ boot: number; tick: number }> => {
    await waitPing(node, address);
    return askGuest(node, address);
  };
  const checkpoint = async (name: string, kind: 'full' | 'disk'): Promise<string> => {
    const made = await askForSnapshot(lab(), id, name, { bhyve_checkpoint: kind });
    const active = await waitActive(lab(), made);
    expect(active).toMatchObject({ bhyve_checkpoint: kind, bhyve_checkpoint_id: made, bhyve_checkpoint_guest: 'running' });
    const { bhyve_checkpoint_stop_ms: stopMs } = active as unknown as Record<string, string | undefined>;
    if (kind === 'full') expect(Number(stopMs)).toBeGreaterThan(0);
    else expect(stopMs).toBeUndefined();
    expect(await cloud.servers.waitStatus(id, 'ACTIVE')).toMatchObject({ 'OS-EXT-STS:power_state': 1 });
    expect(await resultOf(lab(), id, 'createImage')).toBe('Success');
    return made;
  };
  const backTo = async (made: string): Promise<{ boot: number; tick: number }> => {
    await cloud.servers.action(id, { rebuild: { imageRef: made } });
    expect(await cloud.servers.waitStatus(id, 'ACTIVE')).toMatchObject({ 'OS-EXT-STS:power_state': 1, image: { id: image } });
    expect((await cloud.servers.lastAction(id, 'rebuild')).events).toContain('compute_rebuild_instance: Success');
    expect(savesIn(id)).toEqual([]);
    return counters();
  };
  const reboot = async (): Promise<number> => {
    await cloud.servers.action(id, { reboot: { type: 'HARD' } });
    await cloud.servers.waitStatus(id, 'ACTIVE');
    return (await counters()).boot;
  };

  const before = await counters();
  const first = await checkpoint('first-full', 'full');
  const after = await counters();
  expect([before.boot, after.boot, after.tick >= before.tick, savesIn(id)]).toEqual([1, 1, true, []]);
  expect(await reboot()).toBe(2);
  const second = await checkpoint('second-full', 'full');
  const third = await checkpoint('third-disk', 'disk');

  const again = await backTo(first);
  expect([again.boot, again.tick >= before.tick]).toEqual([1, true]); // its memory: a start from that disk would be its second
  expect(await reboot()).toBe(2); // and its disk: that of today would be at its third
  expect((await backTo(second)).boot).toBe(2);
  expect((await backTo(third)).boot).toBe(3); // without memory it starts
  await cloud.images.setProperty(first, 'bhyve_checkpoint', 'disk');
  expect((await backTo(first)).boot).toBe(2);

  expect(keptOf(id)).toEqual([first, second, third].sort());
  await cloud.images.remove(first);
  await until(180_000, () => 'the memory of a checkpoint outlives its image', async () => !keptOf(id).includes(first));
  expect((await backTo(second)).boot).toBe(2);
  await remove(id);
  expect(keptOf(id)).toEqual([]);
}, 600_000);
