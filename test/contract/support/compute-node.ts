/**
 * A compute node for tests: the real compute endpoint, conductor, ports, tracker, gate and waiters over a conductor, a Neutron and a
 * Placement in memory; machine parts that behave but are none. Messages go in as from the broker; what is sent can be read in `rpc.sent`.
 */
import { Semaphore } from 'async-mutex';
import { computeEndpoint, createResourceTracker, joinCloud, noNotifications, planJournal, type ComputeDeps, type ComputeOptions } from '../../../src/compute/index.js';
import { createConductor } from '../../../src/conductor/index.js';
import { createEventWaiters, createGate } from '../../../src/instances/index.js';
import { parseImageId, parsePortId, type ImageId, type InstanceUuid, type PortId } from '../../../src/lib/ids.js';
import { createPorts, type Plugger, type Vif } from '../../../src/network/index.js';
import type { GlanceClient, GlanceImage } from '../../../src/openstack/index.js';
import { adminContext, contextFromWire } from '../../../src/rpc/context.js';
import type { IncomingMessage, WireMessage } from '../../../src/rpc/index.js';
import type { GuestEvent, HypervisorDriver } from '../../../src/virt/index.js';
import { FakeConductorRpc, type SentMessage } from '../../fakes/conductor-rpc.js';
import { createMemoryJournal } from '../../fakes/memory-journal.js';
import { guestDefinition } from '../../fakes/guest-definition.js';
import { createFakeNeutron, type FakeNeutron } from '../../fakes/neutron.js';
import { FakePlacement } from '../../fakes/placement.js';
import { noMetrics, recordingLog, type RecordingLog } from '../../fakes/recording-log.js';
import { createVirtualClock, type VirtualClock } from '../../fakes/virtual-clock.js';
import { createCrash } from '../../sim/crash.js';
import { fakeConfigDrive, fakeDriver, fakeStorage } from '../../sim/fake-node.js';
import { createWorld, type Guest, type World } from '../../sim/world.js';

export const providerUuid = '39d89b30-c0da-4c84-af73-c87eff3724c3';

export interface Answer { readonly result?: unknown; readonly error?: unknown }

export interface TestNode {
  readonly deps: ComputeDeps;
  readonly rpc: FakeConductorRpc;
  readonly neutron: FakeNeutron;
  readonly placement: FakePlacement;
  readonly clock: VirtualClock;
  readonly log: RecordingLog;
  /** Disks, folders and guests; `taps` are in `taps`. */
  readonly world: World;
  /** tap name → whose */
  readonly taps: Map<string, { instance: InstanceUuid; port: PortId }>;
  readonly guest: (uuid: string) => Guest | undefined;
  /** Called when a tap was wired; by default Neutron's events come in as they would from nova-api. */
  onPlug: (instance: InstanceUuid, vif: Vif) => Promise<void>;
  /** What Glance knows about every image. */
  image: Partial<GlanceImage>;
  /** What was written to Glance, and lists that were asked for. */
  readonly glanceCalls: string[];
  /** Images that are not there any more. */
  readonly goneImages: Set<ImageId>;
  /** An image that is in no list. */
  hiddenImage: ImageId | null;
  /** What a list answers. */
  glanceList: ImageId[];
  /** Accepts and handles one message. */
  receive(wire: WireMessage): Promise<Answer>;
  /** Resolves when nothing that a test started goes on any more. */
  settled(): Promise<void>;
  /** The guest ends or reboots by itself. */
  tell(event: GuestEvent): void;
  /** The start-up of the service; `receive` works without it too, after an audit. */
  join(): Promise<void>;
  /** State-changing and other messages since the last `forget`. */
  readonly sent: () => readonly SentMessage[];
  forget(): void;
}

export interface NodeSettings {
  readonly host?: string;
  readonly release?: string;
  /** The conductor's numbers, when they are not those of our own profile of `release`. */
  readonly conductor?: { readonly serviceVersion: number; readonly objects: Readonly<Record<string, string>> };
  readonly options?: Partial<ComputeOptions>;
  /** False: `join` will do the first audit. */
  readonly isAudited?: boolean;
}

export async function createTestNode(settings: NodeSettings = {}): Promise<TestNode> {
  const { host = 'fakea', release = 'zed', isAudited = true } = settings;
  const rpc = new FakeConductorRpc();
  rpc.useRelease(release);
  if (settings.conductor !== undefined) Object.assign(rpc, { serviceVersion: settings.conductor.serviceVersion, versions: settings.conductor.objects });
  rpc.services.push({ id: 3, host, binary: 'nova-compute', topic: 'compute', disabled: false, forced_down: false, version: rpc.serviceVersion, report_count: 1 });
  const neutron = createFakeNeutron();
  neutron.hosts.set(host, 'ovs');
  const placement = new FakePlacement();
  for (const trait of ['COMPUTE_NODE', 'COMPUTE_STATUS_DISABLED', 'HW_ARCH_X86_64', 'OWNER_NOVA']) placement.knownTraitNames.add(trait);
  const clock = createVirtualClock();
  const log = recordingLog();
  const world = createWorld();
  const taps: TestNode['taps'] = new Map();
  const background: Promise<unknown>[] = [];
  const listeners: ((event: GuestEvent) => void)[] = [];
  const ownContext: ComputeDeps['ownContext'] = (readDeleted = 'no') => adminContext({ readDeleted, timestamp: clock.now() });

  const conductor = createConductor({ rpc, clock, log: log.log, retryForMs: 0 });
  await conductor.negotiate();
  const crash = createCrash(null);
  const driver = Object.assign(fakeDriver(world, crash), driverExtras(world, host, listeners));
  const storage = fakeStorage(world, crash);
  const configDrive = Object.assign(fakeConfigDrive(world, crash), {
    isRequired: (instance: { get(field: 'config_drive'): unknown }) => instance.get('config_drive') === 'True',
  } satisfies Partial<ComputeDeps['configDrive']>);
  const tracker = createResourceTracker({
    conductor, placement, driver, storage, clock, log: log.log, uuid: providerUuid,
    options: {
      host, node: host, hostIp: '10.0.0.1', reserved: { vcpus: 0, memoryMiB: 512, diskMiB: 0 }, ratios: { cpu: null, ram: null, disk: null },
      initialRatios: { cpu: null, ram: null, disk: null }, associationRefreshMs: 300_000, excludedImageTypes: [],
    },
  });
  const deps: ComputeDeps = {
    options: {
      host, node: host, instanceNameTemplate: 'instance-%08x', vifPluggingTimeoutMs: 300_000, isVifPluggingFatal: true, shutdownTimeoutMs: 60_000, shutdownRetryMs: 10_000,
      forceConfigDrive: false, resumeGuestsOnHostBoot: false, handlesLifecycleEvents: true, isGroupPolicyUpcallDisabled: false, defaultEphemeralFormat: null, defaultAccessIpNetwork: null, trackInstanceChanges: true,
      consoleTokenTtlSeconds: 600, isDeferredDeleteOn: false, serial: null, shelvedOffloadSeconds: 0, snapshots: { format: 'raw', isCompressed: false, bytesPerSecond: 0 }, maxCheckpoints: 2,
      vnc: { proxyClientAddress: '10.0.0.1', novncProxyBaseUrl: 'http://127.0.0.1:6080/vnc_auto.html' }, ...settings.options,
    },
    conductor, clock, log: log.log, metrics: noMetrics, journal: createMemoryJournal(), ownContext, storage, driver, tracker, placement, configDrive,
    ports: createPorts({ neutron: neutron.client, conductor, clock, log: log.log }),
    plugger: pluggerOn(() => node, neutron, taps, background), glance: glanceOn(() => node),
    gate: createGate({ log: log.log, metrics: noMetrics }), waiters: createEventWaiters(), notifications: noNotifications, resumedOperations: new Set(), buildSlots: new Semaphore(10), snapshotSlots: new Semaphore(5),
  };
  const endpoint = computeEndpoint(deps);
  const node: TestNode = {
    deps, rpc, neutron, placement, clock, log, world, taps, image: {}, glanceCalls: [], goneImages: new Set(), hiddenImage: null, glanceList: [],
    guest: (uuid) => {
      const folder = world.folders.get(uuid as InstanceUuid);
      return folder === 'empty' ? undefined : folder;
    },
    onPlug: async (instance, vif) => void (await node.receive(eventMessage(node, instance, 'network-vif-plugged', vif.id))),
    async receive(wire) {
      const message = incoming(wire);
      const method = endpoint.methods.get(message.method);
      if (method === undefined) throw new Error(`no method ${message.method}`);
      if ((await method.accept?.(message)) === 'duplicate') return {};
      try {
        return { result: await method.handle(message) };
      } catch (error) {
        return { error };
      }
    },
    async settled() {
      do {
        for (let left = background.splice(0); left.length > 0; left = background.splice(0)) await Promise.all(left);
        while (deps.gate.open > 0) await new Promise((resolve) => setImmediate(resolve));
      } while (background.length > 0);
    },
    tell: (event) => listeners.forEach((listener) => listener(event)),
    async join() {
      await joinCloud(deps, await conductor.services.byHostAndBinary(ownContext(), host, 'nova-compute'), planJournal(deps.journal.unfinished()));
      await node.settled();
    },
    sent: () => rpc.sent,
    forget: () => { rpc.sent.length = 0; },
  };
  rpc.onCast = (target, method, args, context) => {
    if (target.server !== host || !['compute', 'compute-alt'].includes(target.topic)) return;
    background.push(node.receive({ ...messageOf(method, args), _context_request_id: context.requestId }));
  };
  if (isAudited) await tracker.audit(ownContext(), { startup: true });
  node.forget();
  return node;
}

function incoming(wire: WireMessage): IncomingMessage {
  return {
    method: String(wire['method']), args: wire['args'] as Record<string, unknown>, context: contextFromWire(wire), messageId: String(wire['_unique_id']),
    isCall: '_msg_id' in wire, version: '6.0', wire,
  };
}

let made = 0;
/** A message that was not recorded; `row` is an instance's row. */
export function messageOf(method: string, args: Readonly<Record<string, unknown>>, context: Readonly<Record<string, unknown>> = {}): WireMessage {
  made += 1;
  return {
    method, args, version: '6.0', _unique_id: made.toString(16).padStart(32, '0'), _context_request_id: `req-00000000-0000-4000-8000-${String(made).padStart(12, '0')}`,
    _context_project_id: 'p1', _context_user_id: 'u1', _context_is_admin: false, _context_roles: ['member'], _context_auth_token: 'secret-token',
    ...Object.fromEntries(Object.entries(context).map(([key, value]) => [`_context_${key}`, value])),
  };
}

/** A versioned object by hand. */
export const wireObject = (name: string, version: string, data: unknown): Record<string, unknown> => ({
  'nova_object.name': name, 'nova_object.namespace': 'nova', 'nova_object.version': version, 'nova_object.data': data,
});

export const instanceWire = (row: Readonly<Record<string, unknown>>): Record<string, unknown> => wireObject('Instance', '2.7', structuredClone(row));

/** As nova-api passes Neutron's words on: the instance comes without flavor and metadata. */
export function eventMessage(node: TestNode, instance: string, name: string, tag: string, status = 'completed'): WireMessage {
  const row = node.rpc.instances.find((one) => one['uuid'] === instance) ?? {};
  const { flavor: _flavor, metadata: _metadata, system_metadata: _system, ...rest } = row;
  return messageOf('external_instance_event', {
    instances: [instanceWire({ migration_context: null, ...rest })],
    events: [wireObject('InstanceExternalEvent', '1.5', { instance_uuid: instance, name, status, tag })],
  }, { is_admin: true });
}

function pluggerOn(node: () => TestNode, neutron: FakeNeutron, taps: TestNode['taps'], background: Promise<unknown>[]): Plugger {
  return {
    async plug(instance, vif) {
      taps.set(vif.devname, { instance, port: vif.id });
      node().world.taps.set(vif.devname, instance);
      Object.assign(neutron.ports.get(vif.id) ?? {}, { status: 'ACTIVE' });
      background.push(node().onPlug(instance, vif));
      return { port: vif.id, tapName: vif.devname, mac: vif.address, mtu: 1500, isOurs: true };
    },
    async unplug(instance, port) {
      Object.assign(neutron.ports.get(port) ?? {}, { status: 'DOWN' });
      for (const [name, tap] of taps) {
        if (tap.instance !== instance || tap.port !== port) continue;
        taps.delete(name);
        node().world.taps.delete(name);
      }
    },
    listOwned: async () => [...taps].map(([tapName, tap]) => ({ tapName, ...tap })),
  };
}

function glanceOn(node: () => TestNode): GlanceClient {
  return {
    show: async (_context, id) => ({
      id: parseImageId(id), name: 'cirros', status: 'active', diskFormat: 'raw', containerFormat: 'bare', sizeBytes: 4096n, minDiskGiB: 0, minRamMiB: 0, checksum: null,
      hashAlgorithm: null, hashValue: null, properties: {}, ...node().image,
    }),
    download: () => Promise.reject(new Error('no image is fetched in these tests')),
    upload: async (_context, id, content) => {
      for await (const _chunk of content.open()) node().glanceCalls.push(`upload ${id}`);
    },
    update: async (_context, id, attributes) => void node().glanceCalls.push(`update ${id} ${JSON.stringify(attributes)}`),
    list: async (_context, properties) => {
      node().glanceCalls.push(`list ${JSON.stringify(properties)}`);
      return [...node().glanceList];
    },
    seen: async () => new Set([...node().world.nodes.keys()].map(parseImageId).filter((id) => !node().goneImages.has(id) && id !== node().hiddenImage)),
    isGone: async (id) => node().goneImages.has(id),
    remove: async (_context, id) => void node().glanceCalls.push(`remove ${id}`),
    createHidden: () => Promise.reject(new Error('no image is made in these tests')),
    room: async () => ({ bytes: null, images: null }),
    hidden: async () => [],
    look: async () => null,
    discard: async (id) => void node().glanceCalls.push(`discard ${id}`),
  };
}

function driverExtras(world: World, host: string, listeners: ((event: GuestEvent) => void)[]): Partial<HypervisorDriver> {
  const isRunning = (instance: InstanceUuid): boolean => {
    const guest = world.folders.get(instance);
    return guest !== undefined && guest !== 'empty' && guest.isRunning;
  };
  const isPaused = (instance: InstanceUuid): boolean => {
    const guest = world.folders.get(instance);
    return guest !== undefined && guest !== 'empty' && guest.isPaused === true;
  };
  return {
    inventory: async () => ({
      vcpus: 8, memoryMiB: 16384, memoryUsedMiB: 3000, hypervisorVersion: 13002000, hypervisorHostname: host, cpuInfo: '{"arch":"x86_64"}', supportedArchitectures: ['x86_64'],
      traits: ['HW_ARCH_X86_64'],
    }),
    onEvent: (listener) => { listeners.push(listener); },
    consoleLog: async (instance, lines) => (world.folders.has(instance) ? ['one', 'two', 'three'].slice(-(lines ?? 3)).join('\n') : undefined),
    vncEndpoint: async (instance) => (isRunning(instance) && !isPaused(instance) ? { host: '10.0.0.1', port: 5900 } : null),
    openVncConsole: async (instance) => (isRunning(instance) && !isPaused(instance) ? { host: '10.0.0.1', port: 5900 } : null),
    diagnostics: async (instance) => ({
      state: isRunning(instance) ? 'running' : 'shutdown', uptimeSeconds: 7, memoryMaximumMiB: 64, memoryUsedMiB: 32, cpus: [{ id: 0, timeNs: 5n }], nics: [], disks: [],
    }),
    uptimeLine: async () => ' 9:00AM  up 1 day,  2:03, 1 user, load averages: 0.10, 0.20, 0.30',
  };
}

/** Disk, folder and (unless it is off) a running guest of an instance that was built before. */
export function putGuest(node: TestNode, uuid: string, options: { isRunning: boolean; isPaused?: boolean; isSaved?: boolean; vifs?: readonly Vif[] } = { isRunning: true }): void {
  const instance = uuid as InstanceUuid;
  const nics = (options.vifs ?? []).map((vif) => ({ port: vif.id, tapName: vif.devname, mac: vif.address, mtu: 1500, model: 'virtio' as const }));
  node.world.disks.set(instance, new Map([['root', { isGrown: true, image: 'cached', bus: null, bytes: 1n << 30n, madeFor: null }]]));
  node.world.images.add('cached');
  node.world.folders.set(instance, {
    definition: guestDefinition({ instance, vcpus: 1, memoryMiB: 64, disks: [], configDrive: null, nics }), isRunning: options.isRunning, isPaused: options.isPaused === true, starts: 1, memory: 1, variablesSince: 1,
    ...(options.isSaved === true ? { save: { memory: 1, disks: { root: 'as after start 1' } } } : {}),
  });
  if (options.isSaved === true) node.world.still.add(instance);
  if (!options.isRunning && options.isSaved !== true) return;
  for (const nic of nics) {
    node.taps.set(nic.tapName, { instance, port: parsePortId(nic.port) });
    node.world.taps.set(nic.tapName, instance);
  }
}
