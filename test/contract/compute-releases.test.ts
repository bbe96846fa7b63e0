/**
 * The agent in a cloud of every release, Zed to 2026.2, by the numbers of Nova's own source (test/samples/nova-releases.json): what it
 * claims, which messages it takes, and that it never sends the conductor an object newer than that one knows, which would stop the cell
 * (wire.md 5). The traffic is the recorded one, written as that release writes it, and generated.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { computeEndpoint, methodRegistry, type ComputeDeps } from '../../src/compute/index.js';
import { createConductor } from '../../src/conductor/index.js';
import { wireFaultOf } from '../../src/lib/errors.js';
import { chooseProfile, compareVersions, fitToVersions, profileNamed, releaseProfiles } from '../../src/objects/index.js';
import { makeObject } from '../../src/objects/nova-object.js';
import { adminContext } from '../../src/rpc/context.js';
import type { WireMessage } from '../../src/rpc/index.js';
import { findMethod } from '../../src/rpc/dispatcher.js';
import { FakeConductorRpc } from '../fakes/conductor-rpc.js';
import { asSentBy, novaReleases } from '../fakes/nova-releases.js';
import { recordingLog } from '../fakes/recording-log.js';
import { createVirtualClock } from '../fakes/virtual-clock.js';
import { createTestNode, instanceWire, messageOf, putGuest, wireObject, type TestNode } from './support/compute-node.js';
import { scene, type Scene } from './support/scene.js';
import { stepsOf } from './support/steps.js';

type Release = (typeof novaReleases)[number];
const named = (name: string): Release => novaReleases.find((release) => release.name === name)!;
const newest = novaReleases.at(-1)!;
/** 2024.2 has the service version of 2024.1 and gets its profile. */
const profileOf = ({ name }: Release): string => (name === '2024.2' ? '2024.1' : name);
const hasComputeId = (release: Release): boolean => release.objects['Instance'] === '2.8';

describe('our profile of a release', () => {
  test.each(novaReleases)('$name has the numbers of its source, and none that is newer', ({ name, serviceVersion, objects }) => {
    const profile = profileNamed(profileOf(named(name)));
    expect(profile.serviceVersion).toBe(serviceVersion);
    const newer = Object.entries(profile.objectVersions).filter(([object, version]) => objects[object] === undefined || compareVersions(version, objects[object]) > 0);
    expect(newer).toEqual([]);
    if (name === profile.name) expect(profile.objectVersions).toEqual(Object.fromEntries(Object.keys(profile.objectVersions).map((object) => [object, objects[object]])));
  });

  test('knows every object that changed between releases, but for an abstract one and a list that is never sent', () => {
    const moved = Object.keys(newest.objects).filter((object) => new Set(novaReleases.map(({ objects }) => objects[object])).size > 1);
    expect(moved.filter((object) => releaseProfiles.at(-1)!.objectVersions[object] === undefined)).toEqual(['LiveMigrateData', 'ShareMappingList']);
  });

  test('is chosen by what a conductor of the release says', async () => {
    for (const release of novaReleases) {
      const rpc = Object.assign(new FakeConductorRpc(), { serviceVersion: release.serviceVersion, versions: release.objects });
      const conductor = createConductor({ rpc, clock: createVirtualClock(), log: recordingLog().log, retryForMs: 0 });
      expect([release.name, (await conductor.negotiate()).name, rpc.stoppedBy]).toEqual([release.name, profileOf(release), null]);
      expect(chooseProfile(release.serviceVersion).isBeyondTable).toBe(false);
    }
  });
});

describe.each(novaReleases)('in a cloud of $name', (release) => {
  const nodeOf = (options: Partial<Parameters<typeof createTestNode>[0]> = {}): Promise<TestNode> =>
    createTestNode({ release: profileOf(release), conductor: release, ...options });

  /** A recorded operation as this release would have sent it. */
  async function played(operation: string, guest: 'none' | 'running' | 'stopped'): Promise<Scene> {
    const play = await scene(operation, { guest, release: profileOf(release), conductor: release });
    return { ...play, message: { ...play.message, version: release.rpc, args: asSentBy(release, play.message['args']) } };
  }

  test('every method is taken with the arguments and at the RPC version of the release', () => {
    const endpoint = computeEndpoint({} as ComputeDeps);
    for (const [rpc, names] of Object.entries(release.methods)) {
      const message = { method: rpc, version: release.rpc, args: Object.fromEntries(names.map((name) => [name, null])) };
      expect(findMethod([endpoint], { namespace: null, message } as never).rpc).toBe(rpc);
    }
  });

  test('the service claims the number of the release, the node is known by its uuid, and the provider says whose it is where it must', async () => {
    const node = await nodeOf({ isAudited: false });
    node.rpc.services[0]!['version'] = 61;
    await node.join();
    expect(node.rpc.services[0]).toMatchObject({ version: release.serviceVersion });
    expect(node.rpc.computeNodes).toHaveLength(1);
    const created = node.rpc.sentAs('ComputeNode.create')[0]?.args['objinst'] as { 'nova_object.version': string; 'nova_object.data': Record<string, unknown> };
    expect([created['nova_object.version'], created['nova_object.data']['uuid']]).toEqual([release.objects['ComputeNode'], node.deps.tracker.providerUuid]);
    const traits = node.placement.providers.get(node.deps.tracker.providerUuid)?.traits ?? [];
    expect(traits.includes('OWNER_NOVA')).toBe(release.serviceVersion >= 73);
    expect(node.placement.providers.get(node.deps.tracker.providerUuid)?.inventories['VCPU']?.allocation_ratio).toBe(release.name === 'zed' ? 16 : 4);
    expect(node.rpc.stoppedBy).toBeNull();
  });

  test.each([
    ['create', 'none'], ['stop', 'running'], ['start', 'stopped'], ['reboot-hard', 'running'], ['delete', 'running'], ['console-vnc', 'running'], ['port-update-event', 'running'],
  ] as const)('%s tells Nova what it tells Zed, and names the compute_id exactly where the release has it', async (operation, guest) => {
    const zed = await scene(operation, { guest });
    await zed.node.receive(zed.message);
    await zed.node.settled();
    const play = await played(operation, guest);
    expect((await play.node.receive(play.message)).error).toBeUndefined();
    await play.node.settled();
    const lines = stepsOf(play.node.sent(), play.row);
    const plain = (line: string): string => line.replace(/ ?compute_id=\S+/, '').replace(/"timestamp":"[^"]*"/, '');
    expect(lines.map(plain)).toEqual(stepsOf(zed.node.sent(), zed.row).map(plain));
    for (const line of lines.filter((one) => / host=/.test(one) && one.startsWith('Instance.save'))) expect([line, /compute_id=/.test(line)]).toEqual([line, hasComputeId(release)]);
    expect(play.node.rpc.stoppedBy).toBeNull();
  });

  test('no method sends the conductor anything newer than it knows, also when the sender is of the newest release and sends what nobody knows yet', async () => {
    for (const sender of [release, newest]) {
      for (const { method } of methodRegistry()) {
        const node = await nodeOf();
        const { error } = await node.receive(generatedMessage(node, sender, method, { vm_state: 'active', task_state: null }));
        await node.settled();
        expect([method, node.rpc.stoppedBy]).toEqual([method, null]);
        expect([method, isBug(error)]).toEqual([method, false]);
      }
    }
  });
});

/** A programming error, and not an answer. */
const isBug = (error: unknown): boolean => error instanceof Error && /^(TypeError|ReferenceError|RangeError)$/.test(error.constructor.name) && wireFaultOf(error)?.className !== 'TypeError';

const uuidOf = (digit: string): string => `${digit.repeat(8)}-0000-4000-8000-${digit.repeat(12)}`;

/** Something of the right kind for each argument of the RPC API, by its name. */
function argumentsFor(row: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const instance = instanceWire(row);
  const flavor = wireObject('Flavor', '1.2', { memory_mb: 64, vcpus: 1, root_gb: 1, ephemeral_gb: 0, swap: 0, name: 'f', flavorid: 'f', extra_specs: {} });
  const migration = wireObject('Migration', '1.7', { id: 7, uuid: uuidOf('7'), status: 'accepted', migration_type: 'migration', instance_uuid: row['uuid'], source_compute: 'x' });
  const device = { id: 3, instance_uuid: row['uuid'], source_type: 'image', destination_type: 'local', boot_index: 0, device_name: '/dev/vda', volume_id: null, tag: null };
  const bdms = wireObject('BlockDeviceMappingList', '1.18', { objects: [wireObject('BlockDeviceMapping', '1.21', device)] });
  const event = wireObject('InstanceExternalEvent', '1.5', { instance_uuid: row['uuid'], name: 'network-changed', status: 'completed', tag: null });
  const image = { id: uuidOf('a'), properties: {} };
  return {
    instance, instances: [instance], events: [event], flavor, migration, bdms, block_device_mapping: bdms, bdm: wireObject('BlockDeviceMapping', '1.21', device),
    request_spec: wireObject('RequestSpec', '1.14', { instance_uuid: row['uuid'], scheduler_hints: {} }), image, image_ids: [uuidOf('a')], image_id: uuidOf('b'), image_ref: uuidOf('a'),
    orig_image_ref: uuidOf('a'), rescue_image_ref: uuidOf('a'), orig_sys_metadata: {}, requested_networks: wireObject('NetworkRequestList', '1.1', { objects: [] }),
    migrate_data: wireObject('LibvirtLiveMigrateData', '1.10', { migration }), dest_check_data: wireObject('LibvirtLiveMigrateData', '1.10', {}), filter_properties: {},
    injected_files: [], security_groups: [], host_list: null, limits: null, accel_uuids: [], node: 'fakea', nodename: 'fakea', clean_shutdown: false, reboot_type: 'HARD', enabled: true,
    new_pass: 'p', tail_length: 3, console_type: 'novnc', port: '5900', recreate: false, preserve_ephemeral: false, backup_type: 'daily', rotation: 1, volume_id: uuidOf('c'),
    action: 'reboot', host: 'fakea', mode: true, dest: 'fakeb', migration_id: 7, target_state: null, reimage_boot_volume: false, delete_attachment: true, data: {},
    share_mapping: wireObject('ShareMapping', '1.0', { id: 1, share_id: uuidOf('d') }), port_id: uuidOf('e'), network_id: uuidOf('f'), disk: null,
  };
}

function generatedMessage(node: TestNode, sender: Release, rpc: string, state: Readonly<Record<string, unknown>>, stranger: Record<string, unknown> = { shiny: { deep: [1] } }): WireMessage {
  const row = node.rpc.addInstance({
    host: 'fakea', node: 'fakea', power_state: 1, image_ref: uuidOf('a'), display_name: 's', hostname: 's', root_gb: 1, memory_mb: 64, vcpus: 1, instance_type_id: 1, key_name: null,
    config_drive: '', user_data: null, root_device_name: '/dev/vda', numa_topology: null, pci_requests: null, launched_at: null,
    flavor: wireObject('Flavor', '1.2', { memory_mb: 64, vcpus: 1, root_gb: 1, ephemeral_gb: 0, swap: 0, name: 'f', flavorid: 'f', extra_specs: {} }), ...state,
  });
  putGuest(node, String(row['uuid']));
  const all = argumentsFor(row);
  const args = Object.fromEntries((sender.methods[rpc] ?? []).map((name) => [name, all[name] ?? null]));
  return { ...messageOf(rpc, asSentBy(sender, args, stranger) as Record<string, unknown>), version: sender.rpc };
}

describe('whatever comes in', () => {
  const state = fc.record({
    vm_state: fc.constantFrom('active', 'stopped', 'paused', 'error', 'building', 'resized', 'rescued', 'shelved_offloaded'),
    task_state: fc.constantFrom(null, 'powering-off', 'rebuilding', 'resize_prep', 'migrating', 'image_snapshot_pending', 'deleting', 'scheduling'),
  });
  const traffic = fc.record({ cloud: fc.constantFrom(...novaReleases), sender: fc.constantFrom(...novaReleases), rpc: fc.constantFrom(...Object.keys(newest.methods)), state, stranger: fc.jsonValue() });

  test('the conductor gets nothing that is too new for it', async () => {
    await fc.assert(fc.asyncProperty(traffic, async ({ cloud, sender, rpc, state: one, stranger }) => {
      const node = await createTestNode({ release: profileOf(cloud), conductor: cloud });
      await node.receive(generatedMessage(node, sender, rpc, one, { shiny: stranger, nested: wireObject('Instance', '2.8', { uuid: uuidOf('1') }) }));
      await node.settled();
      expect(node.rpc.stoppedBy).toBeNull();
    }), { numRuns: 150 });
  });

  const anyObject = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof({ depthSize: 'small' }, fc.string(), fc.integer(), fc.array(tie('value'), { maxLength: 3 }), fc.dictionary(fc.string({ maxLength: 4 }), tie('value'), { maxKeys: 3 }),
      fc.record({ name: fc.constantFrom(...Object.keys(newest.objects)), minorAbove: fc.nat(3), data: fc.dictionary(fc.string({ maxLength: 4 }), tie('value'), { maxKeys: 3 }) })
        .map(({ name, minorAbove, data }) => wireObject(name, newest.objects[name]!.replace(/\d+$/, (last) => String(Number(last) + minorAbove)), data))),
  })).value;

  /** Versions of known objects in a value that are newer than the release's. */
  function tooNew(value: unknown, release: Release): string[] {
    if (typeof value !== 'object' || value === null) return [];
    const { 'nova_object.name': name, 'nova_object.version': version } = value as Record<string, unknown>;
    const known = typeof name === 'string' ? release.objects[name] : undefined;
    const own = known !== undefined && typeof version === 'string' && profileNamed(profileOf(release)).objectVersions[String(name)] !== undefined && compareVersions(version, known) > 0 ? [`${String(name)} ${version}`] : [];
    return [...own, ...Object.values(value).flatMap((element) => tooNew(element, release))];
  }

  test('every object that is written is lowered to what the conductor knows, at any depth, and loses nothing else', () => {
    fc.assert(fc.property(anyObject, fc.constantFrom(...novaReleases), (value, release) => {
      const fitted = fitToVersions(value, profileNamed(profileOf(release)).objectVersions);
      expect(tooNew(fitted, release)).toEqual([]);
      const withoutVersions = (one: unknown): string => JSON.stringify(one).replaceAll(/"nova_object.version":"[^"]*"/g, '""');
      expect(withoutVersions(fitted)).toBe(withoutVersions(value));
    }), { numRuns: 500 });
  });

  test('an object of our own making has the version of the release', async () => {
    for (const release of novaReleases) {
      const rpc = Object.assign(new FakeConductorRpc(), { serviceVersion: release.serviceVersion, versions: release.objects });
      const conductor = createConductor({ rpc, clock: createVirtualClock(), log: recordingLog().log, retryForMs: 0 });
      await conductor.negotiate();
      rpc.overrides.set('ConsoleAuthToken.authorize', () => [{ obj_what_changed: [] }, 'token']);
      const fields = { consoleType: 'novnc', host: 'h', port: 5900, instance: uuidOf('1') as never, accessUrlBase: 'http://x', ttlSeconds: 600 };
      await conductor.consoleTokens.authorize(adminContext({ requestId: 'req-1' }), fields);
      expect(rpc.sentAs('ConsoleAuthToken.authorize')[0]?.args['objinst']).toMatchObject({ 'nova_object.version': profileNamed(profileOf(release)).objectVersions['ConsoleAuthToken'] });
      await expect(conductor.instances.save(adminContext({ requestId: 'req-1' }), makeObject('Instance', '2.9', { uuid: rpc.addInstance({})['uuid'], task_state: null }) as never)).resolves.toBeUndefined();
      expect(rpc.stoppedBy).toBeNull();
    }
  });
});
