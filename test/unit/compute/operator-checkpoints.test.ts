/** What the operator of a host has done with checkpoints: what comes of it for the server and in Nova's rows, and what is refused with which words. */
import { describe, expect, test } from 'vitest';
import { planJournal } from '../../../src/compute/index.js';
import { requestsOf } from '../../../src/control/index.js';
import { AgentError } from '../../../src/lib/errors.js';
import { parseCheckpointId, parseOperationId } from '../../../src/lib/ids.js';
import { unwantedCheckpoints } from '../../../src/periodic/index.js';
import { image, other, rowOf, scene, type Data, type Scene } from '../../contract/support/checkpoint-scene.js';
import { waitUntil } from '../../fakes/wait-until.js';
import type { Guest } from '../../sim/world.js';

const never = new AbortController().signal;
const id = image;
const guestOf = ({ node, uuid }: Scene): Guest => node.guest(uuid)!;

interface Asked { readonly result: Data | undefined; readonly error: AgentError | undefined; readonly told: readonly string[] }

async function ask({ node, uuid }: Scene, request: string, args: Data = {}): Promise<Asked> {
  const told: string[] = [];
  try {
    return { result: (await requestsOf(node.deps).get(request)!({ instance: uuid, checkpoint: id, ...args }, (text) => told.push(text))) as Data, error: undefined, told };
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    return { result: undefined, error, told };
  }
}
const create = (one: Scene, args: Data = {}): Promise<Asked> => ask(one, 'create-checkpoint', { content: 'disk', name: null, ...args });
const restore = (one: Scene, args: Data = {}): Promise<Asked> => ask(one, 'restore-checkpoint', { content: 'full', ...args });
const remove = (one: Scene, args: Data = {}): Promise<Asked> => ask(one, 'delete-checkpoint', { isForced: false, ...args });

/** Nothing is open in the journal, and how the last operation ended. */
const outcomeOf = ({ node, uuid }: Scene): unknown => [node.deps.journal.unfinished().length, node.deps.journal.history(uuid).at(-1)?.outcome ?? null];
const savesOf = ({ node }: Scene): unknown[] => node.sent().map(({ args }) => args['objmethod']).filter((method) => method === 'save');

describe('create', () => {
  test('makes a node that no image stands for, which the image duty leaves alone; Nova sees nothing of it', async () => {
    const one = await scene();
    one.node.forget();
    expect(await create(one, { name: 'before upgrade' })).toMatchObject({ error: undefined, result: { checkpoint: id, name: 'before upgrade', content: 'disk', guest: 'running', stopMs: null }, told: ['keeping the disks'] });
    expect([savesOf(one), rowOf(one.node), outcomeOf(one)]).toMatchObject([[], { vm_state: 'active', task_state: null, power_state: 1 }, [0, 'succeeded']]);
    await one.node.deps.storage.createCheckpoint(one.uuid, parseCheckpointId(other), 'off');
    for (const gone of [id, other]) one.node.goneImages.add(gone as never);
    await unwantedCheckpoints(one.node.deps).run(never);
    expect([...one.node.world.nodes]).toMatchObject([[id, { keeper: 'operator', name: 'before upgrade' }]]);
  });

  test('with memory says what it does and how long the guest stood still', async () => {
    const one = await scene();
    const suspend = one.node.deps.driver.suspend.bind(one.node.deps.driver);
    one.node.deps.driver.suspend = async (uuid, options) => {
      await suspend(uuid, options);
      one.node.clock.advance(1234);
    };
    expect(await create(one, { content: 'full' })).toMatchObject({
      error: undefined, result: { content: 'full', guest: 'running', stopMs: 1234 }, told: ['saving the guest with its memory', 'keeping the disks', 'letting the guest go on'],
    });
    expect([guestOf(one), one.node.world.nodes.get(id)]).toMatchObject([{ isRunning: true, memory: 1, starts: 1 }, { memory: { sum: 'memory 1' } }]);
  });

  test('of a stopped server has no memory', async () => {
    const one = await scene({ vm_state: 'stopped', power_state: 4 });
    expect(await create(one, { content: 'full' })).toMatchObject({ result: { content: 'disk', guest: 'off' } });
  });

  test('with memory of a guest that cannot be saved is refused with the way out, and the guest is not touched', async () => {
    const one = await scene();
    one.node.world.canSave = false;
    expect((await create(one, { content: 'full' })).error).toMatchObject({ code: 'operator-refused', message: 'its memory cannot be saved: no self-test has restored a guest here; --kind disk makes a checkpoint of the disks alone' });
    expect([guestOf(one), one.node.world.nodes.size, outcomeOf(one)]).toMatchObject([{ isRunning: true, starts: 1 }, 0, [0, 'failed']]);
  });

  test('whose disks cannot be kept comes to nothing, and the guest goes on', async () => {
    const one = await scene();
    one.node.deps.storage.createCheckpoint = () => Promise.reject(new AgentError('zfs-out-of-space', 'out of space'));
    expect((await create(one, { content: 'full' })).error).toMatchObject({ code: 'zfs-out-of-space' });
    expect([guestOf(one), one.node.world.nodes.size, one.node.world.keptFiles.size, one.node.world.still.size]).toMatchObject([{ isRunning: true, memory: 1, starts: 1 }, 0, 0, 0]);
    expect(guestOf(one).save).toBeUndefined();
  });

  test('from which the guest does not go on leaves its server suspended, with the save, and keeps the node', async () => {
    const one = await scene();
    one.node.world.restores = 'refused';
    expect((await create(one, { content: 'full' })).error).toMatchObject({ code: 'guest-resume-failed' });
    expect([rowOf(one.node), one.node.rpc.faults.length, one.node.world.nodes.has(id)]).toMatchObject([{ vm_state: 'suspended', task_state: null, power_state: 7, system_metadata: { old_vm_state: 'active' } }, 1, true]);
    one.node.world.restores = 'taken';
    Object.assign(rowOf(one.node), { task_state: 'resuming' });
    expect((await one.send('resume_instance')).error).toBeUndefined();
    expect(guestOf(one)).toMatchObject({ isRunning: true, memory: 1, starts: 1 });
  });

  test('is refused under a name that the server has already, and beyond max_per_instance', async () => {
    const one = await scene();
    await create(one, { name: 'mine' });
    expect((await create(one, { name: 'mine', checkpoint: other })).error).toMatchObject({ code: 'operator-refused', message: `the server has a checkpoint of that name already: ${id}` });
    await create(one, { checkpoint: other });
    expect((await create(one, { checkpoint: 'cccccccc-0000-4000-8000-000000000003' })).error).toMatchObject({ code: 'operator-refused', message: expect.stringMatching(/has 2 checkpoints, and \[checkpoint\]max_per_instance is 2: delete one first/) as string });
    expect(one.node.world.nodes.size).toBe(2);
  });

  test.each(['', ' x', 'x ', 'a\tb', 'ä', '-', id, id.toUpperCase(), 'x'.repeat(65)])('is refused under the name %j', async (name) => {
    const one = await scene();
    expect((await create(one, { name })).error).toMatchObject({ code: 'control-bad-request', message: expect.stringMatching(/^name: a name (has 1 to 64 printable|is neither an id)/) as string });
    expect([one.node.world.nodes.size, outcomeOf(one)]).toEqual([0, [0, null]]);
  });

  test.each(['x', 'a b', '-x', '~!@#%', 'x'.repeat(64)])('takes the name %j', async (name) => {
    expect((await create(await scene(), { name })).result).toMatchObject({ name });
  });
});

describe('what Nova says of the server decides first', () => {
  test.each([
    [{ task_state: 'rebooting' }, /Nova is at work on the server \(task rebooting\); try again when that is over/],
    [{ host: 'elsewhere' }, /Nova says that the server is on host elsewhere, and this is fakea/],
    [{ host: null }, /is on no host/],
    [{ vm_state: 'paused' }, /is paused, .* active or stopped: unpause it first/],
    [{ vm_state: 'suspended' }, /is suspended.*: resume it first/],
    [{ vm_state: 'rescued' }, /is rescued.*: unrescue it first/],
    [{ vm_state: 'resized' }, /is resized.*: confirm or revert its resize first/],
    [{ vm_state: 'error' }, /is error.*: a hard reboot/],
    [{ vm_state: 'building' }, /is building, and this takes one that is active or stopped$/],
  ])('%j', async (row, words) => {
    const one = await scene();
    await create(one);
    const before = JSON.stringify([...one.node.world.folders]);
    Object.assign(rowOf(one.node), row);
    for (const asked of [create(one, { checkpoint: other }), restore(one)]) expect((await asked).error).toMatchObject({ code: 'operator-refused', message: expect.stringMatching(words) as string });
    expect([one.node.world.nodes.size, JSON.stringify([...one.node.world.folders]), outcomeOf(one)]).toEqual([1, before, [0, 'succeeded']]);
  });

  test('a server that Nova does not have', async () => {
    const one = await scene();
    expect((await restore(one, { instance: other })).error).toMatchObject({ code: 'operator-refused', message: `Nova has no server ${other}` });
  });

  test('a delete asks for no state of the server, but for its host and for the end of its task', async () => {
    const one = await scene();
    await create(one);
    for (const row of [{ task_state: 'rebuilding' }, { task_state: null, host: 'elsewhere' }]) {
      Object.assign(rowOf(one.node), row);
      expect((await remove(one)).error).toMatchObject({ code: 'operator-refused' });
    }
    Object.assign(rowOf(one.node), { host: 'fakea', vm_state: 'error' });
    expect((await remove(one)).result).toEqual({ checkpoint: id });
    expect([one.node.world.nodes.size, one.node.world.keptFiles.size]).toEqual([0, 0]);
  });
});

describe('the gate', () => {
  test('an operator waits for what is under way, is told so, and is refused if Nova has begun something by then', async () => {
    const one = await scene();
    let release = (): void => undefined;
    const busy = one.node.deps.gate.run(one.uuid, 'reboot', () => new Promise((resolve) => { release = resolve; }));
    const [first, second] = [create(one), create(one, { checkpoint: other })];
    const told: string[] = [];
    const third = requestsOf(one.node.deps).get('restore-checkpoint')!({ instance: one.uuid, checkpoint: id, content: 'disk' }, (text) => {
      told.push(text);
      if (text === 'starting the guest') Object.assign(rowOf(one.node), { task_state: 'powering-off' });
    });
    await waitUntil(() => one.node.deps.gate.open === 4, 'all wait at the gate');
    expect(one.node.world.nodes.size).toBe(0);
    release();
    await busy;
    expect([(await first).told[0], (await second).result]).toMatchObject(['waiting until what is under way for the server is over', { checkpoint: other }]);
    await third;
    expect(told).toContain('starting the guest');
    // The task that came meanwhile is its owner's.
    expect(rowOf(one.node)).toMatchObject({ task_state: 'powering-off', power_state: 1, vm_state: 'active' });
    expect((await remove(one)).error).toMatchObject({ code: 'operator-refused' });
  });

  test('an operator who has waited is refused if the server is something else by then', async () => {
    const one = await scene();
    let release = (): void => undefined;
    const busy = one.node.deps.gate.run(one.uuid, 'suspend', () => new Promise((resolve) => { release = resolve; }));
    const asked = create(one);
    await waitUntil(() => one.node.deps.gate.open === 2, 'he waits at the gate');
    Object.assign(rowOf(one.node), { vm_state: 'suspended' });
    release();
    await busy;
    expect([(await asked).error, one.node.world.nodes.size]).toMatchObject([{ code: 'operator-refused', message: expect.stringMatching(/is suspended/) as string }, 0]);
  });

  test('a request of Nova that comes while the operator works is done when he is through', async () => {
    const one = await scene();
    await create(one);
    const restoreCheckpoint = one.node.deps.storage.restoreCheckpoint.bind(one.node.deps.storage);
    let stopped: Promise<unknown> = Promise.resolve();
    one.node.deps.storage.restoreCheckpoint = (uuid, checkpoint, madeFor) => {
      Object.assign(rowOf(one.node), { task_state: 'powering-off' });
      stopped = one.send('stop_instance', { clean_shutdown: false });
      return restoreCheckpoint(uuid, checkpoint, madeFor);
    };
    expect((await restore(one)).result).toMatchObject({ isRunning: true });
    await stopped;
    expect([rowOf(one.node), guestOf(one).isRunning, guestOf(one).starts]).toMatchObject([{ vm_state: 'stopped', task_state: null, power_state: 4 }, false, 2]);
  });

  test('when the agent stops, nothing new is begun', async () => {
    const one = await scene();
    one.node.deps.gate.close();
    expect((await create(one)).error).toMatchObject({ code: 'shutting-down', retry: 'later' });
  });
});

/** With a node of the disks (or with memory), and a guest that was started again since. */
async function checkpointed(content: 'full' | 'disk' = 'disk', row: Data = {}): Promise<Scene> {
  const one = await scene();
  expect((await create(one, { content })).error).toBeUndefined();
  Object.assign(guestOf(one), { memory: 2, starts: 2 });
  Object.assign(rowOf(one.node), row);
  if (row['vm_state'] === 'stopped') guestOf(one).isRunning = false;
  return one;
}
const madeForOf = ({ node, uuid }: Scene): string | null | undefined => node.world.disks.get(uuid)?.get('root')?.madeFor;
const expectUntouched = (one: Scene): void => {
  expect([guestOf(one), madeForOf(one), rowOf(one.node)]).toMatchObject([{ isRunning: true, memory: 2, starts: 2 }, null, { vm_state: 'active', task_state: null, power_state: 1, image_ref: 'base' }]);
};

describe('restore', () => {
  test('puts the disks back and starts the guest of an active server, which Nova sees active; the node stays', async () => {
    const one = await checkpointed();
    one.node.forget();
    expect(await restore(one)).toMatchObject({ error: undefined, result: { checkpoint: id, content: 'disk', isRunning: true }, told: ['ending the guest', 'putting the disks in their place', 'starting the guest'] });
    expect([guestOf(one), madeForOf(one), one.node.world.nodes.has(id)]).toMatchObject([{ isRunning: true, starts: 3, memory: 3 }, expect.any(String), true]);
    // A server of the image that its disk was made of.
    expect(rowOf(one.node)).toMatchObject({ vm_state: 'active', task_state: null, power_state: 1, image_ref: 'cached' });
    expect([outcomeOf(one), savesOf(one).length]).toEqual([[0, 'succeeded'], 2]);
  });

  test('lets the guest go on from the memory of the node, unless the disks alone are asked for', async () => {
    const one = await checkpointed('full');
    expect((await restore(one)).result).toMatchObject({ content: 'full', isRunning: true });
    expect([guestOf(one), one.node.world.still.size, one.node.world.torn]).toMatchObject([{ isRunning: true, memory: 1, starts: 2 }, 0, []]);
    expect(guestOf(one).save).toBeUndefined();
    expect((await restore(one, { content: 'disk' })).result).toMatchObject({ content: 'disk', isRunning: true });
    expect(guestOf(one)).toMatchObject({ isRunning: true, memory: 3, starts: 3 });
  });

  test('is refused with what is in the way of the memory and the way out, while the guest runs', async () => {
    const one = await checkpointed('full');
    one.node.deps.driver.whyNoReturn = async () => 'its save was made with something else: the bhyve program';
    expect((await restore(one)).error).toMatchObject({ code: 'operator-refused', message: 'the guest cannot go on from this checkpoint: its save was made with something else: the bhyve program; --kind disk goes to its disks alone' });
    expectUntouched(one);
  });

  test('of a node that is gone is refused', async () => {
    const one = await checkpointed();
    expect((await restore(one, { checkpoint: other })).error).toMatchObject({ code: 'checkpoint-missing' });
    expectUntouched(one);
  });

  test('leaves a stopped server off, and says what that means for the memory', async () => {
    const one = await checkpointed('full', { vm_state: 'stopped', power_state: 4 });
    expect(await restore(one)).toMatchObject({ result: { content: 'disk', isRunning: false }, told: ['the server is stopped and stays so: the memory of the checkpoint is not used', 'putting the disks in their place'] });
    expect([guestOf(one), madeForOf(one), rowOf(one.node)]).toMatchObject([{ isRunning: false, starts: 2 }, expect.any(String), { vm_state: 'stopped', task_state: null, power_state: 4 }]);
  });

  test('that bhyve does not take leaves the server suspended on the disks of the node: resume tries again', async () => {
    const one = await checkpointed('full');
    one.node.world.restores = 'refused';
    expect((await restore(one)).error).toMatchObject({ code: 'guest-resume-failed' });
    expect([rowOf(one.node), guestOf(one), one.node.rpc.faults.length]).toMatchObject([{ vm_state: 'suspended', task_state: null, power_state: 7 }, { isRunning: false, save: { memory: 1 } }, 1]);
    one.node.world.restores = 'taken';
    Object.assign(rowOf(one.node), { task_state: 'resuming' });
    expect((await one.send('resume_instance')).error).toBeUndefined();
    expect([guestOf(one), one.node.world.torn]).toMatchObject([{ isRunning: true, memory: 1 }, []]);
  });

  test('whose guest does not start leaves the server stopped on the disks of the node: start tries again', async () => {
    const one = await checkpointed();
    const start = one.node.deps.driver.start.bind(one.node.deps.driver);
    one.node.deps.driver.start = () => Promise.reject(new AgentError('guest-start-failed', 'no memory'));
    expect((await restore(one)).error).toMatchObject({ code: 'guest-start-failed' });
    expect([rowOf(one.node), madeForOf(one), one.node.rpc.faults.length]).toMatchObject([{ vm_state: 'stopped', task_state: null, power_state: 4, image_ref: 'cached' }, expect.any(String), 1]);
    one.node.deps.driver.start = start;
    Object.assign(rowOf(one.node), { task_state: 'powering-on' });
    expect((await one.send('start_instance')).error).toBeUndefined();
    expect(rowOf(one.node)).toMatchObject({ vm_state: 'active', power_state: 1 });
  });

  test('that fails before the disks have changed starts the guest again on the old ones', async () => {
    const one = await checkpointed();
    one.node.deps.storage.restoreCheckpoint = () => Promise.reject(new AgentError('zfs-out-of-space', 'out of space'));
    expect((await restore(one)).error).toMatchObject({ code: 'zfs-out-of-space' });
    expect([guestOf(one), madeForOf(one), rowOf(one.node), one.node.rpc.faults.length]).toMatchObject([{ isRunning: true, starts: 3 }, null, { vm_state: 'active', task_state: null, power_state: 1, image_ref: 'base' }, 0]);
    expect(outcomeOf(one)).toEqual([0, 'failed']);
  });

  test('is refused, and nothing touched, if Nova begins something at the last moment', async () => {
    const one = await checkpointed();
    const checkpoints = one.node.deps.storage.checkpoints.bind(one.node.deps.storage);
    one.node.deps.storage.checkpoints = async (uuid) => {
      Object.assign(rowOf(one.node), { task_state: 'rebuilding', image_ref: 'new' });
      return checkpoints(uuid);
    };
    expect((await restore(one)).error).toMatchObject({ code: 'operator-refused', message: expect.stringMatching(/Nova has begun something with the server meanwhile/) as string });
    expect([guestOf(one), madeForOf(one), rowOf(one.node)]).toMatchObject([{ isRunning: true, memory: 2, starts: 2 }, null, { task_state: 'rebuilding', image_ref: 'new' }]);
  });

  test('ends for a server that is deleted meanwhile, without starting it again', async () => {
    const one = await checkpointed();
    let starts = 0;
    one.node.deps.driver.start = async () => { starts += 1; };
    let deleted: Promise<unknown> = Promise.resolve();
    one.node.deps.storage.restoreCheckpoint = async () => {
      Object.assign(rowOf(one.node), { task_state: 'deleting' });
      deleted = one.send('terminate_instance', { bdms: null });
      await waitUntil(() => one.node.deps.gate.open === 2, 'the delete is at the gate');
    };
    expect((await restore(one)).error).toMatchObject({ code: 'instance-deleted' });
    await deleted;
    expect([starts, one.node.world.folders.has(one.uuid), one.node.world.disks.has(one.uuid), one.node.world.nodes.size]).toEqual([0, false, false, 0]);
  });
});

describe('delete', () => {
  test('takes a node that no image stands for, and its memory', async () => {
    const one = await checkpointed('full');
    expect((await remove(one)).result).toEqual({ checkpoint: id });
    expect([one.node.world.nodes.size, one.node.world.keptFiles.size, guestOf(one)]).toMatchObject([0, 0, { isRunning: true, starts: 2 }]);
    expect((await remove(one)).error).toMatchObject({ code: 'checkpoint-missing' });
  });

  test('of one that an image stands for is refused with the way out, unless it is forced', async () => {
    const one = await scene();
    await one.node.deps.storage.createCheckpoint(one.uuid, parseCheckpointId(id), 'off');
    expect((await remove(one)).error).toMatchObject({ code: 'operator-refused', message: expect.stringMatching(`"openstack image delete ${id}" deletes both\\. With --force`) as string });
    expect(one.node.world.nodes.size).toBe(1);
    expect((await remove(one, { isForced: true })).result).toEqual({ checkpoint: id });
    expect(one.node.world.nodes.size).toBe(0);
  });
});

test('a user whose server is not shelved off its host because of the operator’s checkpoints is told who can delete them', async () => {
  const one = await scene({ vm_state: 'shelved', power_state: 4 });
  await one.node.deps.storage.createCheckpoint(one.uuid, parseCheckpointId(id), 'off', null, { keeper: 'operator', name: null });
  Object.assign(rowOf(one.node), { task_state: 'shelving_offloading' });
  const { error } = await one.send('shelve_offload_instance', { clean_shutdown: false, image_id: undefined, accel_uuids: [] });
  expect(String((error as Error).message)).toMatch(/would lose 1 checkpoint that this host keeps of it; the operator of the host has made them and can delete them/);
});

test('what an operator had begun is finished after a restart and its server left alone by the recovery; what had not begun is closed', () => {
  const operation = (digit: number, hasBegun: boolean) => ({
    id: parseOperationId(`99999999-9999-4999-8999-99999999999${digit}`), messageId: String(digit), rpc: 'operator_restore_checkpoint', instance: image as never, requestId: null, payload: { instance: image, checkpoint: other, content: 'disk' },
    acceptedAt: '2026-11-02T00:00:00Z', hasBegun, steps: new Map(), notes: {}, outcome: null,
  });
  const [begun, accepted] = [operation(1, true), operation(2, false)];
  expect(planJournal([begun, accepted])).toMatchObject({ finish: [begun], close: [accepted], again: [], undo: [], abandon: [], instances: new Set([image]), resumed: new Set() });
  expect(planJournal([accepted]).instances.size).toBe(0);
});
