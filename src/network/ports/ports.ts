import { AgentError } from '../../lib/errors.js';
import { KeyedMutex } from '../../lib/keyed-mutex.js';
import type { Clock } from '../../lib/clock.js';
import type { InstanceUuid, PortId } from '../../lib/ids.js';
import { novaFaults, refuse } from '../../lib/nova-faults.js';
import type { Conductor } from '../../conductor/index.js';
import type { NovaObjectOf } from '../../objects/index.js';
import type { Logger } from '../../observe/index.js';
import type { NeutronClient } from '../../openstack/index.js';
import type { RequestContext } from '../../rpc/context.js';
import type { AllocateRequest, NetworkInfo, Ports, Vif } from '../types.js';
import { callsOf, type Calls } from './calls.js';
import { deletePorts, freePort, unbindPort } from './give-back.js';
import { cachedVifs, openInfoCache } from './info-cache.js';
import { createVifReader } from './network-info.js';
import { profileOf, type NetworkRecord, type PortRecord } from './records.js';
import { isNone, resolveSecurityGroups, resolveWanted, type InstanceFacts } from './requested.js';
import { bindPort, clearFailedBinding, createMissing, deviceOwnerOf, type ReadyPort, type Taken } from './take-ports.js';

export interface PortsOptions {
  readonly neutron: NeutronClient;
  readonly conductor: Conductor;
  readonly clock: Clock;
  readonly log: Logger;
  /** [neutron]ovs_bridge; default br-int. */
  readonly ovsBridge?: string;
}

type Instance = NovaObjectOf<'Instance'>;
interface Work { readonly options: PortsOptions; readonly context: RequestContext; readonly instance: Instance; readonly facts: InstanceFacts; readonly log: Logger }

/** See the header of index.ts. */
export function createPorts(options: PortsOptions): Ports {
  const mutex = new KeyedMutex<InstanceUuid>();
  const serialised = <T>(context: RequestContext, instance: Instance, run: (work: Work) => Promise<T>): Promise<T> => {
    const uuid = instance.get('uuid') as InstanceUuid;
    const log = options.log.child({ instance: uuid, req: context.requestId });
    return mutex.run(uuid, () => run({ options, context, instance, log, facts: factsOf(instance) }));
  };
  return {
    allocate: (context, request, signal) => serialised(context, request.instance, (work) => allocate(work, request, signal)),
    rebind: (context, instance, host) => serialised(context, instance, async (work) => {
      await rebind(work, host);
      return refresh(work, undefined);
    }),
    heal: (context, instance, host) => serialised(context, instance, async (work) => {
      await rebind(work, host);
      return refresh(work, undefined, true);
    }),
    unbind: (context, instance) => serialised(context, instance, (work) => unbind(work)),
    release: (context, instance, requested) => serialised(context, instance, (work) => release(work, requested ?? null)),
    refresh: (context, instance, onlyPort) => serialised(context, instance, (work) => refresh(work, onlyPort)),
    wired: async (context, instance) => {
      const { uuid, project } = factsOf(instance);
      const ports = await callsOf(options.neutron, context).portsOf(uuid, project);
      return new Set(ports.filter((port) => port.status === 'ACTIVE').map((port) => port.id));
    },
    cached: cachedVifs,
  };
}

function factsOf(instance: Instance): InstanceFacts {
  const project = instance.maybe('project_id') ?? '';
  if (project === '') throw refuse(novaFaults.invalidInput(`empty project id for instance ${instance.get('uuid')}`));
  return { uuid: instance.get('uuid'), project, hostname: instance.maybe('hostname') ?? null, zone: instance.maybe('availability_zone') ?? null };
}

const requestsOf = (list: AllocateRequest['requestedNetworks']): readonly NovaObjectOf<'NetworkRequest'>[] => list?.get('objects') ?? [];

async function allocate(work: Work, request: AllocateRequest, signal: AbortSignal): Promise<NetworkInfo> {
  const requests = requestsOf(request.requestedNetworks);
  if (isNone(requests)) return [];
  const calls = callsOf(work.options.neutron, work.context, signal);
  const wanted = await resolveWanted(calls, work.context, work.facts, requests);
  if (wanted.length === 0) return [];
  const groupIds = await resolveSecurityGroups(calls, work.facts.project, request.securityGroups);
  const leftovers = await calls.portsOf(work.facts.uuid, work.facts.project);
  const taken: Taken = { created: new Set(), bound: new Set() };
  try {
    const ready = await createMissing(calls, work.facts, wanted, groupIds, leftovers, taken);
    const hasRows = leftovers.length === 0 ? new Set<string>() : await rowsOf(work);
    for (const one of ready) {
      const port = await bindPort(calls, work.facts, one, request.host, taken);
      if (!hasRows.has(port.id)) await recordVif(work, one, port);
    }
    return await saveAllocated(work, calls, ready, wanted.map((one) => one.network));
  } catch (error) {
    await undo(work, taken, new Set([...leftovers.map((port) => port.id), ...wanted.flatMap((one) => one.port?.id ?? [])]));
    throw error;
  }
}

async function rowsOf(work: Work): Promise<Set<string>> {
  const rows = await work.options.conductor.virtualInterfaces.byInstance(work.context, work.facts.uuid as InstanceUuid);
  return new Set(rows.map((row) => row.get('uuid')));
}

async function recordVif(work: Work, ready: ReadyPort, port: PortRecord): Promise<void> {
  await work.options.conductor.virtualInterfaces.create(work.context, {
    port: port.id, instance: work.facts.uuid as InstanceUuid, mac: port.mac_address, tag: ready.wanted.tag });
}

async function saveAllocated(work: Work, calls: Calls, ready: readonly ReadyPort[], networks: readonly NetworkRecord[]): Promise<NetworkInfo> {
  const cache = await openInfoCache(work.options.conductor, work.context, work.instance);
  if (cache === null) throw new AgentError('instance-gone', 'the instance was deleted meanwhile', { wire: novaFaults.instanceNotFound(work.facts.uuid) });
  const current = new Map((await calls.portsOf(work.facts.uuid, work.facts.project)).map((port) => [port.id, port]));
  const reader = createVifReader(calls, networks, work.options.ovsBridge ?? 'br-int');
  const vifs: Vif[] = [];
  for (const { id, wanted } of ready) {
    const port = current.get(id) ?? (await calls.port(id));
    if (port === null) throw refuse(novaFaults.portNotFound(id));
    vifs.push(await reader.vif(port, wanted.port !== null));
  }
  const others = cache.vifs.filter((vif) => !vifs.some((one) => one.id === vif.id));
  await cache.save([...others, ...vifs]);
  return vifs;
}

/** Runs to its end whatever was cancelled; what cannot be undone is logged, the caller's error matters more. */
async function undo(work: Work, taken: Taken, earlier: ReadonlySet<PortId>): Promise<void> {
  const calls = callsOf(work.options.neutron, work.context);
  for (const id of taken.bound) await freePort(calls, id, work.facts.uuid, work.log);
  try {
    // A creation whose answer was lost has left a port that only the list shows.
    const listed = await calls.portsOf(work.facts.uuid, work.facts.project);
    const lost = listed.map((port) => port.id).filter((id) => !earlier.has(id));
    await deletePorts(calls, new Set([...taken.created, ...lost]), work.log);
    // All rows of an instance that is being built come from this build.
    await work.options.conductor.virtualInterfaces.deleteByInstance(work.context, work.facts.uuid as InstanceUuid);
  } catch (error) {
    work.log.warn({ err: error }, 'allocation not fully undone; the release of the instance will try again');
  }
}

async function release(work: Work, requested: AllocateRequest['requestedNetworks']): Promise<void> {
  const { options, context, instance, facts, log } = work;
  const calls = callsOf(options.neutron, context);
  const cache = await openInfoCache(options.conductor, context, instance);
  const kept = new Set<PortId>((cache?.vifs ?? cachedVifs(instance)).filter((vif) => vif.preserve_on_delete).map((vif) => vif.id));
  for (const request of requestsOf(requested)) {
    const id = request.maybe('port_id') ?? null;
    if (id !== null) kept.add(id as PortId);
  }
  const ports = await calls.portsOf(facts.uuid, facts.project);
  for (const id of kept) await freePort(calls, id, facts.uuid, log);
  await deletePorts(calls, ports.map((port) => port.id).filter((id) => !kept.has(id)), log);
  await options.conductor.virtualInterfaces.deleteByInstance(context, facts.uuid as InstanceUuid);
  await cache?.save([]);
}

/** Binds to this host what is bound elsewhere or not at all. */
async function rebind(work: Work, host: string): Promise<void> {
  const calls = callsOf(work.options.neutron, work.context);
  for (const port of await calls.portsOf(work.facts.uuid, work.facts.project)) {
    const isBoundHere = port['binding:host_id'] === host && !['unbound', 'binding_failed'].includes(port['binding:vif_type'] ?? '');
    if (isBoundHere) continue;
    await clearFailedBinding(calls, port, host);
    const { migrating_to: migratingTo, ...profile } = profileOf(port);
    const updated = await calls.updatePort(port.id, {
      'binding:host_id': host, device_owner: deviceOwnerOf(work.facts), ...(migratingTo === undefined ? {} : { 'binding:profile': profile }) });
    if (updated['binding:vif_type'] === 'binding_failed') throw refuse(novaFaults.portBindingFailed(port.id));
  }
}

async function unbind(work: Work): Promise<void> {
  const calls = callsOf(work.options.neutron, work.context);
  for (const port of await calls.portsOf(work.facts.uuid, work.facts.project)) await unbindPort(calls, port);
}

/** `isWhole`: ports that Neutron has and the cache has lost come back, in the order in which they were attached. */
async function refresh(work: Work, onlyPort: PortId | undefined, isWhole = false): Promise<NetworkInfo> {
  const { options, context, facts, log } = work;
  const cache = await openInfoCache(options.conductor, context, work.instance);
  if (cache === null) return [];
  const calls = callsOf(options.neutron, context);
  const listed = await calls.portsOf(facts.uuid, facts.project);
  if (listed.length === 0 && cache.vifs.length > 0 && isBuilding(work.instance)) {
    log.warn({ cached: cache.vifs.length }, 'neutron lists no ports while the instance is being built; network info kept');
    return cache.vifs;
  }
  const lost = isWhole ? await inOrder(work, listed.map((port) => port.id).filter((id) => !cache.vifs.some((vif) => vif.id === id))) : [];
  if (lost.length > 0) log.warn({ ports: lost }, 'ports of the instance were missing in its network info');
  const wanted = onlyPort === undefined ? [...cache.vifs.map((vif) => vif.id), ...lost] : [onlyPort];
  const ports = new Map(listed.map((port) => [port.id, port]));
  for (const id of wanted) {
    if (ports.has(id)) continue;
    const port = await calls.port(id);
    if (port !== null && port.device_id === facts.uuid) ports.set(id, port);
    else log.info({ port: id }, 'port no longer belongs to the instance');
  }
  const vifs = await rebuilt(work, calls, cache.vifs, wanted, ports);
  await cache.save(vifs);
  return vifs;
}

/** As their rows were made; those without a row last. */
async function inOrder(work: Work, ids: readonly PortId[]): Promise<readonly PortId[]> {
  if (ids.length < 2) return ids;
  const rows = [...await rowsOf(work)];
  const place = (id: PortId): number => (rows.includes(id) ? rows.indexOf(id) : rows.length);
  return [...ids].sort((left, right) => place(left) - place(right));
}

/** The cached list with `wanted` renewed in place, dropped where Neutron has none, appended where it is new. */
async function rebuilt(work: Work, calls: Calls, cached: NetworkInfo, wanted: readonly PortId[], ports: ReadonlyMap<PortId, PortRecord>): Promise<NetworkInfo> {
  const present = wanted.flatMap((id) => ports.get(id) ?? []);
  const networks = present.length === 0 ? [] : await calls.networks([...new Set(present.map((port) => port.network_id))]);
  const reader = createVifReader(calls, networks, work.options.ovsBridge ?? 'br-int');
  const vifs: Vif[] = [];
  for (const id of [...cached.map((vif) => vif.id), ...wanted.filter((one) => !cached.some((vif) => vif.id === one))]) {
    const old = cached.find((vif) => vif.id === id);
    const port = ports.get(id);
    if (old !== undefined && !wanted.includes(id)) vifs.push(old);
    else if (port !== undefined) vifs.push(await renewed(work, reader.vif(port, old?.preserve_on_delete ?? false), old));
  }
  return vifs;
}

async function renewed(work: Work, making: Promise<Vif>, old: Vif | undefined): Promise<Vif> {
  const vif = await making;
  if (old !== undefined && old.vnic_type !== vif.vnic_type) {
    work.log.error({ port: vif.id, was: old.vnic_type, is: vif.vnic_type }, 'the vnic_type of a bound port was changed in neutron: change it back');
  }
  return vif;
}

const isBuilding = (instance: Instance): boolean => instance.maybe('vm_state') === 'building';
