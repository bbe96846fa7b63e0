/**
 * What we tell Nova's services during an operation equals, step by step, what the recorded nova-compute 26.2 told them when it got the
 * same message: same calls in the same order, with the same expected states, fields and values. What may differ is in support/differences.ts.
 */
import { describe, expect, test } from 'vitest';
import { differences, reconcile, type Difference } from './support/differences.js';
import { scene, type Scene } from './support/scene.js';
import { stepsOf } from './support/steps.js';
import { createTestNode, type TestNode } from './support/compute-node.js';
import { recorded, rowIn } from './support/recorded.js';
import type { WireMessage } from '../../src/rpc/index.js';

type Setting = Parameters<typeof scene>[1];

/** What we sent because of a message: everything under its request id. */
const ourSteps = ({ node, row }: Scene, message: WireMessage): string[] =>
  stepsOf(node.sent().filter((one) => one.context.requestId === message['_context_request_id']), row);

const needed = new Set<Difference>();

const operations: readonly (readonly [name: string, setting: Setting])[] = [
  ['create', { guest: 'none' }],
  ['create-no-network', { guest: 'none' }],
  ['create-bind-fails', { guest: 'none', cannotBind: true }],
  ['delete', { guest: 'running' }],
  ['delete-no-network', { guest: 'running' }],
  ['stop', { guest: 'running' }],
  ['start', { guest: 'stopped' }],
  ['reboot-soft', { guest: 'running' }],
  ['reboot-hard', { guest: 'running' }],
  ['pause', { guest: 'running' }],
  ['unpause', { guest: 'paused' }],
  ['suspend', { guest: 'running' }],
  ['resume', { guest: 'suspended' }],
  ['snapshot', { guest: 'running' }],
  ['backup', { guest: 'running' }],
  ['shelve', { guest: 'running' }],
  ['unshelve', { guest: 'none' }],
  ['console-output', { guest: 'running' }],
  ['console-vnc', { guest: 'running' }],
  ['console-vnc-connect', { guest: 'running' }],
  ['diagnostics', { guest: 'running' }],
  ['port-update-event', { guest: 'running' }],
  ['rebuild', { guest: 'running' }],
  ['rescue', { guest: 'running' }],
  ['unrescue', { guest: 'running' }],
  ['resize', { guest: 'running', isOneHost: true }],
  ['resize-confirm', { guest: 'running', isOneHost: true }],
  ['resize-revert', { guest: 'running', isOneHost: true }],
];

describe('an operation tells Nova what the recorded nova-compute told it', () => {
  test.each(operations)('%s', async (name, setting) => {
    const play = await scene(name, setting);
    await play.node.receive(play.message);
    await play.node.settled();
    const pair = reconcile(name, stepsOf(play.sentFor(play.message), play.row), ourSteps(play, play.message));
    pair.needed.forEach((one) => needed.add(one));
    expect(pair.ours).toEqual(pair.recorded);
  });

  test('every difference that is allowed is needed by some recording', () => {
    expect(differences.filter((one) => !needed.has(one)).map((one) => one.why)).toEqual([]);
  });
});

/** Data of the object that a call was answered with. */
const dataOf = (value: unknown): Record<string, unknown> => (value as Record<string, Record<string, unknown>>)['nova_object.data'] ?? {};
const resultOf = (play: Scene): unknown => play.answer(play.message)?.['result'];

describe('a call is answered in the recorded form', () => {
  test('a VNC console has the same keys, and an address that the browser can follow', async () => {
    const play = await scene('console-vnc', { guest: 'running' });
    const { result } = await play.node.receive(play.message);
    const [recorded, ours] = [resultOf(play), result] as Record<string, unknown>[];
    expect(Object.keys(ours ?? {}).sort()).toEqual(Object.keys(recorded ?? {}).sort());
    const withoutToken = (one: Record<string, unknown> | undefined): string => String(one?.['access_url']).replace(String(one?.['token']), 'TOKEN');
    expect(withoutToken(ours)).toBe(withoutToken(recorded));
    expect(ours).toMatchObject({ host: '10.0.0.1', port: 5900, internal_access_path: null });
  });

  test('diagnostics are the same object, with the same fields', async () => {
    const play = await scene('diagnostics', { guest: 'running' });
    const { result } = await play.node.receive(play.message);
    const [recorded, ours] = [resultOf(play), result] as Record<string, unknown>[];
    expect([ours?.['nova_object.name'], ours?.['nova_object.version']]).toEqual([recorded?.['nova_object.name'], recorded?.['nova_object.version']]);
    expect(Object.keys(dataOf(ours)).sort()).toEqual(Object.keys(dataOf(recorded)).sort());
    expect(Object.keys(dataOf(dataOf(ours)['memory_details'])).sort()).toEqual(Object.keys(dataOf(dataOf(recorded)['memory_details'])).sort());
    expect(Object.keys(dataOf((dataOf(ours)['cpu_details'] as unknown[])[0])).sort()).toEqual(Object.keys(dataOf((dataOf(recorded)['cpu_details'] as unknown[])[0])).sort());
    expect(dataOf(ours)['driver']).toBe('libvirt');
  });

  test.each(['console-vnc-connect', 'service-disable', 'service-enable'] as const)('%s: the same value', async (operation) => {
    const play = await scene(operation, { guest: 'none' }).catch(() => null);
    const { node, message, result } = play === null ? await hostQuestion(operation) : { ...play, result: resultOf(play) };
    // The recorded console was on another port.
    const ours = operation === 'console-vnc-connect' ? await consoleCheck(message) : (await node.receive(message)).result;
    expect(ours).toBe(result);
    expect(result).not.toBeUndefined();
  });

  test('the console log is text with the last lines', async () => {
    const play = await scene('console-output', { guest: 'running' });
    expect((await play.node.receive(play.message)).result).toBe('one\ntwo\nthree');
    expect(typeof resultOf(play)).toBe('string');
  });

  test("the host's uptime is told, where the recorded driver could not", async () => {
    const { node, message } = await hostQuestion('hypervisor-show-uptime');
    expect((await node.receive(message)).result).toMatch(/ up .*load averages: /);
  });
});

describe('events that come in beside an operation', () => {
  test("a build waits for the recorded network-vif-plugged, and refreshes the cache on network-changed as Nova's compute did", async () => {
    const play = await scene('create', { guest: 'none' });
    const events = play.incoming.filter((one) => one['method'] === 'external_instance_event');
    expect(events).toHaveLength(2);
    const uuid = String(play.row['uuid']);
    const seen: string[] = [];
    play.node.onPlug = async () => {
      for (const event of events) {
        seen.push(String(play.node.rpc.instances[0]?.['vm_state']));
        await play.node.receive(event);
      }
    };
    await play.node.receive(play.message);
    await play.node.settled();
    expect(seen).toEqual(['building', 'building']);
    expect(play.node.guest(uuid)?.isRunning).toBe(true);
    expect(play.node.rpc.instances[0]).toMatchObject({ vm_state: 'active', task_state: null, power_state: 1, host: 'fakea' });
    for (const event of events) {
      expect(ourSteps(play, event)).toEqual(stepsOf(play.sentFor(event), play.row));
    }
  });

  test('the event about the deleted port neither disturbs a delete nor brings the server back', async () => {
    const play = await scene('delete', { guest: 'running' });
    const [event] = play.incoming.filter((one) => one['method'] === 'external_instance_event');
    await play.node.receive(play.message);
    const before = play.node.sent().length;
    await play.node.receive(event ?? {});
    expect(stepsOf(play.node.sent().slice(before), play.row)).toEqual(stepsOf(play.sentFor(event ?? {}), play.row));
    expect(play.node.rpc.instances[0]).toMatchObject({ vm_state: 'deleted', deleted: true });
  });
});

describe('what is left in the cloud and on the host', () => {
  test('a deleted server has no row, port, allocation, disk, tap or folder', async () => {
    const play = await scene('delete', { guest: 'running' });
    const uuid = String(rowIn(play.message)['uuid']);
    expect([play.node.placement.consumers.has(uuid), play.node.neutron.ports.size, play.node.taps.size, play.node.world.disks.size]).toEqual([true, 1, 1, 1]);
    await play.node.receive(play.message);
    expect([play.node.placement.consumers.has(uuid), play.node.neutron.ports.size, play.node.taps.size, play.node.world.disks.size, play.node.world.folders.size]).toEqual([false, 0, 0, 0, 0]);
  });

  test('a build that could not bind leaves neither port nor allocation, and the next host is told so', async () => {
    const play = await scene('create-bind-fails', { guest: 'none', cannotBind: true });
    await play.node.receive(play.message);
    const uuid = String(play.row['uuid']);
    expect([play.node.placement.consumers.has(uuid), play.node.neutron.ports.size, play.node.world.disks.size, play.node.world.folders.size]).toEqual([false, 0, 0, 0]);
    const cast = play.node.sent().find((one) => one.method === 'build_instances');
    const [instance] = cast?.args['instances'] as unknown[];
    expect(dataOf(instance)).toMatchObject({ host: null, node: null, task_state: 'scheduling', system_metadata: { network_allocated: 'False' } });
    expect(cast?.target).toMatchObject({ topic: 'conductor', namespace: 'compute_task', version: '1.19' });
  });
});

/** A message about the host itself: no instance in it. */
async function hostQuestion(operation: string): Promise<{ node: TestNode; message: WireMessage; result: unknown }> {
  const play = recorded(operation);
  const [message] = play.incoming;
  if (message === undefined) throw new Error(`nothing was asked in ${operation}`);
  return { node: await createTestNode({ host: play.host }), message, result: play.answer(message)?.['result'] };
}

async function consoleCheck(message: WireMessage): Promise<unknown> {
  const play = await scene('console-vnc-connect', { guest: 'running' });
  return (await play.node.receive({ ...message, args: { ...(message['args'] as object), port: '5900' } })).result;
}
