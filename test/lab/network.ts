/**
 * Layer 2 of a node: its namespace with an uplink, the bridge that the operator made for physnet1, and the lab's own address at the
 * far end of the uplink, so that guests of the flat network and of VLAN 120 can be pinged from inside the namespace.
 *
 *   tap… ─ br-physnet1 ─ uplink0 ═══ fabric0 10.20.0.1/20                       (untagged: network lab-flat)
 *   tap… ─ br-physnet1.120 ─ uplink0.120 ═══ fabric0.120 10.21.0.1/24           (network lab-vlan)
 *
 * A vlan interface has a wire of its own instead of a tag on the common one, because kernels of small virtual machines often lack
 * 802.1Q. What guests see is the same: VLANs are apart from each other and from the untagged network.
 */
import { execFile } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Gateways of the networks that test/cloud makes. */
export const gateways = { flat: '10.20.0.1/20', vlan: { id: 120, address: '10.21.0.1/24' } } as const;

const netnsOf = (path: string): string => `nb-${basename(path)}`;

export async function ensureNetwork(path: string): Promise<void> {
  const netns = netnsOf(path);
  if (existsSync(join(path, 'run/interfaces.json')) && existsSync(`/run/netns/${netns}`)) return;
  await removeNetwork(path); // half made, or of a machine that was restarted
  await run('ip', ['netns', 'add', netns]);
  const batch = [
    'link set lo up', 'link add uplink0 type veth peer name fabric0', 'link set uplink0 up', 'link set fabric0 up',
    'link add br-physnet1 address 58:9c:fc:10:00:01 type bridge stp_state 0 forward_delay 0 mcast_snooping 0', 'link set uplink0 master br-physnet1', 'link set br-physnet1 up',
    `addr add ${gateways.flat} brd + dev fabric0`,
  ];
  // No IPv6 of the lab's own on the segments of guests, and no answer on one segment for an address of another.
  const settings = ['ipv6/conf/all/disable_ipv6 1', 'ipv6/conf/default/disable_ipv6 1', 'ipv4/conf/all/arp_ignore 1', 'ipv4/conf/all/arp_announce 2'];
  const script = settings.map((setting) => setting.split(' ')).map(([file, value]) => `echo ${value} >/proc/sys/net/${file}`).join('; ');
  await run('nsenter', [`--net=/run/netns/${netns}`, 'sh', '-c', script]);
  for (const line of batch) await run('ip', ['-n', netns, ...line.split(' ')]);
  writeFileSync(join(path, 'run/fabric.json'), JSON.stringify({ vlans: { [gateways.vlan.id]: gateways.vlan.address } }));
  writeFileSync(join(path, 'run/interfaces.json'), JSON.stringify({ 'br-physnet1': { groups: ['bridge'], born: 'bridge0' } }));
}

/** Interfaces go with the namespace. */
export async function removeNetwork(path: string): Promise<void> {
  if (existsSync(`/run/netns/${netnsOf(path)}`)) await run('ip', ['netns', 'delete', netnsOf(path)]);
}
