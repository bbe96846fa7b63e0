/** What suspend and resume tell Nova when things do not go the usual way, and what other requests make of a suspended server. */
import { describe, expect, test } from 'vitest';
import { syncPowerState } from '../../../src/compute/index.js';
import { AgentError, wireFaultOf } from '../../../src/lib/errors.js';
import { parseInstanceUuid } from '../../../src/lib/ids.js';
import { scene, type Scene } from '../../contract/support/scene.js';
import { instanceWire, messageOf, type Answer } from '../../contract/support/compute-node.js';
import type { Guest } from '../../sim/world.js';

type Data = Record<string, unknown>;
type Setting = Parameters<typeof scene>[1]['guest'];
const rowOf = (one: Scene): Data => one.node.rpc.instances[0] ?? {};
const events = (one: Scene): unknown[] => one.node.rpc.events.map(({ event, outcome }) => `${String(event)} ${outcome}`);
const guestOf = (one: Scene): Guest | undefined => one.node.guest(String(one.row['uuid']));
const heldStill = (one: Scene): boolean => one.node.world.still.size > 0;

async function play(operation: 'suspend' | 'resume', guest: Setting, prepare: (one: Scene) => void = () => undefined): Promise<{ one: Scene; answer: Answer }> {
  const one = await scene(operation, { guest });
  prepare(one);
  const answer = await one.node.receive(one.message);
  await one.node.settled();
  return { one, answer };
}

describe('a suspend', () => {
  test('saves the guest, holds its disks still and leaves its taps and its allocation', async () => {
    const { one } = await play('suspend', 'running');
    expect(guestOf(one)).toMatchObject({ isRunning: false, save: { memory: 1, disks: { root: 'as after start 1' } } });
    expect(rowOf(one)).toMatchObject({ vm_state: 'suspended', task_state: null, power_state: 7, system_metadata: { old_vm_state: 'active' } });
    expect([one.node.taps.size, one.node.placement.consumers.has(String(one.row['uuid'])), heldStill(one)]).toEqual([1, true, true]);
  });

  test('of a guest that would lose something is refused in words, before anything was touched', async () => {
    const { one, answer } = await play('suspend', 'running', ({ node }) => { node.deps.driver.whyNoSuspend = async () => 'nvme in slot 3 would be lost'; });
    expect(wireFaultOf(answer.error)).toMatchObject({ className: 'InstanceSuspendFailure', message: 'Failed to suspend instance: nvme in slot 3 would be lost' });
    expect(rowOf(one)).toMatchObject({ vm_state: 'active', task_state: null, power_state: 1 });
    expect([guestOf(one)?.isRunning, guestOf(one)?.save, one.node.rpc.faults[0]?.['message']]).toEqual([true, undefined, 'Failed to suspend instance: nvme in slot 3 would be lost']);
    expect(events(one)).toEqual(['compute_suspend_instance started', 'compute_suspend_instance Error']);
  });

  test('of a server on qcow2 disks is refused before anything was touched', async () => {
    const { one, answer } = await play('suspend', 'running', ({ node }) => { node.deps.storage.formOf = async () => 'qcow2'; });
    expect(wireFaultOf(answer.error)?.message).toMatch(/its disks are qcow2 files/);
    expect([guestOf(one)?.isRunning, guestOf(one)?.save, rowOf(one)['vm_state']]).toEqual([true, undefined, 'active']);
  });

  test('that bhyve gives up keeps the server active, with the reason', async () => {
    const { one } = await play('suspend', 'running', ({ node }) => { node.deps.driver.suspend = () => Promise.reject(new AgentError('guest-suspend-failed', 'bhyve could not save it')); });
    expect(rowOf(one)).toMatchObject({ vm_state: 'active', task_state: null, power_state: 1 });
    expect(one.node.rpc.faults).toHaveLength(1);
  });

  test('that the guest does not survive shows it as it is, for the power sync to stop', async () => {
    const { one } = await play('suspend', 'running', ({ node, row }) => {
      node.deps.driver.suspend = async () => {
        Object.assign(node.guest(String(row['uuid'])) ?? {}, { isRunning: false });
        throw new AgentError('guest-suspend-failed', 'it ended while it was being saved');
      };
    });
    expect(rowOf(one)).toMatchObject({ vm_state: 'active', task_state: null, power_state: 4 });
  });

  test('whose task somebody has taken away leaves the guest running and the row to them', async () => {
    const { one } = await play('suspend', 'running', (scene_) => { Object.assign(rowOf(scene_), { task_state: null }); });
    expect(guestOf(one)).toMatchObject({ isRunning: true });
    expect(guestOf(one)?.save).toBeUndefined();
    expect(rowOf(one)).toMatchObject({ vm_state: 'active', task_state: null });
  });

  test('of a server that is saved already only says so', async () => {
    const { one } = await play('suspend', 'suspended');
    expect(rowOf(one)).toMatchObject({ vm_state: 'suspended', task_state: null, power_state: 7 });
    expect(guestOf(one)?.save).toBeDefined();
  });

  test('of a server that is off keeps it active, for the power sync to stop', async () => {
    const { one, answer } = await play('suspend', 'stopped');
    expect(wireFaultOf(answer.error)?.className).toBe('InstanceNotRunning');
    expect(rowOf(one)).toMatchObject({ vm_state: 'active', task_state: null, power_state: 4 });
  });
});

describe('a resume', () => {
  test('brings the guest back with its memory, and nothing of the save is left', async () => {
    const { one } = await play('resume', 'suspended');
    expect(guestOf(one)).toMatchObject({ isRunning: true, starts: 1, memory: 1 });
    expect([guestOf(one)?.save, heldStill(one)]).toEqual([undefined, false]);
    expect(rowOf(one)).toMatchObject({ vm_state: 'active', task_state: null, power_state: 1 });
    expect(rowOf(one)['system_metadata']).not.toHaveProperty('old_vm_state');
  });

  test('plugs taps that are gone after a reset of the host', async () => {
    const { one } = await play('resume', 'suspended', ({ node }) => {
      node.taps.clear();
      node.world.taps.clear();
    });
    expect([guestOf(one)?.isRunning, one.node.taps.size]).toEqual([true, 1]);
  });

  test('onto changed disks is refused, and server and save stay', async () => {
    const { one, answer } = await play('resume', 'suspended', ({ node }) => node.world.still.clear());
    expect(wireFaultOf(answer.error)).toMatchObject({ className: 'InstanceResumeFailure' });
    expect(rowOf(one)).toMatchObject({ vm_state: 'suspended', task_state: null, power_state: 7 });
    expect([guestOf(one)?.isRunning, guestOf(one)?.save !== undefined, one.node.taps.size]).toEqual([false, true, 1]);
  });

  test('that bhyve does not take leaves the server suspended with its save, and what the guest is now', async () => {
    const { one } = await play('resume', 'suspended', ({ node }) => {
      node.world.restores = 'refused';
      node.deps.driver.powerState = async () => 4;
    });
    expect(rowOf(one)).toMatchObject({ vm_state: 'suspended', task_state: null, power_state: 4 });
    expect([guestOf(one)?.save !== undefined, heldStill(one)]).toEqual([true, true]);
    expect(one.node.rpc.faults[0]?.['message']).toMatch(/bhyve did not take the save back/);
  });

  test('without a save says what is left to do', async () => {
    const { one, answer } = await play('resume', 'stopped');
    expect(wireFaultOf(answer.error)).toMatchObject({ className: 'InstanceResumeFailure', message: expect.stringMatching(/no save of it; a hard reboot/) as unknown });
    expect(rowOf(one)).toMatchObject({ vm_state: 'suspended', task_state: null });
  });

  test('of a guest whose port is gone is refused by the port', async () => {
    const { one, answer } = await play('resume', 'suspended', ({ node }) => node.neutron.ports.clear());
    expect(wireFaultOf(answer.error)?.message).toMatch(/its port [0-9a-f-]{36} is gone/);
    expect(guestOf(one)?.save).toBeDefined();
  });

  test('of a host that lost its self-test goes on: the save knows its host', async () => {
    const { one } = await play('resume', 'suspended', ({ node }) => { node.world.canSave = false; });
    expect(rowOf(one)).toMatchObject({ vm_state: 'active', power_state: 1 });
  });
});

describe('a suspended server', () => {
  const told = async (rpc: string, task: string, args: Data = {}): Promise<Scene> => {
    const one = await scene('resume', { guest: 'suspended' });
    Object.assign(rowOf(one), { task_state: task });
    await one.node.receive(messageOf(rpc, { instance: instanceWire(rowOf(one)), ...args }));
    await one.node.settled();
    return one;
  };

  test('is started cold by a hard reboot, which gives the save up', async () => {
    const one = await told('reboot_instance', 'rebooting_hard', { block_device_info: null, reboot_type: 'HARD' });
    expect(rowOf(one)).toMatchObject({ vm_state: 'active', task_state: null, power_state: 1 });
    expect([guestOf(one)?.starts, guestOf(one)?.memory, guestOf(one)?.save, heldStill(one)]).toEqual([2, 2, undefined, false]);
  });

  test('that Nova takes for active is stopped, and its save is there still', async () => {
    const one = await scene('resume', { guest: 'suspended' });
    Object.assign(rowOf(one), { vm_state: 'active', task_state: null });
    await syncPowerState(one.node.deps, parseInstanceUuid(one.row['uuid']), { isUrgent: false });
    expect(rowOf(one)).toMatchObject({ vm_state: 'stopped' });
    expect(guestOf(one)?.save).toBeDefined();
  });

  test('is left alone by the power sync', async () => {
    const one = await scene('resume', { guest: 'suspended' });
    Object.assign(rowOf(one), { vm_state: 'suspended', task_state: null, power_state: 1 });
    await syncPowerState(one.node.deps, parseInstanceUuid(one.row['uuid']), { isUrgent: false });
    expect(rowOf(one)).toMatchObject({ vm_state: 'suspended', task_state: null, power_state: 7 });
    expect(guestOf(one)?.save).toBeDefined();
  });
});
