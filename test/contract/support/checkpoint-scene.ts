/** A server on a TestNode whose checkpoints are made and returned to. */
import { wireFaultOf } from '../../../src/lib/errors.js';
import type { InstanceUuid } from '../../../src/lib/ids.js';
import { createTestNode, instanceWire, messageOf, putGuest, wireObject, type Answer, type TestNode } from './compute-node.js';

export type Data = Record<string, unknown>;
/** Stands for the checkpoint that a test makes. */
export const image = 'cccccccc-0000-4000-8000-000000000001';
export const other = 'cccccccc-0000-4000-8000-000000000002';
export const rowOf = (node: TestNode): Data => node.rpc.instances[0] ?? {};

export interface Scene { readonly node: TestNode; readonly uuid: InstanceUuid; readonly send: (method: string, args?: Data) => Promise<Answer> }

/** A server on this host, with a guest and disks. */
export async function scene(row: Data = {}): Promise<Scene> {
  const node = await createTestNode();
  const flavor = wireObject('Flavor', '1.2', { id: 1, name: 'm1', flavorid: '1', memory_mb: 64, vcpus: 1, root_gb: 1, ephemeral_gb: 0, swap: 0, extra_specs: {} });
  const stored = node.rpc.addInstance({ host: 'fakea', node: 'fakea', vm_state: 'active', power_state: 1, metadata: {}, system_metadata: {}, image_ref: 'base', project_id: 'p1', user_id: 'u1', flavor, ...row });
  const uuid = String(stored['uuid']) as InstanceUuid;
  node.rpc.infoCaches.push({ instance_uuid: uuid, network_info: '[]' });
  putGuest(node, uuid, { isRunning: stored['power_state'] === 1 });
  return {
    node, uuid,
    send: async (method, args = {}) => {
      const answer = await node.receive(messageOf(method, { instance: instanceWire(rowOf(node)), image_id: image, ...args }));
      await node.settled();
      return answer;
    },
  };
}

/** An image that nova-api has made for us to fill. */
export const asked = (properties: Readonly<Record<string, string>>): Partial<TestNode['image']> => ({ status: 'queued', properties });
export const reasonOf = ({ error }: Answer): string => wireFaultOf(error)?.message ?? String(error);
