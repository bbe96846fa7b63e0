/** Conductor, Placement, Glance and Neutron as the compute methods see them, on a World. Each refuses what the real one refuses. */
import { randomUUID } from 'node:crypto';
import { parseImageId, parseInstanceUuid, parsePortId, type ImageId, type InstanceUuid } from '../../src/lib/ids.js';
import { AgentError } from '../../src/lib/errors.js';
import { novaFaults } from '../../src/lib/nova-faults.js';
import type { Conductor, ExpectedTaskState, SaveOptions } from '../../src/conductor/index.js';
import { createObject, isNovaObject, parseObject, type NovaObjectOf, type WireObject } from '../../src/objects/index.js';
import type { GlanceClient, GlanceImage, PlacementClient } from '../../src/openstack/index.js';
import type { NetworkInfo, Ports, Vif } from '../../src/network/index.js';
import { RemoteError } from '../../src/rpc/index.js';
import type { ResourceTracker } from '../../src/compute/index.js';
import { imageId, ourHost, profile, providerUuid, rowOf, type World } from './world.js';
import { withEffects, type CrashRecorder } from './crash.js';
import { messageTo } from './wire.js';

type Half = () => Promise<void>;

const remote = (name: string, kwargs: Record<string, unknown> = {}): RemoteError => new RemoteError(name, 'nova.exception', name, [], kwargs);
const notUsed = (name: string) => (): never => { throw new Error(`the simulation has no ${name}`); };

function requireRow(world: World, uuid: string): NovaObjectOf<'Instance'> {
  const row = rowOf(world, uuid);
  if (row === undefined) throw remote('InstanceNotFound', { instance_id: uuid });
  return row;
}

function checkTask(row: NovaObjectOf<'Instance'>, expected: ExpectedTaskState | undefined): void {
  if (expected === undefined) return;
  const list: readonly (string | null)[] = expected === null || typeof expected === 'string' ? [expected] : expected;
  const actual = row.get('task_state');
  if (!list.includes(actual)) throw remote(actual === 'deleting' ? 'UnexpectedDeletingTaskStateError' : 'UnexpectedTaskStateError', { actual: { task_state: actual } });
}

function store(world: World, row: NovaObjectOf<'Instance'>): void {
  row.resetChanges();
  world.rows.set(row.get('uuid'), JSON.parse(JSON.stringify(row.toWire())) as WireObject);
}

function fakeInstances(world: World): Conductor['instances'] {
  const all = (): NovaObjectOf<'Instance'>[] => [...world.rows.keys()].map((uuid) => requireRow(world, uuid));
  return {
    byUuid: async (_context, uuid) => requireRow(world, uuid),
    byHost: async (_context, host) => all().filter((row) => row.get('host') === host),
    byHostAndNode: async (_context, host) => all().filter((row) => row.get('host') === host),
    byFilters: async (_context, filters) => {
      const uuids = filters['uuid'] as string[] | undefined;
      if (filters['deleted'] === true) return [];
      return all().filter((row) => (uuids === undefined || uuids.includes(row.get('uuid'))) && (filters['vm_state'] === undefined || row.get('vm_state') === filters['vm_state'])
        && (filters['task_state'] === undefined || row.get('task_state') === filters['task_state']) && (filters['host'] === undefined || row.get('host') === filters['host']));
    },
    uuidsByHost: async (_context, host) => all().filter((row) => row.get('host') === host).map((row) => parseInstanceUuid(row.get('uuid'))),
    async save(_context, instance, options?: SaveOptions) {
      const row = requireRow(world, instance.get('uuid'));
      if (instance.changes.size === 0) return;
      checkTask(row, options?.expectedTaskState);
      for (const field of instance.changes) row.set(field as 'host', instance.get(field as 'host'));
      store(world, row);
      instance.resetChanges();
    },
    async refresh(_context, instance) {
      const row = requireRow(world, instance.get('uuid'));
      instance.takeFrom(row);
      instance.resetChanges();
    },
    async destroy(_context, instance) {
      requireRow(world, instance.get('uuid'));
      world.rows.delete(instance.get('uuid'));
    },
    load: async () => undefined,
    activeBetween: async () => [],
    async dropMigrationContext(_context, instance) {
      const row = requireRow(world, instance.get('uuid'));
      row.set('migration_context', null);
      store(world, row);
    },
  };
}

function saveMigration(world: World, migration: NovaObjectOf<'Migration'>): void {
  migration.resetChanges();
  world.migrations.set(migration.get('id'), JSON.parse(JSON.stringify(migration.toWire())) as WireObject);
}

export function fakeConductor(world: World, crash: CrashRecorder): Conductor {
  const service = createObject(profile, 'Service', { id: 1, host: ourHost, binary: 'nova-compute', topic: 'compute', report_count: 1, disabled: false, forced_down: false, version: profile.serviceVersion });
  return {
    waitUntilAlive: async () => undefined,
    negotiate: async () => profile,
    profile,
    services: {
      minimumVersion: async () => profile.serviceVersion, byHostAndBinary: async () => service, byComputeHost: async () => service, create: async () => service, save: async () => undefined,
    },
    computeNodes: {
      byUuids: async () => [], byHost: async () => [], byHostAndNodename: async () => null, byUuid: async () => null, create: async () => undefined, save: async () => undefined, destroy: async () => undefined,
    },
    instances: withEffects(fakeInstances(world), 'instances', crash, ['save', 'destroy', 'dropMigrationContext']),
    infoCaches: { byInstance: async () => null, save: async () => undefined },
    blockDevices: withEffects({ byInstance: async () => [], save: async () => undefined }, 'blockDevices', crash, ['save']),
    actions: withEffects({
      eventStart: async (_context, uuid, event) => { world.events.push({ uuid, event, result: null }); },
      eventFinish: async (_context, uuid, event, failure) => {
        const open = world.events.findLast((one) => one.uuid === uuid && one.event === event && one.result === null);
        if (open !== undefined) open.result = failure === null ? 'Success' : 'Error';
      },
      actionStart: async () => undefined,
    } satisfies Conductor['actions'], 'actions', crash, ['eventStart', 'eventFinish', 'actionStart']),
    faults: withEffects({ create: async (_context, fault) => { world.faults.push({ uuid: fault.instance, message: fault.message }); } } satisfies Conductor['faults'], 'faults', crash, ['create']),
    migrations: withEffects({
      byFilters: async () => [], inProgressAndError: async () => [], unconfirmed: async () => [],
      byId: async (_context, id) => {
        const wire = world.migrations.get(id);
        return wire === undefined ? null : (parseObject(wire) as NovaObjectOf<'Migration'>);
      },
      save: async (_context, migration) => saveMigration(world, migration),
    } satisfies Conductor['migrations'], 'migrations', crash, ['save']),
    virtualInterfaces: { create: async () => undefined, byInstance: async () => [], deleteByInstance: async () => undefined },
    consoleTokens: { authorize: async () => 'token', cleanForInstance: async () => undefined, cleanExpired: async () => undefined },
    usageAudits: { hasBegun: async () => true, begin: async () => undefined, end: async () => undefined },
    groups: { byName: async () => null, byUuid: async () => null },
    rebuildElsewhere: async (_context, args) => { world.rebuilds.push(args); },
    moveElsewhere: async () => undefined,
    continueOn: (_context, _host, method, args) => crash.effect('broker.cast', async () => {
      const toWire = (value: unknown): unknown => (isNovaObject(value) ? JSON.parse(JSON.stringify(value.toWire())) as unknown : value);
      world.queue.push(messageTo(method, Object.fromEntries(Object.entries(args).map(([name, value]) => [name, toWire(value)]))));
    }),
    scheduler: { updateInstances: async () => undefined, deleteInstance: async () => undefined, syncInstances: async () => undefined },
  };
}

export function fakePlacement(world: World, crash: CrashRecorder): PlacementClient {
  const unused = notUsed('Placement call');
  return withEffects({
    providersInTree: unused, providerByName: unused, createProvider: unused, deleteProvider: unused, inventories: unused, putInventories: unused, traits: unused, putTraits: unused,
    knownTraits: unused, createCustomTrait: unused, createResourceClass: unused, putAllocations: unused, removeProviderFromAllocations: async () => undefined,
    allocationsOf: async (consumer) => ({
      allocations: world.allocations.has(consumer) ? { [providerUuid]: { resources: { VCPU: 1 } } } : {}, projectId: null, userId: null, consumerGeneration: 1,
    }),
    allocationsOnProvider: async () => Object.fromEntries([...world.allocations].map((consumer) => [consumer, { resources: { VCPU: 1 } }])),
    moveAllocations: async (from, to) => {
      if (world.allocations.delete(from)) world.allocations.add(to);
    },
    removeAllocations: async (consumer) => world.allocations.delete(consumer),
    deleteAllocations: async (consumer) => { world.allocations.delete(consumer); },
  } satisfies PlacementClient, 'placement', crash, ['deleteAllocations', 'removeAllocations', 'moveAllocations']);
}

export function fakeTracker(world: World, crash: CrashRecorder): ResourceTracker {
  const conductor = fakeInstances(world);
  const base = {
    providerUuid,
    async claim(context: Parameters<ResourceTracker['claim']>[0], instance: NovaObjectOf<'Instance'>) {
      instance.set('host', ourHost);
      instance.set('node', ourHost);
      instance.set('launched_on', ourHost);
      await conductor.save(context, instance);
    },
    async abortClaim(context: Parameters<ResourceTracker['claim']>[0], instance: NovaObjectOf<'Instance'>) {
      instance.set('host', null);
      instance.set('node', null);
      instance.set('launched_on', null);
      await conductor.save(context, instance);
    },
    async claimMove(context: Parameters<ResourceTracker['claim']>[0], instance: NovaObjectOf<'Instance'>, { migration }: Parameters<ResourceTracker['claimMove']>[2], half?: Half) {
      migration.set('dest_compute', ourHost);
      saveMigration(world, migration);
      await half?.();
      instance.set('migration_context', createObject(profile, 'MigrationContext', { instance_uuid: instance.get('uuid'), migration_id: migration.get('id') }));
      await conductor.save(context, instance);
    },
    async endMove(_context: unknown, _instance: unknown, { migration, status }: Parameters<ResourceTracker['endMove']>[2], write: () => Promise<void>, half?: Half) {
      migration.set('status', status);
      saveMigration(world, migration);
      await half?.();
      await write();
    },
    release: async () => undefined,
    update: async () => undefined,
    audit: async () => undefined,
    setHostEnabled: async () => undefined,
    recordBuildFailure: async () => undefined,
    recordBuildSuccess: async () => undefined,
  };
  return withEffects(base, 'tracker', crash, ['claim', 'abortClaim', 'claimMove', 'endMove']);
}

export function fakeGlance(world: World, crash: CrashRecorder): GlanceClient {
  const bootable = {
    id: imageId, name: 'cirros', status: 'active', diskFormat: 'raw', containerFormat: 'bare', sizeBytes: 4096n, minDiskGiB: 0, minRamMiB: 0, checksum: null,
    hashAlgorithm: null, hashValue: null, properties: {},
  } as unknown as GlanceImage;
  const made = (id: string): Exclude<ReturnType<World['glance']['get']>, undefined> => {
    const image = world.glance.get(id);
    if (image === undefined) throw new AgentError('http-not-found', 'no such image', { wire: novaFaults.imageNotFound(id) });
    return image;
  };
  const shown = (): ImageId[] => [...world.glance].filter(([, image]) => image.isHidden !== true).map(([id]) => parseImageId(id));
  const hiddenWith = (properties: Readonly<Record<string, string>>): ImageId[] => [...world.glance]
    .filter(([, image]) => image.isHidden === true && Object.entries(properties).every(([key, value]) => image.properties?.[key] === value)).map(([id]) => parseImageId(id));
  return withEffects<GlanceClient>({
    async show(_context, id) {
      if (id === imageId) return bootable;
      const image = made(id);
      if (image.status === 'saving') image.status = 'queued'; // the connection of the agent that died is gone
      return { ...bootable, id, status: image.status, diskFormat: image.diskFormat, properties: image.properties ?? {} };
    },
    download: async (_context, id) => {
      const data = world.imageData.get(id);
      if (data === undefined) throw new AgentError('http-not-found', 'no such image', { wire: novaFaults.imageNotFound(id) });
      return (async function* () { yield data; })();
    },
    async upload(_context, id, content, _signal, half?: Half) {
      const image = made(id);
      if (image.status === 'active') throw new AgentError('http-conflict', 'the image has its data');
      image.status = 'saving';
      const chunks: Uint8Array[] = [];
      for await (const chunk of content.open()) {
        chunks.push(chunk);
        await half?.();
      }
      world.imageData.set(id, Buffer.concat(chunks));
      image.status = 'active';
    },
    async update(_context, id, attributes) {
      const properties = Object.fromEntries(Object.entries(attributes).filter(([name]) => name.startsWith('bhyve_')));
      const image = made(id);
      image.diskFormat = attributes['disk_format'] ?? null;
      if (image.properties !== undefined) image.properties = { ...image.properties, ...properties };
    },
    async createHidden(_context, { disk_format: diskFormat = null, name: _name, container_format: _container, ...properties }, half?: Half) {
      const id = parseImageId(randomUUID());
      world.glance.set(id, { status: 'queued', diskFormat, properties, isHidden: true });
      await half?.();
      return id;
    },
    room: async () => ({ bytes: null, images: null }),
    hidden: async (properties) => hiddenWith(properties).map((id) => ({ ...bootable, id, properties: made(id).properties ?? {} })),
    look: async (id) => (world.glance.has(id) ? { ...bootable, id, status: made(id).status, properties: made(id).properties ?? {} } : null),
    discard: async (id) => { world.glance.delete(id); },
    seen: async () => new Set(shown()),
    isGone: async (id) => id !== imageId && !world.glance.has(id),
    list: async (_context, { os_hidden: isHidden, ...properties }) => (isHidden === 'true' ? hiddenWith(properties) : shown()),
    remove: async (_context, id) => { world.glance.delete(id); },
  }, 'glance', crash, ['upload', 'update', 'remove', 'createHidden']);
}

const portOf = (instance: string): string => instance.replaceAll('1', 'a');

function vif(world: World, port: string): Vif {
  return {
    id: parsePortId(port), address: 'fa:16:3e:00:00:01', type: 'ovs', devname: `tap${port.slice(0, 11)}`, vnic_type: 'normal', active: world.ports.get(port)?.isActive ?? false, details: {},
    profile: {}, preserve_on_delete: false, delegate_create: true, ovs_interfaceid: port, qbh_params: null, qbg_params: null, meta: {},
    network: { id: 'net-1', bridge: null, label: 'flat', subnets: [], meta: { mtu: 1500 } },
  };
}

export function fakePorts(world: World, crash: CrashRecorder): Ports {
  const infoOf = (uuid: string): NetworkInfo => [...world.ports].filter(([, port]) => port.instance === uuid).map(([id]) => vif(world, id));
  const base: Ports = {
    async allocate(_context, request, _signal, half?: Half) {
      const uuid = request.instance.get('uuid');
      world.ports.set(portOf(uuid), { instance: uuid, isBound: false, isActive: false });
      await half?.();
      world.ports.set(portOf(uuid), { instance: uuid, isBound: true, isActive: false });
      return infoOf(uuid);
    },
    async rebind(_context, instance) {
      for (const port of world.ports.values()) if (port.instance === instance.get('uuid')) port.isBound = true;
      return infoOf(instance.get('uuid'));
    },
    async unbind(_context, instance) {
      for (const port of world.ports.values()) if (port.instance === instance.get('uuid')) Object.assign(port, { isBound: false, isActive: false });
    },
    async release(_context, instance) {
      for (const [id, port] of world.ports) if (port.instance === instance.get('uuid')) world.ports.delete(id);
    },
    refresh: async (_context, instance) => infoOf(instance.get('uuid')),
    heal: async (_context, instance) => infoOf(instance.get('uuid')),
    wired: async (_context, instance) => new Set(infoOf(instance.get('uuid')).filter((one) => one.active).map((one) => one.id)),
    cached: (instance) => infoOf(instance.get('uuid')),
  };
  return withEffects(base, 'ports', crash, ['allocate', 'release', 'rebind', 'unbind']);
}

export const missing = (what: string): AgentError => new AgentError('sim-missing', what);
export const parseRow = (wire: WireObject): NovaObjectOf<'Instance'> => parseObject(wire) as NovaObjectOf<'Instance'>;
export type { InstanceUuid };
