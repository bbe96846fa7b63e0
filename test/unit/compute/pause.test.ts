/** What pause, unpause, crash dump and password requests tell Nova when things do not go the usual way. */
import { describe, expect, test } from 'vitest';
import { AgentError, wireFaultOf } from '../../../src/lib/errors.js';
import { stepsOf } from '../../contract/support/steps.js';
import { scene, type Scene } from '../../contract/support/scene.js';
import { instanceWire, messageOf, type Answer } from '../../contract/support/compute-node.js';

type Data = Record<string, unknown>;
type Guest = Parameters<typeof scene>[1]['guest'];
const rowOf = (one: Scene): Data => one.node.rpc.instances[0] ?? {};
const events = (one: Scene): unknown[] => one.node.rpc.events.map(({ event, outcome }) => `${String(event)} ${outcome}`);
const guestOf = (one: Scene): unknown => one.node.guest(String(one.row['uuid']));

async function play(operation: string, guest: Guest, prepare: (one: Scene) => void = () => undefined): Promise<{ one: Scene; answer: Answer }> {
  const one = await scene(operation, { guest });
  prepare(one);
  const answer = await one.node.receive(one.message);
  await one.node.settled();
  return { one, answer };
}

describe('a pause', () => {
  test('of a guest that has ended keeps the server active, clears the task and says why', async () => {
    const { one, answer } = await play('pause', 'stopped');
    expect(rowOf(one)).toMatchObject({ vm_state: 'active', task_state: null });
    expect(wireFaultOf(answer.error)?.className).toBe('InstanceNotRunning');
    expect(events(one)).toEqual(['compute_pause_instance started', 'compute_pause_instance Error']);
  });

  test('whose row somebody else has taken lets the guest go on, and leaves the row to them', async () => {
    const { one } = await play('pause', 'running', (scene_) => {
      const pause = scene_.node.deps.driver.pause.bind(scene_.node.deps.driver);
      scene_.node.deps.driver.pause = async (instance) => {
        await pause(instance);
        Object.assign(rowOf(scene_), { task_state: 'deleting' });
      };
    });
    expect(guestOf(one)).toMatchObject({ isRunning: true, isPaused: false });
    expect(rowOf(one)).toMatchObject({ vm_state: 'active', task_state: 'deleting' });
  });

  test('that the process does not obey keeps the server active', async () => {
    const { one } = await play('pause', 'running', (scene_) => { scene_.node.deps.driver.pause = () => Promise.reject(new AgentError('guest-pause-failed', 'x')); });
    expect(rowOf(one)).toMatchObject({ vm_state: 'active', task_state: null });
    expect(one.node.rpc.faults).toHaveLength(1);
  });
});

test('an unpause of a guest that ended while it was paused keeps the server paused, for the power sync to stop', async () => {
  const { one } = await play('unpause', 'stopped');
  expect(rowOf(one)).toMatchObject({ vm_state: 'paused', task_state: null });
  expect(events(one)).toEqual(['compute_unpause_instance started', 'compute_unpause_instance Error']);
});

describe('a crash dump', () => {
  const trigger = async (guest: Guest): Promise<{ one: Scene; answer: Answer; nmis: unknown[] }> => {
    const one = await scene('stop', { guest });
    Object.assign(rowOf(one), { task_state: null });
    const nmis: unknown[] = [];
    const injectNmi = one.node.deps.driver.injectNmi.bind(one.node.deps.driver);
    one.node.deps.driver.injectNmi = async (instance) => {
      await injectNmi(instance);
      nmis.push(instance);
    };
    const answer = await one.node.receive(messageOf('trigger_crash_dump', { instance: instanceWire(rowOf(one)) }));
    return { one, answer, nmis };
  };

  test('is one NMI for the guest; no state changes', async () => {
    const { one, nmis } = await trigger('running');
    expect(nmis).toEqual([one.row['uuid']]);
    expect(stepsOf(one.node.sent(), one.row)).toEqual([
      `event starts: compute_trigger_crash_dump of ${String(one.row['uuid'])} on fakea`, `event ends: compute_trigger_crash_dump of ${String(one.row['uuid'])}: Success`]);
  });

  test('of a server that is off is refused with a fault', async () => {
    const { one, answer, nmis } = await trigger('stopped');
    expect(nmis).toEqual([]);
    expect(wireFaultOf(answer.error)?.className).toBe('InstanceNotRunning');
    expect(one.node.rpc.faults).toHaveLength(1);
  });
});

describe('a new password', () => {
  test.each([['running', 'NotImplementedError'], ['stopped', 'InstancePasswordSetFailed']] as const)('for a guest that is %s is refused as %s, and the task is given up', async (guest, className) => {
    const { one, answer } = await play('change-password', guest);
    const uuid = String(one.row['uuid']);
    expect(wireFaultOf(answer.error)?.className).toBe(className);
    expect(stepsOf(one.node.sent(), one.row)).toEqual([
      `event starts: compute_set_admin_password of ${uuid} on fakea`, 'Instance.save expecting updating_password: task_state=null', 'InstanceFault.create: 500 on fakea',
      `event ends: compute_set_admin_password of ${uuid}: Error`]);
    expect(rowOf(one)).toMatchObject({ vm_state: 'active', task_state: null });
  });

  test('never gets near a log, a fault or an event', async () => {
    const { one } = await play('change-password', 'running', ({ message }) => { Object.assign(message['args'] as Data, { new_pass: 'hunter2-and-more' }); });
    expect(JSON.stringify([one.node.log.lines(), one.node.rpc.faults, one.node.sent()])).not.toContain('hunter2');
  });

  test('whose server is being deleted leaves the delete its task', async () => {
    const { one } = await play('change-password', 'running', (scene_) => { Object.assign(rowOf(scene_), { task_state: 'deleting' }); });
    expect(rowOf(one)['task_state']).toBe('deleting');
  });
});
