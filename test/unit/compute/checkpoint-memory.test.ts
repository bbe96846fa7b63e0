/** Checkpoints with memory through Nova: what its users see when all goes well, and when something does not. */
import { describe, expect, test } from 'vitest';
import { AgentError } from '../../../src/lib/errors.js';
import { parseCheckpointId } from '../../../src/lib/ids.js';
import { novaFaults } from '../../../src/lib/nova-faults.js';
import { unwantedCheckpoints } from '../../../src/periodic/index.js';
import { asked, image, other, reasonOf, rowOf, scene, type Data, type Scene } from '../../contract/support/checkpoint-scene.js';
import type { Answer } from '../../contract/support/compute-node.js';
import type { Guest } from '../../sim/world.js';

const full = { bhyve_checkpoint: 'full' };
const guestOf = ({ node, uuid }: Scene): Guest => node.guest(uuid)!;
const never = new AbortController().signal;

async function taken(row: Data = {}, prepare: (one: Scene) => void = () => undefined): Promise<{ one: Scene; answer: Answer }> {
  const one = await scene({ task_state: 'image_snapshot_pending', ...row });
  one.node.image = asked(full);
  prepare(one);
  return { one, answer: await one.send('snapshot_instance') };
}

/** What is left of a checkpoint that failed: nothing, and the server as it was. */
function expectNothing({ node }: Scene): void {
  expect([node.world.nodes.size, node.world.keptFiles.size, node.glanceCalls.at(-1), node.world.still.size]).toEqual([0, 0, `remove ${image}`, 0]);
}

describe('a checkpoint with memory', () => {
  test('is disks and memory of one moment, which the guest stood still for; Nova sees it active all along', async () => {
    const powers: unknown[] = [];
    const { one, answer } = await taken({}, ({ node }) => {
      const suspend = node.deps.driver.suspend.bind(node.deps.driver);
      node.deps.driver.suspend = async (uuid, options) => {
        await suspend(uuid, options);
        node.clock.advance(1234);
        powers.push([rowOf(node)['power_state'], rowOf(node)['vm_state'], rowOf(node)['task_state']]);
      };
    });
    expect(answer.error).toBeUndefined();
    expect([...one.node.world.nodes.values()]).toMatchObject([{ guest: 'running', memory: { sum: 'memory 1' } }]);
    expect([...one.node.world.keptFiles.values()]).toMatchObject([{ memory: 1 }]);
    expect(JSON.parse(one.node.glanceCalls[0]!.slice(`update ${image} `.length))).toMatchObject({ bhyve_checkpoint_id: image, bhyve_checkpoint_guest: 'running', bhyve_checkpoint_stop_ms: '1234' });
    expect(guestOf(one)).toMatchObject({ isRunning: true, memory: 1, starts: 1 });
    expect([guestOf(one).save, one.node.world.still.size, one.node.world.torn]).toEqual([undefined, 0, []]);
    expect(powers).toEqual([[1, 'active', 'image_snapshot']]);
    expect(rowOf(one.node)).toMatchObject({ vm_state: 'active', task_state: null, power_state: 1 });
  });

  test('of a guest that cannot be saved is refused in words, with the way out, and the guest is not touched', async () => {
    const { one, answer } = await taken({}, ({ node }) => { node.world.canSave = false; });
    expect(reasonOf(answer)).toMatch(/its memory cannot be saved: no self-test has restored a guest here; bhyve_checkpoint=disk makes one of the disks alone/);
    expectNothing(one);
    expect([guestOf(one), rowOf(one.node)]).toMatchObject([{ isRunning: true, memory: 1, starts: 1 }, { vm_state: 'active', task_state: null, power_state: 1 }]);
  });

  test('of a server that is off has no memory, and is marked so', async () => {
    const { one, answer } = await taken({ vm_state: 'stopped', power_state: 4 });
    expect(answer.error).toBeUndefined();
    expect([...one.node.world.nodes.values()]).toMatchObject([{ guest: 'off', memory: null }]);
    expect(one.node.glanceCalls[0]).not.toContain('stop_ms');
    expect(guestOf(one)).toMatchObject({ isRunning: false, starts: 1 });
  });

  test('of a suspended server has the memory of its save, and leaves it suspended', async () => {
    const { one, answer } = await taken({ vm_state: 'suspended', power_state: 7 }, (it) => {
      Object.assign(guestOf(it), { isRunning: false, save: { memory: 1, disks: { root: 'as after start 1' } } });
      it.node.world.still.add(it.uuid);
    });
    expect(answer.error).toBeUndefined();
    expect([...one.node.world.nodes.values()]).toMatchObject([{ guest: 'running', memory: { sum: 'memory 1' } }]);
    expect(guestOf(one)).toMatchObject({ isRunning: false, save: { memory: 1 } });
    expect([rowOf(one.node), one.node.world.still.size]).toMatchObject([{ vm_state: 'suspended', task_state: null }, 1]);
  });

  test('whose disks cannot be kept comes to nothing, and the guest goes on', async () => {
    const { one, answer } = await taken({}, ({ node }) => { node.deps.storage.createCheckpoint = () => Promise.reject(new AgentError('zfs-out-of-space', 'out of space')); });
    expect(answer.error).toBeDefined();
    expectNothing(one);
    expect([guestOf(one), rowOf(one.node)]).toMatchObject([{ isRunning: true, memory: 1, starts: 1 }, { vm_state: 'active', task_state: null, power_state: 1 }]);
    expect(guestOf(one).save).toBeUndefined();
  });

  test('that the guest does not survive shows it as it is, for the power sync to stop', async () => {
    const { one } = await taken({}, (it) => {
      it.node.deps.driver.suspend = async () => {
        guestOf(it).isRunning = false;
        throw new AgentError('guest-suspend-failed', 'it ended', { wire: novaFaults.instanceSuspendFailure('it ended') });
      };
    });
    expectNothing(one);
    expect([rowOf(one.node), one.node.rpc.faults.length]).toMatchObject([{ vm_state: 'active', task_state: null, power_state: 4 }, 1]);
  });

  test('from which the guest does not go on leaves its server suspended, with the save: resume tries again', async () => {
    const { one } = await taken({}, ({ node }) => { node.world.restores = 'refused'; });
    expect([one.node.world.nodes.size, one.node.world.keptFiles.size, one.node.glanceCalls.at(-1)]).toEqual([0, 0, `remove ${image}`]);
    expect([guestOf(one), rowOf(one.node)]).toMatchObject([{ isRunning: false, save: { memory: 1 } }, { vm_state: 'suspended', task_state: null, power_state: 7, system_metadata: { old_vm_state: 'active' } }]);
    one.node.world.restores = 'taken';
    Object.assign(rowOf(one.node), { task_state: 'resuming' });
    expect((await one.send('resume_instance')).error).toBeUndefined();
    expect([guestOf(one), rowOf(one.node)]).toMatchObject([{ isRunning: true, memory: 1, starts: 1 }, { vm_state: 'active', power_state: 1 }]);
  });
});

describe('back to a checkpoint with memory', () => {
  const rebuild = { orig_image_ref: 'base', image_ref: image, injected_files: [], new_pass: 'x', orig_sys_metadata: {}, bdms: null, recreate: false, preserve_ephemeral: false };

  /** Checkpointed with memory, then started cold: the guest remembers something else. */
  async function returned(properties: Readonly<Record<string, string>>, prepare: (one: Scene) => void = () => undefined): Promise<{ one: Scene; answer: Answer }> {
    const { one } = await taken({ config_drive: '' });
    Object.assign(guestOf(one), { memory: 2, starts: 2 });
    one.node.image = { status: 'active', properties: { bhyve_checkpoint_id: image, bhyve_checkpoint_host: 'fakea', bhyve_checkpoint_instance: one.uuid, ...properties } };
    Object.assign(rowOf(one.node), { task_state: 'rebuilding' });
    one.node.glanceCalls.length = 0;
    prepare(one);
    return { one, answer: await one.send('rebuild_instance', rebuild) };
  }
  const expectUntouched = (one: Scene): void => {
    expect([guestOf(one), one.node.world.disks.get(one.uuid)?.get('root')?.madeFor, rowOf(one.node)]).toMatchObject([{ isRunning: true, memory: 2 }, null, { vm_state: 'active', task_state: null }]);
  };

  test('the guest goes on from there, on the disks of that moment, and nothing of a save is left', async () => {
    const { one, answer } = await returned(full);
    expect(answer.error).toBeUndefined();
    expect([guestOf(one), rowOf(one.node)]).toMatchObject([{ isRunning: true, memory: 1, starts: 2 }, { vm_state: 'active', task_state: null, power_state: 1 }]);
    expect([guestOf(one).save, one.node.world.still.size, one.node.world.torn, one.node.world.keptFiles.size]).toEqual([undefined, 0, [], 1]);
    expect(one.node.world.disks.get(one.uuid)?.get('root')?.madeFor).toEqual(expect.any(String));
  });

  test('is without memory when the image says disk by now', async () => {
    const { one, answer } = await returned({ bhyve_checkpoint: 'disk' }, ({ node }) => { node.deps.driver.whyNoReturn = () => Promise.reject(new Error('not asked')); });
    expect(answer.error).toBeUndefined();
    expect(guestOf(one)).toMatchObject({ isRunning: true, starts: 3, memory: 3 });
  });

  test('is refused with what is in the way and the way out, while the guest runs', async () => {
    const { one, answer } = await returned(full, ({ node }) => { node.deps.driver.whyNoReturn = async () => 'its save was made with something else: the bhyve program'; });
    expect(reasonOf(answer)).toMatch(/made with something else: the bhyve program; with the property bhyve_checkpoint=disk on the image the server goes to its disks alone/);
    expectUntouched(one);
  });

  test('is refused when the files of the memory are lost, or the disks have been resized since', async () => {
    const lost = await returned(full, ({ node }) => node.world.keptFiles.clear());
    expect(reasonOf(lost.answer)).toMatch(/its memory is not on this host any more/);
    expectUntouched(lost.one);
    const grown = await returned(full, ({ node, uuid }) => {
      const disks = node.world.disks.get(uuid)!;
      disks.set('root', { ...disks.get('root')!, bytes: 2n << 30n });
    });
    expect(reasonOf(grown.answer)).toMatch(/disks have another size than those of the checkpoint/);
    expectUntouched(grown.one);
  });

  test('is refused for a checkpoint that was made of the disks of a running guest', async () => {
    const { one, answer } = await returned({ ...full, bhyve_checkpoint_id: other }, ({ node, uuid }) => void node.deps.storage.createCheckpoint(uuid, parseCheckpointId(other), 'running'));
    expect(reasonOf(answer)).toMatch(/it was made without memory/);
    expectUntouched(one);
  });

  test('brings back the disks of a stopped server, which stays off, and says so in the log', async () => {
    const { one, answer } = await returned(full, (it) => {
      guestOf(it).isRunning = false;
      Object.assign(rowOf(it.node), { vm_state: 'stopped', power_state: 4 });
    });
    expect(answer.error).toBeUndefined();
    expect([guestOf(one).isRunning, guestOf(one).save, rowOf(one.node)['vm_state']]).toEqual([false, undefined, 'stopped']);
    expect(one.node.world.disks.get(one.uuid)?.get('root')?.madeFor).toEqual(expect.any(String));
    expect(one.node.log.lines().map(({ msg }) => msg)).toContain('memory of the checkpoint not used: the server is off');
  });

  test('that bhyve does not take leaves the server suspended on the disks of the checkpoint, to be tried again', async () => {
    const { one, answer } = await returned(full, ({ node }) => { node.world.restores = 'refused'; });
    expect(answer.error).toBeDefined();
    expect([guestOf(one), rowOf(one.node)]).toMatchObject([{ isRunning: false, save: { memory: 1 } }, { vm_state: 'suspended', task_state: null }]);
    one.node.world.restores = 'taken';
    Object.assign(rowOf(one.node), { task_state: 'resuming' });
    expect((await one.send('resume_instance')).error).toBeUndefined();
    expect([guestOf(one), one.node.world.torn]).toMatchObject([{ isRunning: true, memory: 1 }, []]);
  });
});

test('files of checkpoints go with them, and those of none with the next look; never while something else is done, nor without the disks', async () => {
  const { one } = await taken();
  const { node, uuid } = one;
  const duty = unwantedCheckpoints(node.deps);
  node.world.keptFiles.set(other, { instance: uuid, memory: 1, variablesSince: null });
  await node.deps.gate.run(uuid, 'rebuild', () => duty.run(never));
  expect(node.world.keptFiles.size).toBe(2);
  const disks = node.world.disks.get(uuid)!;
  node.world.disks.delete(uuid);
  await duty.run(never);
  expect(node.world.keptFiles.size).toBe(2);
  node.world.disks.set(uuid, disks);
  await duty.run(never);
  expect([...node.world.keptFiles.keys()]).toEqual([image]);
  node.goneImages.add(image as never);
  await duty.run(never);
  expect([node.world.keptFiles.size, node.world.nodes.size]).toEqual([0, 0]);
});
