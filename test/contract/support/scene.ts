/** Sets a node up as the recorded one was when an operation began. */
import { objectsIn, recordedMessages } from '../../fakes/wire-samples.js';
import type { WireMessage } from '../../../src/rpc/index.js';
import type { Vif } from '../../../src/network/index.js';
import { createTestNode, instanceWire, providerUuid, putGuest, type NodeSettings, type TestNode } from './compute-node.js';
import { recorded, rowIn, type Recorded } from './recorded.js';

export interface Scene extends Recorded {
  readonly node: TestNode;
  /** The message of the operation itself; events that came in beside it are in `incoming`. */
  readonly message: WireMessage;
  /** The instance's row before the message. */
  readonly row: Readonly<Record<string, unknown>>;
}

/** The network that all recorded servers with a port are on. */
const network = '437ea60d-cf80-4d77-be32-e580863fdab1';

interface Mapping { readonly id: number; readonly instance_uuid: string }

/** `guest`: what is on the machine before the operation. `cannotBind`: Neutron has no live L2 agent on this host. */
export async function scene(operation: string, options: { guest: 'none' | 'running' | 'paused' | 'stopped' | 'suspended'; cannotBind?: boolean; isOneHost?: boolean } & NodeSettings): Promise<Scene> {
  const play = recorded(operation, options);
  const node = await createTestNode({ host: play.host, ...options });
  const message = play.incoming.find((one) => (one['args'] as Record<string, unknown>)['instance'] !== undefined) ?? play.incoming[0];
  if (message === undefined) throw new Error(`nothing came in during ${operation}`);
  const row = rowOf(message);
  node.rpc.instances.push(structuredClone(row));
  const uuid = String(row['uuid']);
  node.placement.allocate(uuid, { [providerUuid]: { resources: { VCPU: 1, MEMORY_MB: 64, DISK_GB: 1 } } });
  seedMove(node, message);
  for (const device of mappingsOf(operation)) if (device.instance_uuid === uuid) node.rpc.blockDevices.push({ ...device });
  if (options.cannotBind === true) node.neutron.hosts.clear();
  const vifs = seedNetwork(node, row, requestedNetworks(message));
  node.rpc.infoCaches.push({ instance_uuid: uuid, network_info: JSON.stringify(vifs) });
  if (options.guest !== 'none') putGuest(node, uuid, { isRunning: !['stopped', 'suspended'].includes(options.guest), isPaused: options.guest === 'paused', isSaved: options.guest === 'suspended', vifs });
  if (options.guest !== 'none') await node.deps.tracker.audit(node.deps.ownContext(), { startup: true });
  node.forget();
  return { ...play, node, message, row };
}

/** The migration of a move as the conductor made it: a row, and the old flavor's allocation. */
function seedMove(node: TestNode, message: WireMessage): void {
  const [migration] = objectsIn((message['args'] as Record<string, unknown>)['migration']);
  if (migration === undefined) return;
  const row = structuredClone(migration['nova_object.data']) as Record<string, unknown>;
  node.rpc.migrations.push(row);
  node.placement.allocate(String(row['uuid']), { [providerUuid]: { resources: { VCPU: 1, MEMORY_MB: 64, DISK_GB: 1 } } });
}

/** The message brings part of the row; the rest (flavor, network cache …) is as when the server was built. */
function rowOf(message: WireMessage): Record<string, unknown> {
  const { migration_context: _context, ...brought } = rowIn(message);
  const [built] = recorded('create').incoming;
  const { flavor, info_cache: cache, metadata, system_metadata: system } = built === undefined ? {} : rowIn(built);
  return { flavor, info_cache: cache, metadata, system_metadata: system, ...brought, pci_requests: null, numa_topology: null };
}

const requestedNetworks = (message: WireMessage): string[] =>
  objectsIn((message['args'] as Record<string, unknown>)['requested_networks']).flatMap((list) => objectsIn((list['nova_object.data'] as { objects: unknown }).objects))
    .map((request) => (request['nova_object.data'] as { network_id?: string }).network_id ?? '').filter((id) => /^[0-9a-f]{8}-/.test(id));

/** The recorded conductor's rows of block devices. */
function mappingsOf(operation: string): Mapping[] {
  return [operation, 'create', 'create-no-network'].flatMap((name) => recordedMessages(name)).flatMap((one) => objectsIn(one.message['result'] ?? one.message['args']))
    .flatMap((object) => (object['nova_object.name'] === 'BlockDeviceMappingList' ? objectsIn((object['nova_object.data'] as { objects: unknown }).objects) : []))
    .map((member) => member['nova_object.data'] as Mapping).filter((device, index, all) => all.findIndex((other) => other.id === device.id) === index);
}

/** Neutron as it was: the network, and the server's port if it has one already. New ports get the recorded ids. */
function seedNetwork(node: TestNode, row: Readonly<Record<string, unknown>>, wanted: readonly string[]): Vif[] {
  for (const id of new Set([network, ...wanted])) node.neutron.addNetwork(id, { name: 'flat0', tenant_id: String(row['project_id']), shared: true });
  const [last] = recordedMessages('create').filter((one) => (one.message['args'] as { objmethod?: string } | undefined)?.objmethod === 'save')
    .flatMap((one) => objectsIn((one.message['args'] as { objinst: unknown }).objinst)).filter((object) => object['nova_object.name'] === 'InstanceInfoCache').slice(-1);
  const vifs = JSON.parse(String((last?.['nova_object.data'] as { network_info?: string } | undefined)?.network_info)) as Vif[];
  const isBuild = row['vm_state'] === 'building';
  const body = (vif: Vif): Record<string, unknown> => ({ mac_address: vif.address, tenant_id: row['project_id'] });
  if (isBuild) {
    const free = recordedOwner() === row['uuid'] ? [...vifs] : [];
    node.neutron.intercept = (call) => {
      const vif = call.method === 'POST' && call.path === '/v2.0/ports' ? free.shift() : undefined;
      if (vif === undefined) return undefined;
      node.neutron.addPort(vif.id, network, { ...body(vif), ...(call.body?.['port'] as Record<string, unknown>) });
      return { status: 201, headers: {}, body: { port: node.neutron.ports.get(vif.id) } };
    };
    return [];
  }
  const mine = recordedOwner() === row['uuid'] ? vifs : [];
  for (const vif of mine) {
    node.neutron.addPort(vif.id, network, {
      ...body(vif), status: 'ACTIVE', device_id: row['uuid'], device_owner: 'compute:nova', 'binding:host_id': node.deps.options.host, 'binding:vif_type': 'ovs',
      'binding:vif_details': { connectivity: 'l2', bridge_name: 'br-int' },
    });
  }
  return mine;
}

const recordedOwner = (): unknown => {
  const [built] = recorded('create').incoming;
  return built === undefined ? undefined : rowIn(built)['uuid'];
};

export { instanceWire };
