/** Checkpoints through Nova: what is refused, with which words, before anything is touched; and what lets go of a node. */
import { describe, expect, test } from 'vitest';
import { AgentError } from '../../../src/lib/errors.js';
import { parseCheckpointId, parseImageId } from '../../../src/lib/ids.js';
import { unwantedCheckpoints } from '../../../src/periodic/index.js';
import { asked, image, other, reasonOf, rowOf, scene } from '../../contract/support/checkpoint-scene.js';
import type { TestNode } from '../../contract/support/compute-node.js';

const never = new AbortController().signal;

describe('a checkpoint', () => {
  test('is a node, and an image that says where it is', async () => {
    const { node, uuid, send } = await scene({ task_state: 'image_snapshot_pending' });
    node.image = asked({ bhyve_checkpoint: 'disk', bhyve_checkpoint_store: 'local' });
    expect((await send('snapshot_instance')).error).toBeUndefined();
    expect([...node.world.nodes]).toMatchObject([[image, { instance: uuid, guest: 'running' }]]);
    expect(JSON.parse(node.glanceCalls[0]!.slice(`update ${image} `.length))).toMatchObject({
      disk_format: 'raw', container_format: 'bare', bhyve_checkpoint_id: image, bhyve_checkpoint_host: 'fakea', bhyve_checkpoint_instance: uuid, bhyve_checkpoint_guest: 'running',
    });
    expect([node.glanceCalls[1], node.world.snapshots.size, rowOf(node)['task_state']]).toEqual([`upload ${image}`, 0, null]);
  });

  test.each([
    [{ bhyve_checkpoint: 'everything' }, /is disk or full, not everything/],
    [{ bhyve_checkpoint: 'disk', bhyve_checkpoint_store: 'moon' }, /is local or glance, not moon/],
    [{ bhyve_checkpoint: 'disk', bhyve_checkpoint_kind: 'sideways' }, /bhyve_checkpoint_kind is external or internal, not sideways/],
    [{ bhyve_checkpoint: 'disk', bhyve_checkpoint_kind: 'internal' }, /is for servers on qcow2 disks, and this one has ZFS volumes/],
  ])('that is asked for by %j is refused in words, and its image deleted', async (properties, words) => {
    const { node, send } = await scene({ task_state: 'image_snapshot_pending' });
    node.image = asked(properties);
    expect(reasonOf(await send('snapshot_instance'))).toMatch(words);
    expect([node.glanceCalls, node.world.nodes.size, rowOf(node)['task_state'], rowOf(node)['vm_state'], node.rpc.faults.length]).toEqual([[`remove ${image}`], 0, null, 'active', 1]);
  });

  test('of qcow2 disks is made as its user wants it, without memory, and what storage says against it is for the user to read', async () => {
    const { node, send } = await scene({ task_state: 'image_snapshot_pending' });
    node.deps.storage.formOf = async () => 'qcow2';
    const kinds: unknown[] = [];
    node.deps.storage.createCheckpoint = async (...args) => {
      kinds.push(args[5]);
      throw new AgentError('disk-chain-refused', 'the disk has external checkpoints: delete them first');
    };
    node.image = asked({ bhyve_checkpoint: 'disk', bhyve_checkpoint_kind: 'internal' });
    expect(reasonOf(await send('snapshot_instance'))).toMatch(/has external checkpoints: delete them first/);
    expect([kinds, node.glanceCalls]).toEqual([['internal'], [`remove ${image}`]]);
  });

  test('with memory is refused of qcow2 disks, and the guest is not asked', async () => {
    const { node, send } = await scene({ task_state: 'image_snapshot_pending' });
    node.deps.storage.formOf = async () => 'qcow2';
    node.image = asked({ bhyve_checkpoint: 'full' });
    expect(reasonOf(await send('snapshot_instance'))).toMatch(/checkpoints of its disks only; bhyve_checkpoint=disk makes one/);
    expect([node.world.nodes.size, node.glanceCalls]).toEqual([0, [`remove ${image}`]]);
  });

  test('beyond max_per_instance is refused, and the others stay', async () => {
    const { node, uuid, send } = await scene({ task_state: 'image_snapshot_pending' });
    for (const digit of [1, 2]) await node.deps.storage.createCheckpoint(uuid, parseCheckpointId(`dddddddd-0000-4000-8000-00000000000${digit}`), 'off');
    node.image = asked({ bhyve_checkpoint: 'disk' });
    expect(reasonOf(await send('snapshot_instance'))).toMatch(/has 2 checkpoints, and this host keeps 2 of a server; delete the image of one first/);
    expect([node.world.nodes.size, node.glanceCalls]).toEqual([2, [`remove ${image}`]]);
  });

  test('whose image cannot be filled leaves no node', async () => {
    const { node, send } = await scene({ task_state: 'image_snapshot_pending' });
    node.image = asked({ bhyve_checkpoint: 'disk' });
    node.deps.glance.upload = () => Promise.reject(new AgentError('http-bad-request', 'image answered 413 to PUT'));
    expect((await send('snapshot_instance')).error).toBeDefined();
    expect([node.world.nodes.size, node.glanceCalls.at(-1)]).toEqual([0, `remove ${image}`]);
  });
});

describe('an image that stands for a checkpoint', () => {
  const stands = (over: Readonly<Record<string, string>>): Partial<TestNode['image']> => ({
    status: 'active', properties: { bhyve_checkpoint: 'disk', bhyve_checkpoint_id: image, bhyve_checkpoint_host: 'fakea', bhyve_checkpoint_instance: 'x', ...over },
  });
  const rebuild = { orig_image_ref: 'base', image_ref: image, injected_files: [], new_pass: 'x', orig_sys_metadata: {}, bdms: null, recreate: false, preserve_ephemeral: false };

  test.each([
    ['of another server', { bhyve_checkpoint_instance: other }, /stands for a checkpoint of server cccccccc.*; only that server can go back to it/],
    ['on another host', { bhyve_checkpoint_host: 'elsewhere' }, /its checkpoint is on host elsewhere, and the server is on fakea/],
    ['that is gone', { bhyve_checkpoint_id: other }, /no such checkpoint of the server any more/],
    ['with an id that is none', { bhyve_checkpoint_id: '../root' }, /no such checkpoint of the server any more/],
  ])('%s is refused for a rebuild while the guest runs', async (_what, over, words) => {
    const { node, uuid, send } = await scene({ task_state: 'rebuilding' });
    await node.deps.storage.createCheckpoint(uuid, parseCheckpointId(image), 'running');
    node.image = stands({ bhyve_checkpoint_instance: uuid, ...over });
    const before = node.world.disks.get(uuid)?.get('root');
    expect(reasonOf(await send('rebuild_instance', rebuild))).toMatch(words);
    expect([node.world.disks.get(uuid)?.get('root'), node.guest(uuid)?.isRunning, node.guest(uuid)?.starts, rowOf(node)['vm_state']]).toEqual([before, true, 1, 'active']);
  });

  test('of a plain disk is refused while the server has checkpoints inside its disks, and the guest runs on', async () => {
    const { node, uuid, send } = await scene({ task_state: 'rebuilding' });
    await node.deps.storage.createCheckpoint(uuid, parseCheckpointId(other), 'running');
    const before = { ...node.deps.storage };
    node.deps.storage.checkpoints = async (instance) => (await before.checkpoints(instance)).map((one) => ({ ...one, kind: 'internal' }));
    const { error } = await send('rebuild_instance', rebuild);
    expect((error as Error).message).toMatch(/checkpoints inside its disks/);
    expect([node.guest(uuid)?.isRunning, node.guest(uuid)?.starts]).toEqual([true, 1]);
  });

  test('brings back the disks of its own server, which stays a server of its first image', async () => {
    const { node, uuid, send } = await scene({ task_state: 'rebuilding', vm_state: 'stopped', power_state: 4, config_drive: '', image_ref: image, system_metadata: { image_bhyve_checkpoint: 'disk', image_hw_disk_bus: 'virtio', owner: 'kept' } });
    await node.deps.storage.createCheckpoint(uuid, parseCheckpointId(image), 'running');
    node.image = stands({ bhyve_checkpoint_instance: uuid });
    const { error } = await send('rebuild_instance', rebuild);
    expect(error).toBeUndefined();
    const made = node.world.disks.get(uuid)?.get('root')?.madeFor;
    expect(made).toEqual(expect.any(String));
    expect([rowOf(node)['image_ref'], rowOf(node)['system_metadata'], rowOf(node)['vm_state'], node.guest(uuid)?.isRunning]).toEqual([
      'cached', { image_hw_disk_bus: 'virtio', owner: 'kept' }, 'stopped', false,
    ]);
    expect(node.world.nodes.size).toBe(1);
    // The same once more is once more.
    Object.assign(rowOf(node), { task_state: 'rebuilding' });
    expect((await send('rebuild_instance', rebuild)).error).toBeUndefined();
    expect([made, null]).not.toContain(node.world.disks.get(uuid)?.get('root')?.madeFor);
  });

  test('makes no new server', async () => {
    const { refuseUnfit } = await import('../../../src/compute/fetch-image.js');
    const { node, uuid } = await scene();
    const flavor = (await node.deps.conductor.instances.byUuid(node.deps.ownContext(), uuid, ['flavor'])).get('flavor');
    const shown = { ...(await node.deps.glance.show(node.deps.ownContext(), parseImageId(image))), properties: stands({}).properties ?? {} };
    expect(() => refuseUnfit(flavor, shown)).toThrow(/stands for a checkpoint and holds no disk; rebuild the server that it was made of with it/);
  });
});

describe('a server with checkpoints', () => {
  test.each(['shelve_instance', 'shelve_offload_instance'])('is not taken off its host by %s', async (method) => {
    const { node, uuid, send } = await scene({ task_state: 'shelving', ...(method === 'shelve_instance' ? {} : { vm_state: 'shelved' }) });
    await node.deps.storage.createCheckpoint(uuid, parseCheckpointId(other), 'off');
    node.image = { status: 'queued' };
    expect(reasonOf(await send(method, { clean_shutdown: true }))).toMatch(/would lose 1 checkpoint that this host keeps of it; delete their images first/);
    expect([node.world.disks.has(uuid), node.world.nodes.size, node.guest(uuid)?.isRunning, rowOf(node)['task_state']]).toEqual([true, 1, true, null]);
    expect(node.glanceCalls).toEqual(method === 'shelve_instance' ? [`remove ${image}`] : []);
  });

  test('loses those whose image an administrator does not find, and no others', async () => {
    const { node, uuid } = await scene();
    for (const id of [image, other]) await node.deps.storage.createCheckpoint(uuid, parseCheckpointId(id), 'off');
    const duty = unwantedCheckpoints(node.deps);
    await duty.run(never);
    expect(node.world.nodes.size).toBe(2);
    node.goneImages.add(parseImageId(image));
    const { glance } = node.deps;
    const asks = { seen: glance.seen.bind(glance), isGone: glance.isGone.bind(glance) };
    // No administrator's log-in, or no longer one's.
    for (const without of [{ seen: async () => null, isGone: async () => null }, { seen: asks.seen, isGone: async () => null }]) {
      Object.assign(glance, without);
      await duty.run(never);
      expect(node.world.nodes.size).toBe(2);
    }
    Object.assign(glance, asks);
    node.hiddenImage = parseImageId(other);
    await duty.run(never);
    expect([...node.world.nodes.keys()]).toEqual([other]);
  });

  test('keeps them while something else is done with it', async () => {
    const { node, uuid } = await scene();
    await node.deps.storage.createCheckpoint(uuid, parseCheckpointId(image), 'off');
    node.goneImages.add(parseImageId(image));
    await node.deps.gate.run(uuid, 'rebuild', () => unwantedCheckpoints(node.deps).run(never));
    expect(node.world.nodes.size).toBe(1);
  });
});
