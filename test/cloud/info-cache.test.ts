/** What users see of a server's addresses stays what Neutron says: addresses and floating addresses that change, a port that is deleted, a cache that was lost. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { endpoints, layoutOf, until } from './control-plane/index.js';
import { agentProcess } from './support/agent.js';
import type { Cloud } from './support/cloud.js';
import { addressOf, useLab } from './support/use-lab.js';

const lab = useLab();
const neutron = `${endpoints.neutron}/v2.0`;

const addressesOf = async (cloud: Cloud, id: string): Promise<string[]> => Object.values((await cloud.servers.show(id))?.addresses ?? {}).flat().map(({ addr }) => addr).sort();
const shows = (cloud: Cloud, id: string, wanted: readonly string[], limitMs = 120_000): Promise<unknown> => {
  let last: readonly string[] = [];
  return until(limitMs, () => `the server shows ${last.join(', ')}; expected ${wanted.join(', ')}`, async () => {
    last = await addressesOf(cloud, id);
    return [...last].join() === [...wanted].sort().join() ? true : null;
  }, 250);
};

afterAll(async () => {
  const { node, cloud } = lab();
  await agentProcess(node).restart(cloud);
});

/** A router of its own between lab-flat and an outer network, and a floating address of the port; all is removed by the function it gives. */
async function floatingFor(cloud: Cloud, port: string): Promise<{ address: string; release: () => Promise<void> }> {
  const undo: (() => Promise<unknown>)[] = [];
  const release = async (): Promise<void> => { for (const one of undo.splice(0).reverse()) await one(); };
  const make = async <T extends { id: string }>(kind: string, body: Record<string, unknown>): Promise<T> => {
    const made = (await cloud.admin.post<Record<string, T>>(`${neutron}/${kind}s`, { [kind]: body }))[kind]!;
    undo.push(() => cloud.admin.remove(`${neutron}/${kind}s/${made.id}`));
    return made;
  };
  try {
    const outer = await make('network', { name: 'outer', 'router:external': true, 'provider:network_type': 'vlan', 'provider:physical_network': 'physnet1', 'provider:segmentation_id': 199 });
    await make('subnet', { network_id: outer.id, ip_version: 4, cidr: '198.51.100.0/24', enable_dhcp: false });
    const router = await make('router', { name: 'outer', external_gateway_info: { network_id: outer.id } });
    const leg = await cloud.network.createPort('lab-flat', cloud.demo.projectId);
    undo.push(() => cloud.network.removePort(leg.id));
    await cloud.admin.put(`${neutron}/routers/${router.id}/add_router_interface`, { port_id: leg.id });
    undo.push(() => cloud.admin.put(`${neutron}/routers/${router.id}/remove_router_interface`, { port_id: leg.id }));
    const { floating_ip_address: address } = await make<{ id: string; floating_ip_address: string }>('floatingip', { floating_network_id: outer.id, port_id: port, project_id: cloud.demo.projectId });
    return { address, release };
  } catch (error) {
    await release();
    throw error;
  }
}

test("a server's addresses follow its port: another fixed address, a floating one that comes and goes, and the deletion of the port", async () => {
  const { cloud, boot } = lab();
  const port = await cloud.network.createPort('lab-flat', cloud.demo.projectId);
  try {
    const { id, server } = await boot({ networks: [{ port: port.id }] });
    const [first] = port.fixed_ips;
    expect(addressOf(server)).toBe(first!.ip_address);

    const other = first!.ip_address.replace(/\.\d+$/, '.241');
    await cloud.admin.put(`${neutron}/ports/${port.id}`, { port: { fixed_ips: [{ ip_address: other }] } });
    await shows(cloud, id, [other]);

    const floating = await floatingFor(cloud, port.id);
    try {
      await shows(cloud, id, [other, floating.address]);
    } finally {
      await floating.release();
    }
    await shows(cloud, id, [other]);

    await cloud.network.removePort(port.id);
    await shows(cloud, id, []);
    expect((await cloud.servers.show(id))?.status).toBe('ACTIVE');
  } finally {
    await cloud.network.removePort(port.id);
  }
});

test('a network info cache that was lost while the agent was away is healed from Neutron', async () => {
  const { agent, cloud, boot, node } = lab();
  const { id, address } = await boot();
  await agent.stop();
  const socket = join(layoutOf().run, 'mysql/mysql.sock');
  execFileSync('mariadb', ['--no-defaults', '-u', 'root', '-S', socket, 'nova', '-e', `UPDATE instance_info_caches SET network_info = '[]' WHERE instance_uuid = '${id}'`]);
  expect(await addressesOf(cloud, id)).toEqual([]);
  const healing = agentProcess(node, { DEFAULT: { heal_instance_info_cache_interval: 2 } });
  healing.start();
  await healing.waitUp(cloud);
  await shows(cloud, id, [address]);
});
