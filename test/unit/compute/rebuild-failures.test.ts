import { describe, expect, test } from 'vitest';
import { AgentError, wireFaultOf } from '../../../src/lib/errors.js';
import { parseInstanceUuid, type InstanceUuid } from '../../../src/lib/ids.js';
import { novaFaults } from '../../../src/lib/nova-faults.js';
import { shuttingDown } from '../../../src/instances/index.js';
import type { TestNode } from '../../contract/support/compute-node.js';
import { scene, type Scene } from '../../contract/support/scene.js';

type Data = Record<string, unknown>;
const oldImage = '0145e42b-517b-4faa-a8d2-fc164c9bf399';
const newImage = '22222222-2222-4222-8222-222222222222';
const rowOf = (node: TestNode): Data => node.rpc.instances[0] ?? {};
const faults = (node: TestNode): unknown[] => node.rpc.faults.map((fault) => fault['message']);
const events = (node: TestNode): unknown[] => node.rpc.events.filter(({ event }) => event === 'compute_rebuild_instance').map(({ outcome }) => outcome);
const dataOf = (play: Scene): Data => ((play.message['args'] as Data)['instance'] as Record<string, Data>)['nova_object.data'] ?? {};
const outOfSpace = (): Promise<never> => Promise.reject(new AgentError('zfs-out-of-space', 'the pool has too little space', { retry: 'later' }));
const broken = (): Promise<never> => Promise.reject(new AgentError('guest-start-failed', 'vm_setup_memory: Cannot allocate memory'));

interface Rebuilt { readonly node: TestNode; readonly uuid: InstanceUuid; readonly error: unknown; readonly disk: unknown }

/** The recorded rebuild, to a new image, after `prepare`; nova-api has written that image's id and properties into the row. */
async function rebuilt(prepare: (play: Scene, uuid: InstanceUuid) => void = () => undefined, options: { isStopped?: boolean } = {}): Promise<Rebuilt> {
  const play = await scene('rebuild', { guest: options.isStopped === true ? 'stopped' : 'running' });
  const { node } = play;
  const uuid = parseInstanceUuid(play.row['uuid']);
  Object.assign(play.message['args'] as Data, { image_ref: newImage });
  const before = { image_ref: newImage, ...(options.isStopped === true ? { vm_state: 'stopped', power_state: 4 } : {}) };
  for (const row of [rowOf(node), dataOf(play)]) Object.assign(row, before, { system_metadata: { ...(row['system_metadata'] as Data), image_base_image_ref: newImage } });
  if (options.isStopped === true) node.taps.clear();
  const disk = node.world.disks.get(uuid)?.get('root');
  prepare(play, uuid);
  const { error } = await node.receive(play.message);
  await node.settled();
  return { node, uuid, error, disk };
}

/** The old disk, the old image in the row, the state of before, and nothing half made. */
function expectAsBefore({ node, uuid, disk }: Rebuilt, vmState = 'active'): void {
  expect(rowOf(node)).toMatchObject({ vm_state: vmState, task_state: null, image_ref: oldImage, system_metadata: { image_base_image_ref: oldImage } });
  expect(node.guest(uuid)?.isRunning).toBe(vmState === 'active');
  expect([...(node.world.disks.get(uuid) ?? [])]).toMatchObject([['root', disk]]); // a guest that ran since has written to it
  expectNothingOpen(node);
}

function expectNothingOpen(node: TestNode): void {
  expect([node.world.successors.size, node.deps.journal.unfinished()]).toEqual([0, []]);
}

describe('a rebuild that is refused leaves the guest running on its disk', () => {
  test.each<[string, (play: Scene) => void, string | RegExp]>([
    ['the image is gone', ({ node: { deps } }) => { deps.glance.show = () => Promise.reject(new AgentError('http-not-found', 'Glance has no such image')); }, /could not be found/],
    ['the image is not active', ({ node }) => { node.image = { status: 'deactivated' }; }, /not active/],
    ['the image wants a larger disk', ({ node }) => { node.image = { minDiskGiB: 2 }; }, /disk is smaller than the minimum size/i],
    ['the image is larger than the disk, which its download shows', ({ node: { deps } }) => {
      deps.storage.ensureImage = () => Promise.reject(new AgentError('image-too-large', "the image is larger than the flavor's disk", { wire: novaFaults.flavorDiskSmallerThanImage(1n << 30n, 1n << 31n) }));
    }, /too small for requested image/],
    ['the image wants a bus that the host has not', ({ node }) => { node.image = { properties: { hw_disk_bus: 'ide' } }; }, /ide/],
    ['the pool is full while the image is cached', ({ node: { deps } }) => { deps.storage.ensureImage = outOfSpace; }, /zfs-out-of-space/],
  ])('%s', async (_name, prepare, words) => {
    const all = await rebuilt(prepare);
    expectAsBefore(all);
    expect(all.node.guest(all.uuid)?.starts).toBe(1);
    expect(all.node.world.graveyard).toEqual([]);
    expect(faults(all.node)).toEqual([expect.stringMatching(words)]);
    expect(events(all.node)).toEqual(['started', 'Error']);
  });
});

describe('a rebuild that fails after the guest was ended', () => {
  test('because the pool is full when the new disk is made starts the old guest again', async () => {
    const all = await rebuilt(({ node: { deps } }) => { deps.storage.replaceFromImage = outOfSpace; });
    expectAsBefore(all);
    expect(all.node.guest(all.uuid)?.starts).toBe(2);
    expect(faults(all.node)).toEqual(['The compute host could not do this: zfs-out-of-space']);
  });

  test('and cannot start the old guest either is in error, with its old disk and image', async () => {
    const { node, uuid, disk } = await rebuilt(({ node: { deps } }) => {
      deps.storage.replaceFromImage = outOfSpace;
      deps.driver.start = broken;
    });
    expect(rowOf(node)).toMatchObject({ vm_state: 'error', task_state: null, image_ref: oldImage });
    expect([...(node.world.disks.get(uuid) ?? [])]).toEqual([['root', disk]]);
    expect(faults(node)).toEqual(['The compute host could not do this: zfs-out-of-space']); // the first trouble is what its user reads
    expectNothingOpen(node);
  });

  test('and finds the old disk in its grave is in error on the new disk, with the new image, and can be rebuilt again', async () => {
    const { node, uuid, error } = await rebuilt(({ node: { deps } }) => { deps.driver.start = broken; });
    expect(rowOf(node)).toMatchObject({ vm_state: 'error', task_state: null, image_ref: newImage, system_metadata: { image_base_image_ref: newImage } });
    expect(node.world.disks.get(uuid)?.get('root')).toMatchObject({ image: newImage });
    expect(node.guest(uuid)?.isRunning).toBe(false);
    expect(node.placement.consumers.has(uuid)).toBe(true);
    expect(faults(node)).toEqual(['The compute host could not do this: guest-start-failed']);
    expect(wireFaultOf(error)).toBeUndefined();
    expectNothingOpen(node);
  });

  test('while another disk is made anew is in error too: the old root disk is gone', async () => {
    const { node, uuid } = await rebuilt(({ node: { deps, world } }, id) => {
      world.disks.get(id)?.set('swap', { isGrown: true, image: null, bus: null, bytes: 1n << 20n, madeFor: null });
      deps.storage.replaceWithBlank = outOfSpace;
    });
    expect(rowOf(node)).toMatchObject({ vm_state: 'error', task_state: null, image_ref: newImage });
    expect((await node.deps.storage.disks(uuid)).map(({ role }) => role)).toEqual(['root', 'swap']);
    expectNothingOpen(node);
  });
});

describe('a rebuild of a server that is stopped', () => {
  test('leaves it stopped, on the new disk', async () => {
    const { node, uuid, error } = await rebuilt(undefined, { isStopped: true });
    expect(error).toBeUndefined();
    expect(rowOf(node)).toMatchObject({ vm_state: 'stopped', task_state: null, power_state: 4, image_ref: newImage });
    expect(node.guest(uuid)).toMatchObject({ isRunning: false, starts: 1 });
    expect(node.world.disks.get(uuid)?.get('root')).toMatchObject({ image: newImage });
    expect(node.taps.size).toBe(0);
  });

  test('and fails leaves it stopped, on the old one', async () => {
    const all = await rebuilt(({ node: { deps } }) => { deps.storage.replaceFromImage = outOfSpace; }, { isStopped: true });
    expectAsBefore(all, 'stopped');
    expect(all.node.guest(all.uuid)?.starts).toBe(1);
    expect(all.node.taps.size).toBe(0);
  });
});

describe('a rebuild that somebody or something ends', () => {
  test('by deleting the server says nothing: the delete is what its user reads', async () => {
    const { node, error, uuid } = await rebuilt(({ node: { deps, rpc } }) => {
      const make = deps.storage.replaceFromImage.bind(deps.storage);
      deps.storage.replaceFromImage = async (...args) => {
        Object.assign(rpc.instances[0] ?? {}, { task_state: 'deleting' });
        return make(...args);
      };
    });
    expect(error).toBeUndefined();
    expect(rowOf(node)).toMatchObject({ task_state: 'deleting', vm_state: 'active' });
    expect(faults(node)).toEqual([]);
    expect(events(node)).toEqual(['started', 'Success']);
    expect(node.world.disks.has(uuid)).toBe(true);
    expectNothingOpen(node);
  });

  test('by another task leaves the row to whoever has it', async () => {
    const { node } = await rebuilt(({ node: { deps, rpc } }) => {
      const stop = deps.driver.stop.bind(deps.driver);
      deps.driver.stop = (...args) => {
        Object.assign(rpc.instances[0] ?? {}, { task_state: 'powering-off' });
        return stop(...args);
      };
    });
    expect(rowOf(node)).toMatchObject({ task_state: 'powering-off', vm_state: 'active' });
    expect(node.world.graveyard).toEqual([]);
    expectNothingOpen(node);
  });

  test.each(['endGuest', 'replaceFromImage', 'start'] as const)('by stopping the agent (in %s) changes nothing more and reports nothing: the journal goes on with it', async (where) => {
    const stopping = (): Promise<never> => Promise.reject(shuttingDown());
    const { node, error } = await rebuilt(({ node: { deps } }) => {
      if (where === 'endGuest') deps.driver.stop = stopping;
      else if (where === 'start') deps.driver.start = stopping;
      else deps.storage.replaceFromImage = stopping;
    });
    expect(error).toMatchObject({ code: 'shutting-down' });
    expect(rowOf(node)).toMatchObject({ vm_state: 'active', task_state: where === 'endGuest' ? 'rebuilding' : 'rebuild_spawning', image_ref: newImage });
    expect(faults(node)).toEqual([]);
    expect(events(node)).toEqual(['started']);
    expect(node.deps.journal.unfinished().map(({ rpc }) => rpc)).toEqual(['rebuild_instance']);
  });
});
