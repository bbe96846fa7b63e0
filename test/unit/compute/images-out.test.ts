/** Images out of servers when something goes wrong or vanishes: what the row, the image and the host are afterwards. */
import { describe, expect, test } from 'vitest';
import { AgentError, wireFaultOf } from '../../../src/lib/errors.js';
import { parseImageId } from '../../../src/lib/ids.js';
import { novaFaults } from '../../../src/lib/nova-faults.js';
import { RemoteError } from '../../../src/rpc/index.js';
import { createTestNode, instanceWire, messageOf, putGuest, type Answer, type NodeSettings, type TestNode } from '../../contract/support/compute-node.js';

type Data = Record<string, unknown>;
const image = 'cccccccc-0000-4000-8000-000000000001';
const rowOf = (node: TestNode): Data => node.rpc.instances[0] ?? {};
const outcomes = (node: TestNode): unknown[] => node.rpc.events.map((one) => one.outcome);
const gone = (): Promise<never> => Promise.reject(new AgentError('http-not-found', 'gone', { wire: novaFaults.imageNotFound(image) }));

/** A server on this host in this state, and a message about it. */
async function play(method: string, row: Data, args: Data, prepare: (node: TestNode) => void = () => undefined, settings: NodeSettings = {}): Promise<{ node: TestNode; answer: Answer; uuid: string }> {
  const node = await createTestNode(settings);
  const stored = node.rpc.addInstance({
    host: 'fakea', node: 'fakea', vm_state: 'active', power_state: 1, metadata: {}, system_metadata: {}, image_ref: 'base', project_id: 'p1', user_id: 'u1', ...row,
  });
  const uuid = String(stored['uuid']);
  node.rpc.infoCaches.push({ instance_uuid: uuid, network_info: '[]' });
  putGuest(node, uuid, { isRunning: stored['power_state'] === 1 });
  node.image = { status: 'queued' };
  prepare(node);
  const answer = await node.receive(messageOf(method, { instance: instanceWire(stored), image_id: image, ...args }));
  await node.settled();
  return { node, answer, uuid };
}

const snapshot = (prepare?: (node: TestNode) => void, row: Data = {}): ReturnType<typeof play> => play('snapshot_instance', { task_state: 'image_snapshot_pending', ...row }, {}, prepare);

describe('a snapshot', () => {
  test('describes the image, fills it, and leaves no copy of the disk', async () => {
    const { node } = await snapshot(undefined, { os_type: 'freebsd' });
    expect(node.glanceCalls).toEqual([
      `update ${image} ${JSON.stringify({ disk_format: 'raw', container_format: 'bare', image_location: 'snapshot', image_state: 'available', owner_id: 'p1', os_type: 'freebsd' })}`,
      `upload ${image}`,
    ]);
    expect([rowOf(node)['task_state'], node.world.snapshots.size, outcomes(node)]).toEqual([null, 0, ['started', 'Success']]);
  });

  test('whose image was deleted by its user is nobody\'s error', async () => {
    const { node, answer } = await snapshot((one) => { one.deps.glance.upload = gone; });
    expect([answer.error, rowOf(node)['task_state'], rowOf(node)['vm_state'], node.rpc.faults, outcomes(node)]).toEqual([undefined, null, 'active', [], ['started', 'Success']]);
    expect(node.world.snapshots.size).toBe(0);
  });

  test('whose server is deleted meanwhile stops, deletes its image and leaves the task to the delete', async () => {
    const { node } = await snapshot((one) => {
      one.deps.glance.upload = (_context, _id, _content, signal) => new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason as Error));
        Object.assign(rowOf(one), { task_state: 'deleting' });
        const [stored] = one.rpc.instances;
        void one.receive(messageOf('terminate_instance', { instance: instanceWire(stored ?? {}), bdms: null }));
      });
    });
    expect(node.glanceCalls).toContain(`remove ${image}`);
    expect([rowOf(node)['vm_state'], node.world.disks.size, node.world.snapshots.size, node.rpc.faults]).toEqual(['deleted', 0, 0, []]);
  });

  test('ends by itself when the row is gone and nobody told us', async () => {
    const { node } = await snapshot((one) => {
      one.deps.glance.upload = (_context, _id, _content, signal) => new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason as Error));
        one.deps.conductor.instances.byUuid = () => Promise.reject(new RemoteError('InstanceNotFound', 'nova.exception', 'gone', [], {}));
      });
    });
    expect(node.glanceCalls).toContain(`remove ${image}`);
    expect(node.world.snapshots.size).toBe(0);
  });

  test('that fails deletes its image, clears the task and says why', async () => {
    const { node, answer } = await snapshot((one) => { one.deps.glance.upload = () => Promise.reject(new AgentError('http-bad-request', 'image answered 413 to PUT')); });
    expect(answer.error).toBeDefined();
    expect(node.glanceCalls.at(-1)).toBe(`remove ${image}`);
    expect([rowOf(node)['task_state'], rowOf(node)['vm_state'], node.rpc.faults.length, outcomes(node)]).toEqual([null, 'active', 1, ['started', 'Error']]);
    expect(node.world.snapshots.size).toBe(0);
  });

  test.each(['image_uploading', 'deleting', null])('that finds the task %s makes nothing, and leaves no image that nobody will fill', async (task) => {
    const { node } = await snapshot(undefined, { task_state: task });
    expect(node.glanceCalls).toEqual([`remove ${image}`]);
    expect(rowOf(node)['task_state']).toBe(task);
  });

  test.each([['yes', 1, 'InstanceQuiesceNotSupported'], ['True', 1, 'InstanceQuiesceNotSupported'], ['no', 1, undefined], ['yes', 4, undefined]])(
    'with os_require_quiesce=%s and power state %i is answered with %s', async (value, power, className) => {
      const { answer } = await snapshot(undefined, { system_metadata: { image_os_require_quiesce: value }, power_state: power, vm_state: power === 1 ? 'active' : 'stopped' });
      expect(wireFaultOf(answer.error)?.className).toBe(className);
    });
});

describe('a backup', () => {
  test('keeps as many as its rotation says, the newest; one that cannot be deleted does not matter', async () => {
    const images = [1, 2, 3, 4].map((digit) => parseImageId(`cccccccc-0000-4000-8000-00000000001${digit}`));
    const { node } = await play('backup_instance', { task_state: 'image_backup' }, { backup_type: 'weekly', rotation: 2 }, (one) => {
      one.glanceList = images;
      const remove = one.deps.glance.remove.bind(one.deps.glance);
      one.deps.glance.remove = (context, id) => (id === images[2] ? Promise.reject(new AgentError('http-forbidden', 'protected')) : remove(context, id));
    });
    expect(node.glanceCalls.slice(2)).toEqual([`list ${JSON.stringify({ image_type: 'backup', backup_type: 'weekly', instance_uuid: rowOf(node)['uuid'] })}`, `remove ${images[3]}`]);
    expect(outcomes(node)).toEqual(['started', 'Success']);
  });
});

describe('a shelve', () => {
  test('that cannot keep the disk as an image leaves a stopped server, not one in error', async () => {
    const { node } = await play('shelve_instance', { task_state: 'shelving' }, { clean_shutdown: true }, (one) => { one.deps.glance.upload = gone; });
    expect(rowOf(node)).toMatchObject({ vm_state: 'stopped', task_state: null, power_state: 4, host: 'fakea' });
    expect([outcomes(node).slice(0, 2), node.world.disks.size, node.rpc.faults.length]).toEqual([['started', 'Error'], 1, 1]);
  });

  test('of a paused server does not wait for its power button', async () => {
    const asked: number[] = [];
    await play('shelve_instance', { task_state: 'shelving', vm_state: 'paused', power_state: 3 }, { clean_shutdown: true }, (one) => {
      putGuest(one, String(rowOf(one)['uuid']));
      one.deps.driver.stop = async (_uuid, options) => {
        asked.push(options.graceMs);
        return null;
      };
    });
    expect(asked[0]).toBe(0);
  });
});

describe('an offload', () => {
  test('of a server that was not made an image of keeps guest and disk', async () => {
    const { node, answer } = await play('shelve_offload_instance', { task_state: 'shelving' }, { clean_shutdown: false });
    expect(wireFaultOf(answer.error)?.className).toBe('NotImplementedError');
    expect(rowOf(node)).toMatchObject({ vm_state: 'active', task_state: null, host: 'fakea' });
    expect([node.world.disks.size, node.guest(String(rowOf(node)['uuid']))?.isRunning]).toEqual([1, true]);
  });
});

describe('an unshelve that this host cannot carry', () => {
  const shelved = { shelved_at: '2026-11-23T04:00:00.000000', shelved_image_id: image, shelved_host: 'other' };
  const offloaded = { vm_state: 'shelved_offloaded', task_state: 'unshelving', power_state: 4, host: null, node: null, system_metadata: shelved };

  async function refused(args: Data, prepare: (node: TestNode) => void = () => undefined): Promise<void> {
    const { node, answer, uuid } = await play('unshelve_instance', offloaded, { image: { id: image, properties: {} }, node: 'fakea', filter_properties: {}, accel_uuids: [], ...args }, (one) => {
      one.world.disks.clear();
      one.world.folders.clear();
      one.placement.allocate(String(rowOf(one)['uuid']), { '39d89b30-c0da-4c84-af73-c87eff3724c3': { resources: { VCPU: 1 } } });
      one.image = { status: 'active' };
      prepare(one);
    });
    expect(answer.error).toBeDefined();
    expect(rowOf(node)).toMatchObject({ vm_state: 'shelved_offloaded', task_state: null, host: null, node: null, image_ref: 'base', system_metadata: shelved });
    expect([node.placement.consumers.has(uuid), node.world.disks.size, node.world.folders.size, node.taps.size]).toEqual([false, 0, 0, 0]);
    expect([node.glanceCalls, outcomes(node), node.rpc.faults.length]).toEqual([[], ['started', 'Error'], 1]);
  }

  test('because of what the image wants', () => refused({ image: { id: image, properties: { hw_mem_encryption: 'true' } } }));
  test('because there is no image: its disk is a volume', () => refused({ image: null }));
  test('because the node is not here', () => refused({ node: 'elsewhere' }));
  test('because the image is gone', () => refused({}, (node) => { node.deps.glance.show = gone; }));
  test('because the guest does not start', () => refused({}, (node) => { node.deps.driver.start = () => Promise.reject(new AgentError('guest-start-failed', 'x')); }));
  test('because Placement knows nothing of it', () => refused({}, (node) => { node.placement.consumers.clear(); }));
});

describe('caching images in advance', () => {
  const other = 'cccccccc-0000-4000-8000-000000000002';
  async function cache(ids: readonly string[], prepare: (node: TestNode) => void = () => undefined): Promise<unknown> {
    const node = await createTestNode();
    prepare(node);
    return (await node.receive(messageOf('cache_images', { image_ids: ids }))).result;
  }

  test('answers for each image what became of it', async () => {
    expect(await cache([image, other, 'no-uuid'], (node) => {
      node.deps.storage.images = async () => [{ id: parseImageId(other), bytes: 1n, isComplete: true, cloneCount: 0, lastUsedAt: new Date(0) }];
    })).toEqual({ [image]: 'cached', [other]: 'existing', 'no-uuid': 'error' });
  });

  test('does not fill a pool that is nearly full', async () => {
    expect(await cache([image], (node) => { node.deps.storage.usage = async () => ({ totalBytes: 100n, availableBytes: 10n, usedBytes: 90n }); })).toEqual({ [image]: 'error' });
  });
});
