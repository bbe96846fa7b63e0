import { beforeEach, describe, expect, test } from 'vitest';
import { AgentError } from '../../../src/lib/errors.js';
import { novaFaults } from '../../../src/lib/nova-faults.js';
import type { WireMessage } from '../../../src/rpc/index.js';
import { eventMessage, instanceWire, messageOf, wireObject, type TestNode } from '../../contract/support/compute-node.js';
import { scene, type Scene } from '../../contract/support/scene.js';
import { waitUntil } from '../../fakes/wait-until.js';

type Data = Record<string, unknown>;
let play: Scene;
let node: TestNode;
let uuid: string;

beforeEach(async () => {
  play = await scene('create', { guest: 'none' });
  node = play.node;
  uuid = String(play.row['uuid']);
});

const row = (): Data => node.rpc.instances[0] ?? {};
/** The recorded build with other arguments. */
const build = (over: Data = {}): WireMessage => ({ ...play.message, args: { ...(play.message['args'] as Data), ...over } });
const casts = (method: string): Data[] => node.sent().filter((one) => one.method === method).map((one) => one.args);
const dataOf = (object: unknown): Data => (object as Data)['nova_object.data'] as Data;
const lastStats = (): Data => (node.rpc.computeNodes[0]?.['stats'] ?? {}) as Data;

function expectNothingLeft(): void {
  expect(node.placement.consumers.has(uuid)).toBe(false);
  expectNothingHere();
}

function expectNothingHere(): void {
  expect([node.world.disks.size, node.world.folders.size, node.taps.size, node.neutron.ports.size, node.rpc.virtualInterfaces.length]).toEqual([0, 0, 0, 0, 0]);
}

/** Places, tasks and ports of a server that no host has. */
const nowhere = { host: null, node: null, launched_on: null };

describe('a build that another host may do better', () => {
  test('goes back to the scheduler with its arguments as they came, and nothing stays here', async () => {
    node.deps.driver.start = () => Promise.reject(new AgentError('guest-start-failed', 'bhyve said something about /dev/secret'));
    const files = [['/etc/motd', Buffer.from('hello').toString('base64')]];
    await node.receive(build({ injected_files: files, host_list: [{ service_host: 'fakeb' }] }));
    await node.settled();
    expect(row()).toMatchObject({ ...nowhere, vm_state: 'building', task_state: 'scheduling', availability_zone: null });
    expectNothingLeft();
    expect(node.rpc.faults).toEqual([]);
    const [sent] = casts('build_instances');
    expect(sent).toMatchObject({ injected_files: files, host_lists: [[{ service_host: 'fakeb' }]], security_groups: ['default'] });
    expect(dataOf((sent?.['instances'] as unknown[])[0])).toMatchObject({ uuid, ...nowhere, system_metadata: { network_allocated: 'False' } });
    const { retry } = sent?.['filter_properties'] as { retry: { num_attempts: number; exc: string[]; exc_reason: string } };
    expect(retry.num_attempts).toBe(1);
    expect(retry.exc_reason).toBe('The compute host could not do this: guest-start-failed');
    expect(retry.exc.length).toBeGreaterThan(0);
    expect(node.rpc.events.map((one) => [one.event, one.outcome])).toEqual([['compute__do_build_and_run_instance', 'started'], ['compute__do_build_and_run_instance', 'Success']]);
  });

  test('without retry information ends in error, with the reason as its fault', async () => {
    node.deps.driver.start = () => Promise.reject(new AgentError('guest-start-failed', 'x'));
    await node.receive(build({ filter_properties: { limits: {} } }));
    expect(casts('build_instances')).toEqual([]);
    expect(row()).toMatchObject({ ...nowhere, vm_state: 'error', task_state: null });
    expect(node.rpc.faults.map((fault) => fault['message'])).toEqual([expect.stringMatching(/aborted: The compute host could not do this: guest-start-failed/)]);
    expectNothingLeft();
  });

  test('is not sent on when the clean-up failed: what is left here must not be forgotten', async () => {
    node.deps.driver.start = () => Promise.reject(new AgentError('guest-start-failed', 'x'));
    node.deps.storage.buryDisks = () => Promise.reject(new AgentError('zfs-busy', 'busy'));
    await node.receive(build());
    expect(casts('build_instances')).toEqual([]);
    expect(row()).toMatchObject({ vm_state: 'error', task_state: null });
    expect(node.rpc.faults).toHaveLength(1);
  });

  test('counts against this host until a build succeeds; a refused server-group policy does not', async () => {
    const tell = (): Promise<void> => node.deps.tracker.audit(node.deps.ownContext(), { startup: false });
    const start = node.deps.driver.start.bind(node.deps.driver);
    node.deps.driver.start = () => Promise.reject(new Error('boom'));
    await node.receive(build());
    await tell();
    expect(lastStats()['failed_builds']).toBe('1');
    node.deps.driver.start = start;
    const group = 'eeeeeeee-0000-4000-8000-00000000000e';
    node.rpc.addInstance({ uuid: 'ffffffff-0000-4000-8000-00000000000f', host: 'fakea', node: 'fakea', vm_state: 'active', image_ref: 'i', flavor: row()['flavor'] });
    node.rpc.groups.push({ id: 1, uuid: group, name: 'g', policy: 'anti-affinity', policies: ['anti-affinity'], _rules: {}, rules: {}, members: [uuid, 'ffffffff-0000-4000-8000-00000000000f'] });
    Object.assign(row(), { task_state: 'scheduling' });
    node.placement.allocate(uuid, { [node.deps.tracker.providerUuid]: { resources: { VCPU: 1 } } });
    const spec = wireObject('RequestSpec', '1.14', { ...dataOf((play.message['args'] as Data)['request_spec']), scheduler_hints: { group: [group] } });
    await node.receive({ ...build({ request_spec: spec }), _unique_id: 'f'.repeat(32) });
    await tell();
    expect(casts('build_instances')).toHaveLength(2);
    expect(lastStats()['failed_builds']).toBe('1');
    expectNothingLeft();
  });
});

/** [name, what goes wrong, what the user reads] */
const aborts: readonly (readonly [string, () => Data | undefined, RegExp])[] = [
  ['an inactive image', () => void Object.assign(node.image, { status: 'queued' }), /is not active/],
  ['an image in a container', () => void Object.assign(node.image, { containerFormat: 'ova' }), /container format is ova/],
  ['an image that is gone', () => {
    node.deps.glance.show = () => Promise.reject(new AgentError('http-not-found', 'gone'));
    return undefined;
  }, /Image 0145e42b-\S+ could not be found/],
  ['a flavor with too little memory', () => void Object.assign(node.image, { minRamMiB: 4096 }), /memory is too small/],
  ["a flavor with a disk below the image's minimum", () => void Object.assign(node.image, { minDiskGiB: 40 }), /smaller than the minimum size/],
  ['a hostile image', () => {
    node.deps.storage.ensureImage = () => Promise.reject(new AgentError('image-refused', 'x', { wire: novaFaults.imageUnacceptable('i', 'it names a backing file') }));
    return undefined;
  }, /unacceptable: it names a backing file/],
  ['a build without allocation here', () => {
    node.placement.consumers.delete(uuid);
    return undefined;
  }, /Placement has no allocation/],
  ['files that are not base64', () => ({ injected_files: [['/etc/motd', '%%%']] }), /not base64/],
  ['accelerators', () => ({ accel_uuids: ['aaaaaaaa-0000-4000-8000-000000000001'] }), /accelerators are not supported/],
  ['a firmware that bhyve lacks', () => ({ image: { properties: { hw_firmware_type: 'bios' } } }), /hw_firmware_type=bios is not supported/],
  ['an unknown network', () => {
    node.neutron.networks.clear();
    return undefined;
  }, /Failed to allocate the network/],
  ['a network without free addresses', () => {
    for (const subnet of node.neutron.subnets.values()) subnet.free.length = 0;
    node.neutron.intercept = undefined;
    return undefined;
  }, /Failed to allocate the network\(s\) with error No fixed IP addresses available/],
  ['a tap that cannot be made', () => {
    node.deps.plugger.plug = () => Promise.reject(new AgentError('vif-plug-failed', 'x', { wire: novaFaults.virtualInterfaceCreateException() }));
    return undefined;
  }, /Failed to allocate the network/],
];

describe('a build that no host would do better', () => {
  test.each(aborts)('%s: ends in error with the reason, and nothing stays here', async (_name, prepare, text) => {
    const over = prepare() ?? {};
    const hadPorts = node.neutron.ports.size;
    const { error } = await node.receive(build(over));
    await node.settled();
    expect(error).toBeUndefined();
    expect(hadPorts).toBe(0);
    expect(casts('build_instances')).toEqual([]);
    expect(row()).toMatchObject({ ...nowhere, vm_state: 'error', task_state: null });
    expect(node.rpc.faults.map((fault) => fault['message'])).toEqual([expect.stringMatching(text)]);
    expect(node.rpc.faults[0]?.['code']).toBe(500);
    expectNothingLeft();
    expect(node.deps.journal.unfinished()).toEqual([]);
  });
});

describe("waiting for Neutron's word", () => {
  const silent = async (settings: Data = {}): Promise<Promise<unknown>> => {
    play = await scene('create', { guest: 'none', options: settings });
    node = play.node;
    node.onPlug = async () => undefined;
    const work = node.receive(build());
    await waitUntil(() => node.taps.size === 1 && node.world.folders.get(uuid as never) !== undefined, 'the build plugs');
    // From here on only the clock can bring it on.
    for (let turn = 0; turn < 50; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    return Promise.resolve({ work });
  };
  const pass = async (settings: Data, ms: number): Promise<void> => {
    const { work } = (await silent(settings)) as { work: Promise<unknown> };
    expect(node.guest(uuid)?.isRunning ?? false).toBe(false);
    node.clock.advance(ms);
    await work;
  };

  test('a vif that is never reported aborts the build after vif_plugging_timeout', async () => {
    await pass({}, 300_000);
    expect(row()).toMatchObject({ ...nowhere, vm_state: 'error', task_state: null });
    expect(node.rpc.faults.map((fault) => fault['message'])).toEqual([expect.stringMatching(/Failed to allocate the network\(s\), not rescheduling/)]);
    expectNothingLeft();
  });

  test('unless vif_plugging_is_fatal is off: then the guest starts without it', async () => {
    await pass({ isVifPluggingFatal: false }, 300_000);
    expect(row()).toMatchObject({ vm_state: 'active', task_state: null, power_state: 1 });
    expect(node.guest(uuid)?.isRunning).toBe(true);
    expect(node.log.lines().some((line) => line['msg'] === 'vifs not reported as plugged; going on')).toBe(true);
  });

  test('an event that was lost is made up for by asking Neutron, and one that may still come is waited for', async () => {
    const { work } = (await silent()) as { work: Promise<unknown> };
    const turns = async (): Promise<void> => { for (let turn = 0; turn < 50; turn += 1) await new Promise((resolve) => setImmediate(resolve)); };
    const [port] = [...node.neutron.ports.values()];
    Object.assign(port!, { status: 'DOWN' });
    node.clock.advance(10_000);
    await turns();
    expect(node.guest(uuid)?.isRunning ?? false).toBe(false);
    Object.assign(port!, { status: 'ACTIVE' });
    node.clock.advance(10_000);
    await work;
    expect(row()).toMatchObject({ vm_state: 'active', task_state: null });
    expect(node.log.lines().some((line) => line['msg'] === 'vif is plugged, but its event did not come')).toBe(true);
  });

  test('a timeout of 0 never waits', async () => {
    play = await scene('create', { guest: 'none', options: { vifPluggingTimeoutMs: 0 } });
    node = play.node;
    node.onPlug = async () => undefined;
    await node.receive(build());
    expect(row()).toMatchObject({ vm_state: 'active' });
  });

  test('an event that says failed aborts at once', async () => {
    node.onPlug = async (instance, vif) => void (await node.receive(eventMessage(node, instance, 'network-vif-plugged', vif.id, 'failed')));
    await node.receive(build());
    expect(row()).toMatchObject({ vm_state: 'error', task_state: null });
    expectNothingLeft();
  });

  test('a wait that the end of the agent cuts off is no failure of the network: nothing is said or taken away, and the journal keeps the build', async () => {
    const { work } = (await silent()) as { work: Promise<{ error?: unknown }> };
    node.deps.waiters.close();
    expect((await work).error).toMatchObject({ code: 'shutting-down' });
    expect(row()).toMatchObject({ vm_state: 'building', task_state: 'spawning', host: 'fakea' });
    expect([node.rpc.faults, node.taps.size, node.world.disks.size]).toEqual([[], 1, 1]);
    expect(node.deps.journal.unfinished().map(({ rpc }) => rpc)).toEqual(['build_and_run_instance']);
  });

  test('an event of another port does not count', async () => {
    const { work } = (await silent()) as { work: Promise<unknown> };
    await node.receive(eventMessage(node, uuid, 'network-vif-plugged', 'aaaaaaaa-0000-4000-8000-000000000001'));
    expect(node.guest(uuid)?.isRunning ?? false).toBe(false);
    await node.receive(eventMessage(node, uuid, 'network-vif-plugged', [...node.neutron.ports.keys()][0] ?? ''));
    await work;
    expect(row()).toMatchObject({ vm_state: 'active' });
  });
});

describe('a delete during the build', () => {
  const deletion = (): WireMessage => {
    Object.assign(row(), { task_state: 'deleting' });
    return messageOf('terminate_instance', { instance: instanceWire(row()), bdms: null });
  };

  test('does not wait for it: the build steps back without a fault, then the server goes', async () => {
    node.onPlug = async () => undefined; // it would wait five minutes for Neutron
    const work = node.receive(build());
    await waitUntil(() => node.taps.size === 1, 'the build plugs');
    await node.receive(deletion());
    await work;
    expect(row()).toMatchObject({ vm_state: 'deleted', deleted: true });
    expect(node.rpc.faults).toEqual([]);
    expect(casts('build_instances')).toEqual([]);
    expectNothingLeft();
    expect(node.rpc.events.map((one) => [one.event, one.outcome])).toEqual([
      ['compute__do_build_and_run_instance', 'started'], ['compute__do_build_and_run_instance', 'Success'],
      ['compute_terminate_instance', 'started'], ['compute_terminate_instance', 'Success'],
    ]);
  });

  test('of a server that waits for its turn to be built goes ahead of the builds before it', async () => {
    const releases = await Promise.all(Array.from({ length: 10 }, () => node.deps.buildSlots.acquire()));
    const work = node.receive(build());
    await node.receive(deletion());
    await work;
    expect(row()).toMatchObject({ vm_state: 'deleted', deleted: true });
    expect(node.rpc.faults).toEqual([]);
    expectNothingLeft();
    for (const [, release] of releases) release();
    await node.deps.buildSlots.waitForUnlock(10);
    expect(node.deps.buildSlots.getValue()).toBe(10);
  });

  test('of which we hear only by the refused save leaves the row to the delete', async () => {
    const start = node.deps.driver.start.bind(node.deps.driver);
    node.deps.driver.start = async (instance) => {
      await start(instance);
      Object.assign(row(), { task_state: 'deleting' });
    };
    await node.receive(build());
    expect(row()).toMatchObject({ vm_state: 'building', task_state: 'deleting', host: 'fakea' });
    expect(node.rpc.faults).toEqual([]);
    expectNothingHere();
    await node.receive(messageOf('terminate_instance', { instance: instanceWire(row()), bdms: null }));
    expect(row()).toMatchObject({ deleted: true });
    expectNothingLeft();
  });

  test.each([['is gone', () => void node.rpc.instances.splice(0)], ['has another task', () => void Object.assign(row(), { task_state: 'deleting' })]])(
    'before it began: a row that %s is left alone', async (_name, change) => {
      change();
      const before = structuredClone(node.rpc.instances);
      await node.receive(build());
      expect(node.rpc.instances).toEqual(before);
      expect([node.rpc.faults, casts('build_instances')]).toEqual([[], []]);
      expectNothingHere();
    });
});
