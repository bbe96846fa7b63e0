/** Nothing must be left of a server that is gone: not on the node, not in Neutron, Placement or Nova. */
import { until } from '../control-plane/index.js';
import type { LabNode } from '../../lab/node.js';
import type { Cloud } from './cloud.js';

/** One line for everything that should not be there when the node has no server. */
export async function leaksOf(cloud: Cloud, node: LabNode): Promise<string[]> {
  const servers = await cloud.servers.list();
  const ports = await cloud.network.ports({ 'binding:host_id': node.name });
  const [hypervisor] = await cloud.compute.hypervisors(node.name);
  const provider = hypervisor === undefined ? null : await cloud.placement.provider(hypervisor.hypervisor_hostname);
  const allocations = provider === null ? {} : await cloud.placement.allocations(provider.uuid);
  const usages = provider === null ? {} : await cloud.placement.usages(provider.uuid);
  return [
    ...servers.map(({ id, name, status }) => `Nova still has server ${name} (${id}, ${status})`),
    ...ports.map(({ id, status, device_id: device }) => `Neutron port ${id} (${status}, device ${device || 'none'}) is still bound to ${node.name}`),
    ...Object.keys(allocations).map((consumer) => `Placement still has an allocation of ${consumer} on ${node.name}`),
    ...Object.entries(usages).filter(([, used]) => used !== 0).map(([name, used]) => `Placement still counts ${used} ${name} as used on ${node.name}`),
    ...(await node.leaks()),
  ];
}

/**
 * Throws with the list if something is left. Waits a little, because some of it is cleaned after Nova has called the server deleted
 * (reaping of datasets is the last step of a deletion, and not in the caller's way; what is busy then goes with the upkeep of every 30 s).
 */
export async function leakCheck(cloud: Cloud, node: LabNode, limitMs = 75_000): Promise<void> {
  let left: string[] = [];
  await until(limitMs, () => `left behind on ${node.name}:\n  ${left.join('\n  ')}`, async () => {
    left = await leaksOf(cloud, node);
    return left.length === 0;
  }, 500);
}
