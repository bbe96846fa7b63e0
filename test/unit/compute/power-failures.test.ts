import { describe, expect, test } from 'vitest';
import { AgentError, wireFaultOf } from '../../../src/lib/errors.js';
import { createTestNode, instanceWire, messageOf, type Answer, type TestNode } from '../../contract/support/compute-node.js';
import { scene, type Scene } from '../../contract/support/scene.js';
import { stepsOf } from '../../contract/support/steps.js';

type Data = Record<string, unknown>;
const rowOf = (node: TestNode): Data => node.rpc.instances[0] ?? {};
const events = (node: TestNode): unknown[] => node.rpc.events.map((one) => one.outcome);
const faults = (node: TestNode): unknown[] => node.rpc.faults.map((fault) => fault['message']);
const broken = (): Promise<never> => Promise.reject(new AgentError('guest-start-failed', 'vm_setup_memory: Cannot allocate memory'));

async function play(operation: string, guest: 'running' | 'stopped', prepare: (node: TestNode) => void = () => undefined): Promise<{ answer: Answer; node: TestNode; one: Scene; starts: number }> {
  const one = await scene(operation, { guest });
  prepare(one.node);
  const answer = await one.node.receive(one.message);
  await one.node.settled();
  return { answer, node: one.node, one, starts: one.node.guest(String(one.row['uuid']))?.starts ?? 0 };
}

describe('a start that fails', () => {
  test('leaves the server stopped, with a fault, an error event and no task', async () => {
    const { node } = await play('start', 'stopped', (one) => { one.deps.driver.start = broken; });
    expect(rowOf(node)).toMatchObject({ vm_state: 'stopped', task_state: null });
    expect(faults(node)).toEqual(['The compute host could not do this: guest-start-failed']);
    expect(events(node)).toEqual(['started', 'Error']);
    expect(node.taps.size).toBe(0);
  });
});

describe('a stop', () => {
  test('of a guest that is off already is fine, also when somebody else has cleared the task', async () => {
    const { node } = await play('stop', 'stopped', (one) => { Object.assign(rowOf(one), { task_state: null }); });
    expect(rowOf(node)).toMatchObject({ vm_state: 'stopped', task_state: null, power_state: 4 });
    expect(events(node)).toEqual(['started', 'Success']);
  });

  test('whose server is being deleted meanwhile leaves the row to the delete', async () => {
    const { node } = await play('stop', 'running', (one) => { Object.assign(rowOf(one), { task_state: 'deleting' }); });
    expect(rowOf(node)).toMatchObject({ vm_state: 'active', task_state: 'deleting' });
    expect(events(node)).toEqual(['started', 'Error']);
  });

  test.each([[true, 'image', { image_os_shutdown_timeout: '7' }, 7000], [true, 'option', {}, 60_000], [false, 'nobody', {}, 0]])(
    'with clean_shutdown %s gives the guest the time that the %s says', async (isClean, _who, metadata, graceMs) => {
      const asked: number[] = [];
      const one = await scene('stop', { guest: 'running' });
      one.node.deps.driver.stop = async (_instance, options) => {
        asked.push(options.graceMs);
        return null;
      };
      const { system_metadata: _brought, ...row } = rowOf(one.node);
      Object.assign(rowOf(one.node), { system_metadata: metadata });
      await one.node.receive(messageOf('stop_instance', { instance: instanceWire(row), clean_shutdown: isClean }));
      expect(asked).toEqual([graceMs]);
    });
});

describe('a reboot', () => {
  test('that the guest does not answer becomes a hard one', async () => {
    const { node, starts } = await play('reboot-soft', 'running', (one) => { one.deps.driver.softReboot = async () => false; });
    expect(rowOf(node)).toMatchObject({ vm_state: 'active', task_state: null });
    expect(starts).toBe(2);
  });

  test('of a guest that answers does not touch its disks and taps', async () => {
    const defined: unknown[] = [];
    const { node, starts } = await play('reboot-soft', 'running', (one) => { one.deps.driver.define = async (definition) => void defined.push(definition); });
    expect([starts, defined, node.taps.size]).toEqual([2, [], 1]);
  });

  test('that fails while the guest still runs leaves a fault, but no error state', async () => {
    const { node, answer } = await play('reboot-hard', 'running', (one) => { one.deps.driver.stop = () => Promise.reject(new AgentError('guest-stop-failed', 'x')); });
    expect(answer.error).toBeUndefined();
    expect(rowOf(node)).toMatchObject({ vm_state: 'active', task_state: null, power_state: 1 });
    expect(faults(node)).toHaveLength(1);
    expect(events(node)).toEqual(['started', 'Success']);
  });

  test('that loses the guest puts the server into error', async () => {
    const { node } = await play('reboot-hard', 'running', (one) => { one.deps.driver.start = broken; });
    expect(rowOf(node)).toMatchObject({ vm_state: 'error', task_state: null, power_state: 4 });
    expect(faults(node)).toHaveLength(1);
    expect(events(node)).toEqual(['started', 'Error']);
    expect(node.world.disks.size).toBe(1);
  });

  test('hard repairs a server in error', async () => {
    const { node } = await play('reboot-hard', 'stopped', (one) => { Object.assign(rowOf(one), { vm_state: 'error', power_state: 4 }); });
    expect(rowOf(node)).toMatchObject({ vm_state: 'active', task_state: null, power_state: 1 });
  });
});

describe('a delete', () => {
  test.each([['stop', 'stop'], ['reboot-soft', 'softReboot']] as const)('does not wait until a guest has shut down at its leisure (%s)', async (operation, method) => {
    let answer: Promise<Answer> | undefined;
    const { node } = await play(operation, 'running', (one) => {
      const stop = one.deps.driver.stop.bind(one.deps.driver);
      one.deps.driver[method] = (_instance, { signal }) => new Promise<never>((_resolve, reject) => {
        signal?.addEventListener('abort', () => reject(signal.reason as Error));
        one.deps.driver.stop = stop; // the delete's own
        Object.assign(rowOf(one), { task_state: 'deleting' });
        answer = one.receive(messageOf('terminate_instance', { instance: instanceWire(rowOf(one)), bdms: null }));
      });
    });
    expect((await answer)?.error).toBeUndefined();
    expect(rowOf(node)).toMatchObject({ deleted: true, vm_state: 'deleted' });
    expect(faults(node)).toEqual([]);
    expect([node.world.disks.size, node.taps.size]).toEqual([0, 0]);
  });

  test.each(['building', 'stopped', 'error', 'paused', 'rescued', 'shelved'])('works in vm_state %s, without a guest', async (state) => {
    const one = await scene('delete', { guest: 'none' });
    Object.assign(rowOf(one.node), { vm_state: state });
    await one.node.receive(one.message);
    expect(rowOf(one.node)).toMatchObject({ deleted: true, vm_state: 'deleted' });
    expect(one.node.neutron.ports.size).toBe(0);
  });

  test('that cannot remove the allocation keeps the row, in error: it is the only record of who owns it', async () => {
    const { node } = await play('delete', 'running', (one) => {
      one.placement.before = (request) => { if (request.startsWith('deleteAllocations')) throw new AgentError('http-unreachable', 'Placement is away'); };
    });
    expect(rowOf(node)).toMatchObject({ vm_state: 'error', task_state: null });
    expect(rowOf(node)['deleted']).not.toBe(true);
    expect(events(node)).toEqual(['started', 'Error']);
  });

  test('that cannot end the guest touches neither its ports nor its disks', async () => {
    const { node } = await play('delete', 'running', (one) => { one.deps.driver.stop = () => Promise.reject(new AgentError('guest-stop-failed', 'x')); });
    expect(rowOf(node)).toMatchObject({ vm_state: 'error', task_state: null });
    expect([node.neutron.ports.size, node.world.disks.size, node.taps.size]).toEqual([1, 1, 1]);
  });

  test('of a row that nova-api deleted alone still clears the host, and is no error', async () => {
    const { node, answer } = await play('delete', 'running', (one) => void one.rpc.instances.splice(0));
    expect(answer.error).toBeUndefined();
    expect([node.world.disks.size, node.world.folders.size, node.taps.size]).toEqual([0, 0, 0]);
    expect(node.rpc.faults).toEqual([]);
  });

  test('twice at once is done once', async () => {
    const one = await scene('delete', { guest: 'running' });
    await Promise.all([one.node.receive(one.message), one.node.receive({ ...one.message, _unique_id: 'e'.repeat(32) })]);
    expect(one.node.sent().filter((sent) => sent.args['objmethod'] === 'destroy')).toHaveLength(1);
    expect(one.node.deps.journal.unfinished()).toEqual([]);
  });
});

test('arguments that cannot be read are answered with TypeError and leave nothing open in the journal', async () => {
  const node = await createTestNode();
  const { error } = await node.receive(messageOf('stop_instance', { instance: { not: 'an object' }, clean_shutdown: true }));
  expect(wireFaultOf(error)).toMatchObject({ className: 'TypeError', module: 'builtins' });
  expect(node.deps.journal.unfinished()).toEqual([]);
});

test.each(['2023.2', '2026.1'])('a build in a cloud of %s names the compute_id with the node, and takes it back on failure', async (release) => {
  const fine = await scene('create', { guest: 'none', release });
  await fine.node.receive(fine.message);
  const id = fine.node.rpc.computeNodes[0]?.['id'];
  expect(rowOf(fine.node)).toMatchObject({ vm_state: 'active', host: 'fakea', node: 'fakea', compute_id: id });
  const failing = await scene('create', { guest: 'none', release });
  failing.node.deps.driver.start = broken;
  await failing.node.receive(failing.message);
  expect(rowOf(failing.node)).toMatchObject({ host: null, node: null, compute_id: null, task_state: 'scheduling' });
  expect(stepsOf(failing.node.sent(), failing.row).some((line) => line.startsWith('build_instances'))).toBe(true);
});
