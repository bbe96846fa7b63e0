/** What nodes of the checkpoint tree have besides their disks: memory that outlives the save it came from, and the firmware's variables. */
import { beforeEach, describe, expect, test } from 'vitest';
import { parseCheckpointId } from '../../../../src/lib/ids.js';
import { createBhyveDriver, powerStates, type GuestDefinition, type HypervisorDriver } from '../../../../src/virt/index.js';
import { whyOtherMachine } from '../../../../src/virt/bhyve/why-no-return.js';
import type { CheckpointMemory } from '../../../../src/storage/index.js';
import type { BhyveHost } from '../../../fakes/bhyve-host.js';
import { guestDefinition, instanceA } from '../../../fakes/guest-definition.js';
import { createProvenHost } from '../../../fakes/proven-host.js';
import { noMetrics, recordingLog } from '../../../fakes/recording-log.js';
import { createVirtualClock, type VirtualClock } from '../../../fakes/virtual-clock.js';

const statePath = '/var/db/nova-bhyve';
const folder = `${statePath}/instances/${instanceA}`;
const node = parseCheckpointId('cccccccc-0000-4000-8000-000000000001');
const other = parseCheckpointId('cccccccc-0000-4000-8000-000000000002');
const kept = `${folder}/checkpoints/${node}`;
const then = { root: 'disk 1 as in snapshot 2' };
const now = { root: 'disk 3 as in snapshot 4' };
const signal = new AbortController().signal;
let clock: VirtualClock;
let host: BhyveHost;
let driver: HypervisorDriver;

async function newDriver(): Promise<HypervisorDriver> {
  const made = createBhyveDriver({ host, statePath, firmwareDirs: ['/usr/local/share/edk2-bhyve'], clock, log: recordingLog().log, metrics: noMetrics, vnc: { address: '127.0.0.1', portRange: { first: 5900, last: 5902 } } });
  await made.prepare();
  return made;
}

async function running(changes: Partial<GuestDefinition> = {}): Promise<string> {
  await driver.define(guestDefinition({ memoryMiB: 1, ...changes }));
  await driver.start(instanceA);
  return host.guest(instanceA)?.memory ?? '';
}

beforeEach(async () => {
  clock = createVirtualClock();
  host = await createProvenHost(clock, statePath);
  driver = await newDriver();
});

/** Saved, kept for `id`, and running again. */
async function checkpoint(id = node): Promise<CheckpointMemory> {
  await driver.suspend(instanceA, { holdDisks: async () => then, signal });
  const memory = await driver.keepSave(instanceA, id);
  await driver.resume(instanceA, { disks: then, signal });
  return memory;
}

const off = (): Promise<unknown> => driver.stop(instanceA, { graceMs: 0, retryMs: 0 });
const inFolder = (path: string): string[] => host.outside.paths().filter((one) => one.startsWith(`${path}/`)).map((one) => one.slice(path.length + 1)).sort();

describe('memory that is kept', () => {
  test('is there when the save is gone, and brings the guest back onto the disks of its node, again and again', async () => {
    const memory = await running();
    const { sum, bytes } = await checkpoint();
    expect([sum, bytes > 1024n * 1024n, await driver.hasSave(instanceA)]).toEqual([expect.stringMatching(/^[0-9a-f]{64}$/), true, false]);
    expect(inFolder(kept)).toEqual(['bhyve.conf', 'manifest.json', 'nvram.fd', 'ram', 'ram.kern', 'ram.meta']);
    for (let time = 1; time <= 2; time += 1) {
      await off();
      await driver.start(instanceA);
      expect(host.guest(instanceA)?.memory).not.toBe(memory);
      expect(await driver.whyNoReturn(instanceA, node, { sum, bytes }, signal)).toBeNull();
      await off();
      await driver.putBackSave(instanceA, node, now);
      await expect(driver.resume(instanceA, { disks: then, signal })).rejects.toMatchObject({ code: 'save-mismatch' });
      await driver.resume(instanceA, { disks: now, signal });
      expect([host.guest(instanceA)?.memory, await driver.hasSave(instanceA), await driver.powerState(instanceA)]).toEqual([memory, false, powerStates.running]);
    }
    expect(await driver.keepSave(instanceA, node)).toEqual({ sum, bytes });
  });

  test('tells when the guest runs, before it is sure that it goes on', async () => {
    await running();
    await driver.suspend(instanceA, { holdDisks: async () => then, signal });
    const seen: unknown[] = [];
    await driver.resume(instanceA, { disks: then, signal, onUp: () => seen.push([host.guest(instanceA) !== undefined, host.outside.paths().includes(`${folder}/suspended/ram`)]) });
    expect(seen).toEqual([[true, true]]);
  });

  test('is kept for several nodes and dropped one by one, and goes with the guest', async () => {
    await running();
    await checkpoint();
    await checkpoint(other);
    host.outside.put(`${folder}/checkpoints/${other}.partial/ram`, 'cut off');
    expect(await driver.kept(instanceA)).toEqual([node, other]);
    await driver.dropKept(instanceA, other);
    await driver.dropKept(instanceA, other);
    expect([await driver.kept(instanceA), inFolder(`${folder}/checkpoints`).every((name) => name.startsWith(node))]).toEqual([[node], true]);
    await driver.destroy(instanceA);
    expect(await driver.kept(instanceA)).toEqual([]);
  });

  test('cannot be kept without a save, nor be put back from nowhere', async () => {
    await running();
    await expect(driver.keepSave(instanceA, node)).rejects.toMatchObject({ code: 'save-missing' });
    await off();
    await expect(driver.putBackSave(instanceA, node, now)).rejects.toMatchObject({ code: 'save-missing' });
    expect(await driver.kept(instanceA)).toEqual([]);
  });

  test('that a killed agent had begun to keep is kept whole by the next', async () => {
    await running();
    await driver.suspend(instanceA, { holdDisks: async () => then, signal });
    host.outside.put(`${kept}.partial/ram`, 'half');
    await driver.keepSave(instanceA, node);
    expect([inFolder(`${kept}.partial`), host.outside.text(`${kept}/ram`)]).toEqual([[], host.outside.text(`${folder}/suspended/ram`)]);
  });
});

describe('a return is refused in words while the guest runs', () => {
  let memory: CheckpointMemory;
  const why = (): Promise<string | null> => driver.whyNoReturn(instanceA, node, memory, signal);
  beforeEach(async () => {
    await running();
    memory = await checkpoint();
    expect(await why()).toBeNull();
  });

  test('when the files are gone, damaged, or of another node', async () => {
    host.outside.put(`${kept}/ram`, `${(host.outside.text(`${kept}/ram`) ?? '').slice(0, -1)}x`);
    expect(await why()).toBe('its memory is damaged: ram is not the file that was saved');
    host.outside.put(`${kept}/manifest.json`, `${host.outside.text(`${kept}/manifest.json`)} `);
    expect(await why()).toBe('its memory is not that which was saved with its disks');
    await driver.dropKept(instanceA, node);
    expect(await why()).toBe('its memory is not on this host any more');
  });

  test('when bhyve is another', async () => {
    host.outside.put('/usr/sbin/bhyve', 'another program');
    expect(await why()).toMatch(/made with something else: the bhyve program/);
  });

  test('when the machine is another', async () => {
    await off();
    await running({ memoryMiB: 2 });
    expect(await why()).toBe("the server's memory is not that of the checkpoint (memory.size: then 1M, now 2M)");
    await off();
    await running({ disks: [{ role: 'root', path: '/dev/zvol/a', serial: 'a', bus: 'sata', kind: 'disk' }] });
    expect(await why()).toMatch(/devices are not those of the checkpoint \(slot 2: then virtio-blk, now ahci\)/);
  });
});

test('another screen or another way to write the same machine is no other machine; another tap in a slot is', () => {
  const machine = 'cpus=1\nmemory.size=64M\npci.0.2.0.device=virtio-net\npci.0.2.0.backend=tapa\npci.0.29.0.device=fbuf\npci.0.29.0.rfb=127.0.0.1:5900\n';
  expect(whyOtherMachine(machine, `x86.strictmsr=false\n${machine.replace('5900', '5901')}`)).toBeNull();
  expect(whyOtherMachine(machine, machine.replace('tapa', 'tapb'))).toMatch(/slot 2: then virtio-net, now virtio-net with something else behind it/);
  expect(whyOtherMachine(machine, machine.replace('cpus=1', 'cpus=2'))).toMatch(/processors are not those of the checkpoint \(cpus: then 1, now 2\)/);
  expect(whyOtherMachine(machine, machine.replace(/pci\.0\.29.*\n/g, ''))).toMatch(/slot 29: then fbuf, now nothing/);
});

test('variables of a node without memory come back; a node without any leaves them', async () => {
  await running();
  host.outside.put(`${folder}/nvram.fd`, 'then');
  await driver.keepVariables(instanceA, node);
  await driver.keepVariables(instanceA, node);
  expect(inFolder(kept)).toEqual(['nvram.fd']);
  host.outside.put(`${folder}/nvram.fd`, 'now');
  await off();
  await driver.putBackVariables(instanceA, other);
  expect(host.outside.text(`${folder}/nvram.fd`)).toBe('now');
  await driver.putBackVariables(instanceA, node);
  expect(host.outside.text(`${folder}/nvram.fd`)).toBe('then');
  host.outside.drop(`${folder}/nvram.fd`);
  await driver.keepVariables(instanceA, other);
  expect(await driver.kept(instanceA)).toEqual([node]);
});

test('a save that was begun shows until it is complete or given up', async () => {
  await running();
  const seen: boolean[] = [await driver.isSaving(instanceA)];
  clock.after(1000, () => { void driver.isSaving(instanceA).then((is) => seen.push(is)); });
  await driver.suspend(instanceA, { holdDisks: async () => then, signal });
  seen.push(await driver.isSaving(instanceA));
  expect(seen).toEqual([false, true, false]);
});
