/**
 * Requests that this host refuses, as they were recorded: the server stays what it was, its task is over at once, the action shows an error that
 * says why, and the caller gets the class that nova-api turns into the right answer (nova-contract 5.2, 17).
 */
import { describe, expect, test } from 'vitest';
import { wireFaultOf } from '../../src/lib/errors.js';
import { instanceRefusals } from '../../src/compute/refusals/table.js';
import { createTestNode, instanceWire, messageOf, providerUuid, putGuest, wireObject } from './support/compute-node.js';
import { scene, type Scene } from './support/scene.js';
import { stepsOf } from './support/steps.js';

interface Refused {
  readonly operation: string;
  readonly className: string;
  readonly module?: string;
  /** Further lines before the fault: what had to be put back. */
  readonly putBack?: readonly string[];
  /** Questions of the conductor have no task of the server to give up. */
  readonly keepsTask?: true;
}

const notImplemented = { className: 'NotImplementedError', module: 'builtins' } as const;
const refused: readonly Refused[] = [
  { operation: 'suspend', ...notImplemented },
  { operation: 'resume', ...notImplemented },
  { operation: 'evacuate', ...notImplemented, putBack: ['Migration.save: status="error"'] },
  { operation: 'interface-attach', className: 'AttachInterfaceNotSupported', keepsTask: true },
  { operation: 'interface-detach', ...notImplemented, keepsTask: true },
  { operation: 'migrate-live', className: 'MigrationPreCheckError', keepsTask: true },
];

/** Nova's answers have texts for people, not names of ours. */
const readable = /^[A-Z][^{}\n]{20,254}$/;

async function played(operation: string): Promise<Scene> {
  const play = await scene(operation, { guest: operation === 'evacuate' || operation === 'migrate-live' ? 'none' : operation === 'resume' ? 'stopped' : 'running' });
  play.node.world.canSave = false; // as most hosts are
  return play;
}

describe.each(refused)('$operation', ({ operation, className, module = 'nova.exception', putBack = [], keepsTask }) => {
  test('is refused with a fault and an error event, and the task is over', async () => {
    const play = await played(operation);
    const { message, row, node } = play;
    const { error } = await node.receive(message);
    const [begin = ''] = stepsOf(play.sentFor(message), row).filter((line) => line.startsWith('event starts'));
    const event = /^event starts: (\S+) of/.exec(begin)?.[1];
    const hadTask = row['task_state'] !== null && keepsTask !== true;
    expect(stepsOf(node.sent().filter((one) => one.context.requestId === message['_context_request_id']), row)).toEqual([
      begin, ...putBack, `InstanceFault.create: ${wireFaultOf(error)?.httpCode} on ${node.deps.options.host}`, `event ends: ${event} of ${String(row['uuid'])}: Error`,
      ...(hadTask ? ['Instance.save: task_state=null'] : []),
    ]);
    expect(wireFaultOf(error)).toMatchObject({ className, module });
    if (module === 'builtins') expect(wireFaultOf(error)?.kwargs).toEqual({});
  });

  test('leaves server, guest and disks as they were, and tells the user why', async () => {
    const play = await played(operation);
    const { message, row, node } = play;
    const uuid = String(row['uuid']);
    const before = { guest: structuredClone(node.guest(uuid)), taps: [...node.taps], disks: [...node.world.disks], ports: [...node.neutron.ports] };
    await node.receive(message);
    const { vm_state: vmState, power_state: power, host, image_ref: image } = row;
    expect(node.rpc.instances[0]).toMatchObject({ vm_state: vmState, power_state: power, host, image_ref: image, task_state: keepsTask === true ? row['task_state'] : null });
    expect({ guest: node.guest(uuid), taps: [...node.taps], disks: [...node.world.disks], ports: [...node.neutron.ports] }).toEqual(before);
    const [fault] = node.rpc.faults;
    expect(fault?.['message']).toMatch(readable);
    expect(fault?.['message']).toMatch(/not supported/);
    expect(JSON.stringify(node.rpc.faults)).not.toMatch(/REDACTED|at .*\.ts:\d+/);
    expect(node.deps.gate.open).toBe(0);
    expect(node.deps.journal.unfinished()).toEqual([]);
  });
});

describe('what other services had begun is put back', () => {
  test('an evacuation to here keeps the allocation on the other host only', async () => {
    const play = await played('evacuate');
    const uuid = String(play.row['uuid']);
    const other = { 'aaaaaaaa-0000-4000-8000-000000000001': { resources: { VCPU: 1 } } };
    play.node.placement.allocate(uuid, { ...other, [providerUuid]: { resources: { VCPU: 1 } } });
    await play.node.receive(play.message);
    expect(play.node.placement.consumers.get(uuid)?.allocations).toEqual(other);
  });
});

describe('every refused method', () => {
  test.each(instanceRefusals.map((one) => one.rpc))('%s ends, with a fault if it has one, and nothing on the host changes', async (rpc) => {
    const node = await createTestNode();
    const row = node.rpc.addInstance({ host: 'fakea', node: 'fakea', vm_state: 'active', task_state: 'some-task', power_state: 1, metadata: {}, system_metadata: {}, image_ref: 'i' });
    const uuid = String(row['uuid']);
    putGuest(node, uuid);
    const wrappers = instanceRefusals.find((one) => one.rpc === rpc)?.wrappers ?? '';
    const migration = { id: 4, uuid: 'bbbbbbbb-0000-4000-8000-000000000004', status: 'migrating', instance_uuid: uuid };
    node.rpc.migrations.push({ ...migration });
    const { error } = await node.receive(messageOf(rpc, { instance: instanceWire(row), migration: wireObject('Migration', '1.7', migration), image_id: 'cccccccc-0000-4000-8000-000000000001' }));
    expect(wireFaultOf(error)).toBeDefined();
    expect(node.rpc.faults).toHaveLength(wrappers.includes('F') ? 1 : 0);
    expect(node.rpc.events.map((one) => [one.event, one.outcome])).toEqual(wrappers.includes('E') ? [[`compute_${rpc}`, 'started'], [`compute_${rpc}`, 'Error']] : []);
    expect(row).toMatchObject({ vm_state: 'active', task_state: wrappers.includes('T') ? null : 'some-task' });
    expect(node.guest(uuid)).toMatchObject({ isRunning: true, starts: 1 });
  });
});
