/** Checkpoints in Glance through Nova: what is there afterwards, what is refused while the guest still runs, and what is cleaned up when something goes wrong. */
import { describe, expect, test } from 'vitest';
import { AgentError, wireFaultOf } from '../../../src/lib/errors.js';
import { parseImageId } from '../../../src/lib/ids.js';
import { novaFaults } from '../../../src/lib/nova-faults.js';
import { leftCheckpointParts } from '../../../src/periodic/index.js';
import { refuseUnfit } from '../../../src/compute/fetch-image.js';
import { offloadShelved } from '../../../src/compute/index.js';
import { image, other, reasonOf, rowOf, scene, type Data, type Scene } from '../../contract/support/checkpoint-scene.js';
import { createCrash } from '../../sim/crash.js';
import { fakeGlance } from '../../sim/fake-cloud.js';
import type { World } from '../../sim/world.js';

const never = new AbortController().signal;
const rebuild = { orig_image_ref: 'base', image_ref: image, injected_files: [], new_pass: 'x', orig_sys_metadata: {}, bdms: null, recreate: false, preserve_ephemeral: false };

/** A server with a root and a swap disk, in a cloud with a Glance that keeps what it gets. */
async function server(row: Data = {}): Promise<Scene> {
  const one = await scene({ task_state: 'image_snapshot_pending', config_drive: '', ...row });
  const { world, deps } = one.node;
  Object.assign(deps, { glance: fakeGlance(world, createCrash(null)) });
  Object.assign((rowOf(one.node)['flavor'] as { 'nova_object.data': Data })['nova_object.data'], { swap: 1024 });
  world.disks.get(one.uuid)?.set('swap', { isGrown: true, image: null, bus: null, bytes: 1n << 30n, madeFor: null, writtenBy: 7 });
  return one;
}

const ask = ({ node }: Scene, kind = 'disk', id = image): void => void node.world.glance.set(id, { status: 'queued', diskFormat: null, properties: { bhyve_checkpoint: kind, bhyve_checkpoint_store: 'glance' } });

/** The same with a checkpoint of it in Glance; what follows is another request. */
async function stored(kind: 'disk' | 'full' = 'disk', row: Data = {}): Promise<Scene> {
  const one = await server(row);
  ask(one, kind);
  expect((await one.send('snapshot_instance')).error).toBeUndefined();
  return one;
}

const propertiesOf = (world: World, id = image): Record<string, string> => ({ ...world.glance.get(id)?.properties });
const partsIn = (world: World): string[] => [...world.glance].filter(([, one]) => one.isHidden === true).map(([, one]) => `${one.properties?.['bhyve_checkpoint_part']} ${one.status}`);
const partNamed = (world: World, name: string): string => propertiesOf(world)[`bhyve_checkpoint_part_${name}`]?.split(' ')[0] ?? '';
const setProperties = (world: World, properties: Record<string, string>): void => void Object.assign(world.glance.get(image)!, { properties: { ...propertiesOf(world), ...properties } });

/** As after shelving and unshelving, or the loss of its disks. */
function loseNode({ world }: Scene['node']): void {
  for (const map of [world.nodes, world.keptFiles, world.currentNodes]) map.clear();
}

describe('a checkpoint into Glance', () => {
  test('has its root disk in the image, and each other piece in a hidden image of its own, with its sum', async () => {
    const one = await stored('full');
    const { world } = one.node;
    expect(partsIn(world)).toEqual(['swap active', 'nvram.fd active', 'ram active', 'manifest.json active']);
    expect(propertiesOf(world)).toMatchObject({
      bhyve_checkpoint_id: image, bhyve_checkpoint_instance: one.uuid, bhyve_checkpoint_parts: '4', bhyve_checkpoint_memory: `memory 1 ${1n << 27n}`, bhyve_checkpoint_image: 'base',
      bhyve_checkpoint_seal: `sealed ${one.uuid} ${image} memory 1`, bhyve_checkpoint_part_swap: expect.stringMatching(/^[0-9a-f-]{36} [0-9a-f]{64} \d+$/) as string,
    });
    expect(JSON.parse(String(world.imageData.get(partNamed(world, 'swap'))))).toMatchObject({ writtenBy: 7 });
    expect([world.nodes.size, world.snapshots.size, rowOf(one.node)['task_state'], one.node.guest(one.uuid)?.isRunning]).toEqual([1, 0, null, true]);
    for (const [id, { properties }] of world.glance) if (id !== image) expect(properties).toMatchObject({ bhyve_checkpoint_part_of: image, bhyve_checkpoint_host: 'fakea', bhyve_checkpoint_instance: one.uuid });
  });

  test('is read from the node, not from disks that the guest has written to since', async () => {
    const one = await server();
    const { world, deps } = one.node;
    ask(one);
    const createHidden = deps.glance.createHidden.bind(deps.glance);
    deps.glance.createHidden = async (context, attributes) => {
      for (const [role, disk] of [...world.disks.get(one.uuid)!]) world.disks.get(one.uuid)?.set(role, { ...disk, writtenBy: 99 });
      return createHidden(context, attributes);
    };
    expect((await one.send('snapshot_instance')).error).toBeUndefined();
    expect([image, partNamed(world, 'swap')].map((id) => String(world.imageData.get(id)))).toEqual([expect.not.stringContaining('99'), expect.stringContaining('"writtenBy":7')]);
  });

  test.each([0, 1, 2])('that does not fit is told as a quota, and nothing is left of it (upload %i)', async (at) => {
    const one = await server();
    const { world, deps } = one.node;
    ask(one);
    let uploads = 0;
    const upload = deps.glance.upload.bind(deps.glance);
    deps.glance.upload = (context, id, content, signal) => {
      uploads += 1;
      return uploads - 1 === at ? Promise.reject(new AgentError('image-too-much', 'x', { wire: novaFaults.imageQuotaExceeded(id) })) : upload(context, id, content, signal);
    };
    expect(wireFaultOf((await one.send('snapshot_instance')).error)).toMatchObject({ className: 'ImageQuotaExceeded', kwargs: { image_id: image } });
    expect([[...world.glance.keys()], world.nodes.size, world.snapshots.size, world.keptFiles.size]).toEqual([[], 0, 0, 0]);
    expect(rowOf(one.node)).toMatchObject({ task_state: null, vm_state: 'active' });
  });

  test.each([['too few images', { bytes: 3n << 30n, images: 1 }, false], ['room for its disks alone', { bytes: 2n << 30n, images: 9 }, false], ['enough', { bytes: 3n << 30n, images: 2 }, true], ['no limit', { bytes: null, images: null }, true]])(
    'where the quota has %s is begun, or not: then nothing is left of it', async (_what, room, isMade) => {
      const one = await server();
      ask(one);
      one.node.deps.glance.room = async () => room;
      expect(wireFaultOf((await one.send('snapshot_instance')).error)?.className).toBe(isMade ? undefined : 'ImageQuotaExceeded');
      expect([one.node.world.glance.size, one.node.world.nodes.size]).toEqual(isMade ? [3, 1] : [0, 0]);
    });

  test('of which somebody deletes a part meanwhile is refused in words, and nothing is left of it', async () => {
    const one = await server();
    const { world, deps } = one.node;
    ask(one);
    const upload = deps.glance.upload.bind(deps.glance);
    deps.glance.upload = (context, id, content, signal) => {
      if (id !== image) world.glance.delete(id);
      return upload(context, id, content, signal);
    };
    expect(reasonOf(await one.send('snapshot_instance'))).toMatch(/an image that holds a part of it was deleted while it was made/);
    expect([[...world.glance.keys()], world.nodes.size]).toEqual([[], 0]);
  });

  test('whose own image is deleted meanwhile is nobody\'s error, and no part is left', async () => {
    const one = await server();
    const { world, deps } = one.node;
    ask(one);
    const update = deps.glance.update.bind(deps.glance);
    deps.glance.update = (context, id, attributes) => {
      world.glance.delete(image);
      return update(context, id, attributes);
    };
    expect((await one.send('snapshot_instance')).error).toBeUndefined();
    expect([[...world.glance.keys()], world.nodes.size, rowOf(one.node)['task_state']]).toEqual([[], 0, null]);
  });
});

describe('an image that has all of a checkpoint', () => {
  test('boots a new server as a snapshot does; its parts do not', async () => {
    const { node, uuid } = await stored();
    const flavor = (await node.deps.conductor.instances.byUuid(node.deps.ownContext(), uuid, ['flavor'])).get('flavor');
    const shown = async (id: string) => node.deps.glance.show({ ...node.deps.ownContext(), authToken: 'x' }, parseImageId(id));
    const [whole, part] = [await shown(image), await shown(partNamed(node.world, 'swap'))];
    expect(() => refuseUnfit(flavor, whole)).not.toThrow();
    expect(() => refuseUnfit(flavor, part)).toThrow(/holds a part of the checkpoint cccccccc/);
  });

  test('is the node itself for its server, as long as the host has that', async () => {
    const one = await stored();
    const { world } = one.node;
    const download = one.node.deps.glance.download.bind(one.node.deps.glance);
    let downloads = 0;
    one.node.deps.glance.download = (...args) => {
      downloads += 1;
      return download(...args);
    };
    Object.assign(rowOf(one.node), { task_state: 'rebuilding' });
    expect((await one.send('rebuild_instance', rebuild)).error).toBeUndefined();
    expect([downloads, world.disks.get(one.uuid)?.get('root')?.image]).toEqual([0, 'cached']);
  });

  test('brings back all disks and the variables of its server where the host has lost them', async () => {
    const one = await stored();
    const { world } = one.node;
    loseNode(one.node);
    for (const role of ['root', 'swap'] as const) world.disks.get(one.uuid)?.set(role, { isGrown: true, image: null, bus: 'sata', bytes: 1n << 30n, madeFor: null, writtenBy: 50 });
    Object.assign(one.node.guest(one.uuid)!, { variablesSince: 5 });
    Object.assign(rowOf(one.node), { task_state: 'rebuilding', vm_state: 'stopped', system_metadata: { image_bhyve_checkpoint: 'disk', owner: 'kept' } });
    expect((await one.send('rebuild_instance', rebuild)).error).toBeUndefined();
    expect([...world.disks.get(one.uuid)!.values()]).toMatchObject([{ image, bus: 'sata' }, { image: partNamed(world, 'swap'), bus: 'sata', writtenBy: 7 }]);
    expect([one.node.guest(one.uuid)?.variablesSince, rowOf(one.node)['system_metadata'], rowOf(one.node)['image_ref']]).toEqual([1, { owner: 'kept' }, 'base']);
  });

  test('brings back memory, with its seal', async () => {
    const one = await stored('full');
    loseNode(one.node);
    Object.assign(one.node.guest(one.uuid)!, { memory: 9 });
    Object.assign(rowOf(one.node), { task_state: 'rebuilding' });
    expect((await one.send('rebuild_instance', rebuild)).error).toBeUndefined();
    expect([one.node.guest(one.uuid)?.memory, one.node.world.torn, rowOf(one.node)['vm_state']]).toEqual([1, [], 'active']);
  });

  const spoil: readonly [string, 'disk' | 'full', (world: World) => void, RegExp][] = [
    ['without one of its parts', 'disk', (world) => void world.glance.delete(partNamed(world, 'swap')), /holds its swap is not there any more/],
    ['with a part that has become another', 'disk', (world) => void world.imageData.set(partNamed(world, 'swap'), Buffer.from('{}')), /does not have the hash/],
    ['with variables that have become others', 'disk', (world) => void world.imageData.set(partNamed(world, 'nvram.fd'), Buffer.from('8')), /nvram.fd of it is not what was put into Glance/],
    ['with the part of another checkpoint', 'disk', (world) => void Object.assign(world.glance.get(partNamed(world, 'swap'))!, { properties: { bhyve_checkpoint_part_of: other } }), /is not there any more/],
    ['with one name of a part gone', 'disk', (world) => setProperties(world, { bhyve_checkpoint_part_swap: 'x' }), /the properties that name its parts are not as they were written/],
    ['with memory of another host', 'full', (world) => setProperties(world, { bhyve_checkpoint_seal: 'sealed elsewhere' }), /its memory was not saved by this host.*bhyve_checkpoint=disk on the image/],
    ['with memory that somebody made up', 'full', (world) => setProperties(world, { bhyve_checkpoint_memory: 'memory 2 100' }), /its memory was not saved by this host/],
  ];
  test.each(spoil)('%s is refused while the guest runs', async (_what, kind, change, words) => {
    const one = await stored(kind);
    const { world } = one.node;
    loseNode(one.node);
    change(world);
    Object.assign(rowOf(one.node), { task_state: 'rebuilding' });
    const before = JSON.stringify([...world.disks.get(one.uuid)!], (_key, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
    expect(reasonOf(await one.send('rebuild_instance', rebuild))).toMatch(words);
    expect(JSON.stringify([...world.disks.get(one.uuid)!], (_key, value: unknown) => (typeof value === 'bigint' ? String(value) : value))).toBe(before);
    expect([one.node.guest(one.uuid)?.isRunning, one.node.guest(one.uuid)?.starts, rowOf(one.node)['vm_state']]).toEqual([true, 1, 'active']);
  });

  test('of memory elsewhere brings back the disks alone when its owner says so', async () => {
    const one = await stored('full');
    loseNode(one.node);
    setProperties(one.node.world, { bhyve_checkpoint_seal: 'sealed elsewhere', bhyve_checkpoint: 'disk' });
    Object.assign(rowOf(one.node), { task_state: 'rebuilding' });
    expect((await one.send('rebuild_instance', rebuild)).error).toBeUndefined();
    expect([one.node.world.disks.get(one.uuid)?.get('root')?.image, one.node.guest(one.uuid)?.starts]).toEqual([image, 2]);
  });

  test('of another server is a disk like any other, and makes no checkpoint of the server that gets it', async () => {
    const one = await stored();
    const { world } = one.node;
    setProperties(world, { bhyve_checkpoint_instance: other });
    Object.assign(rowOf(one.node), { task_state: 'rebuilding', image_ref: image, system_metadata: { image_bhyve_checkpoint: 'disk', image_bhyve_checkpoint_store: 'glance', image_hw_disk_bus: 'virtio' } });
    expect((await one.send('rebuild_instance', rebuild)).error).toBeUndefined();
    expect(world.disks.get(one.uuid)?.get('swap')).not.toMatchObject({ image: partNamed(world, 'swap') });
    expect([world.disks.get(one.uuid)?.get('root')?.image, rowOf(one.node)['image_ref'], rowOf(one.node)['system_metadata']]).toEqual([image, image, { image_hw_disk_bus: 'virtio' }]);
  });
});

describe('a server whose checkpoints Glance has', () => {
  test('is taken off its host', async () => {
    const one = await stored();
    const shelveImage = parseImageId('cccccccc-0000-4000-8000-000000000009');
    one.node.world.glance.set(shelveImage, { status: 'queued', diskFormat: null });
    Object.assign(rowOf(one.node), { task_state: 'shelving' });
    expect((await one.send('shelve_instance', { image_id: shelveImage, clean_shutdown: true })).error).toBeUndefined();
    expect([rowOf(one.node)['vm_state'], rowOf(one.node)['host'], one.node.world.nodes.size, one.node.world.glance.get(image)?.status]).toEqual(['shelved_offloaded', null, 0, 'active']);
  });

  test('is taken off its host when shelved_offload_time has passed, where no user asks', async () => {
    const one = await stored();
    Object.assign(rowOf(one.node), { task_state: null, vm_state: 'shelved' });
    await offloadShelved(one.node.deps, one.uuid);
    expect(rowOf(one.node)).toMatchObject({ vm_state: 'shelved_offloaded', host: null });
  });

  test.each<[string, (world: World) => void]>([
    ['a part of one is gone', (world) => void world.glance.delete(partNamed(world, 'swap'))],
    ['its image is another server\'s', (world) => setProperties(world, { bhyve_checkpoint_instance: other })],
    ['its image is not active', (world) => void Object.assign(world.glance.get(image)!, { status: 'queued' })],
  ])('stays on its host if %s', async (_what, change) => {
    const one = await stored();
    change(one.node.world);
    Object.assign(rowOf(one.node), { task_state: 'shelving_offloading', vm_state: 'shelved' });
    expect(reasonOf(await one.send('shelve_offload_instance', { clean_shutdown: true }))).toMatch(/would lose 1 checkpoint that this host keeps of it/);
    expect([one.node.world.nodes.size, one.node.world.disks.has(one.uuid)]).toEqual([1, true]);
  });
});

test('parts go when an administrator finds their checkpoint\'s image gone, and no other image does', async () => {
  const one = await stored();
  const { world, deps } = one.node;
  const duty = leftCheckpointParts(deps);
  const left = { status: 'active', diskFormat: 'raw', isHidden: true } as const;
  const strangers = ['cccccccc-0000-4000-8000-00000000000a', 'cccccccc-0000-4000-8000-00000000000b', 'cccccccc-0000-4000-8000-00000000000c'];
  world.glance.set(strangers[0]!, { ...left, properties: { bhyve_checkpoint_host: 'another', bhyve_checkpoint_part_of: other } });
  world.glance.set(strangers[1]!, { ...left, properties: { bhyve_checkpoint_host: 'fakea' } });
  world.glance.set(strangers[2]!, { ...left, isHidden: false, properties: { bhyve_checkpoint_host: 'fakea', bhyve_checkpoint_part_of: other } });
  await duty.run(never);
  expect(world.glance.size).toBe(6);
  world.glance.delete(image);
  const isGone = deps.glance.isGone.bind(deps.glance);
  deps.glance.isGone = async () => null; // no administrator's log-in any more
  await duty.run(never);
  expect(world.glance.size).toBe(5);
  deps.glance.isGone = isGone;
  await duty.run(never);
  expect([...world.glance.keys()]).toEqual(strangers);
});
