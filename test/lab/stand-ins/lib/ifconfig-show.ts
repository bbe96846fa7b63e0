/** An interface as FreeBSD's ifconfig(8) prints it. */
import type { StandInNode } from './lab-node.js';
import { type InterfaceNotes, type IpLink, type Notes, tapUser } from './ip.js';

export type Kind = 'tap' | 'bridge' | 'vlan' | 'vxlan' | 'lo' | 'ether' | 'epair';

const bits: readonly (readonly [string, number])[] = [
  ['UP', 0x1], ['BROADCAST', 0x2], ['LOOPBACK', 0x8], ['RUNNING', 0x40], ['PROMISC', 0x100], ['SIMPLEX', 0x800], ['MULTICAST', 0x8000],
];

export function kindOf(link: IpLink): Kind {
  if (link.flags.includes('LOOPBACK')) return 'lo';
  switch (link.linkinfo?.info_kind) {
    case 'tun':
      return 'tap';
    case 'bridge':
      return 'bridge';
    case 'vlan':
      return 'vlan';
    case 'vxlan':
      return 'vxlan';
    default:
      return 'ether';
  }
}

function flagsOf(node: StandInNode, link: IpLink, kind: Kind): string {
  const isUp = link.flags.includes('UP');
  const isOpen = kind === 'tap' && tapUser(node, link.ifname) !== undefined;
  const isRunning = kind === 'tap' ? isOpen : kind === 'vlan' || kind === 'ether' || isUp;
  const wanted: Readonly<Record<string, boolean>> = {
    UP: isUp, BROADCAST: kind !== 'lo', LOOPBACK: kind === 'lo', RUNNING: isRunning, PROMISC: link.master !== undefined, SIMPLEX: kind !== 'lo', MULTICAST: true,
  };
  const set = bits.filter(([name]) => wanted[name] === true);
  return `${set.reduce((sum, [, bit]) => sum | bit, 0).toString(16)}<${set.map(([name]) => name).join(',')}>`;
}

const options: Readonly<Record<Kind, string | undefined>> = {
  tap: '80000<LINKSTATE>', vlan: '80000<LINKSTATE>', vxlan: '80020<JUMBO_MTU,LINKSTATE>', ether: '80028<VLAN_MTU,JUMBO_MTU,LINKSTATE>', epair: '8<VLAN_MTU>',
  lo: '680003<RXCSUM,TXCSUM,LINKSTATE,RXCSUM_IPV6,TXCSUM_IPV6>', bridge: undefined,
};

export interface ShowOptions {
  readonly cidr: boolean;
  readonly dashedEther: boolean;
}

/** All lines of one interface. */
export function showInterface(node: StandInNode, link: IpLink, links: readonly IpLink[], notes: Notes, how: ShowOptions): string {
  const kind = kindOf(link);
  const note: InterfaceNotes | undefined = notes[link.ifname];
  const lines = [`${link.ifname}: flags=${flagsOf(node, link, kind)} metric 0 mtu ${kind === 'lo' ? 16384 : link.mtu}`];
  if (note?.description !== undefined && note.description !== '') lines.push(`\tdescription: ${note.description}`);
  if (options[kind] !== undefined) lines.push(`\toptions=${options[kind]}`);
  if (kind !== 'lo') lines.push(`\tether ${how.dashedEther ? link.address.replaceAll(':', '-') : link.address}`);
  if (note?.hwaddr !== undefined && note.hwaddr !== link.address) lines.push(`\thwaddr ${note.hwaddr}`);
  lines.push(...addresses(link, how));
  if (kind === 'bridge') lines.push(...bridgeLines(link, links, note));
  const groups = kind === 'lo' ? ['lo'] : (note?.groups ?? []);
  if (groups.length > 0) lines.push(`\tgroups: ${groups.join(' ')}`);
  lines.push(...kindLines(node, link, kind));
  lines.push(`\tnd6 options=${kind === 'bridge' ? '9<PERFORMNUD,IFDISABLED>' : kind === 'lo' ? '21<PERFORMNUD,AUTO_LINKLOCAL>' : '29<PERFORMNUD,IFDISABLED,AUTO_LINKLOCAL>'}`);
  const user = kind === 'tap' ? tapUser(node, link.ifname) : undefined;
  if (user !== undefined) lines.push(`\tOpened by PID ${user}`);
  return lines.map((line) => `${line}\n`).join('');
}

function addresses(link: IpLink, how: ShowOptions): string[] {
  return (link.addr_info ?? []).filter((info) => info.family === 'inet' || info.scope !== 'link').map((info) => {
    if (info.family === 'inet6') return `\tinet6 ${info.local} prefixlen ${info.prefixlen}`;
    const mask = `0x${((0xffffffff << (32 - info.prefixlen)) >>> 0).toString(16).padStart(8, '0')}`;
    const broadcast = info.broadcast === undefined ? '' : ` broadcast ${info.broadcast}`;
    return how.cidr ? `\tinet ${info.local}/${info.prefixlen}${broadcast}` : `\tinet ${info.local} netmask ${mask}${broadcast}`;
  });
}

const memberBits: Readonly<Record<string, number>> = { LEARNING: 0x1, DISCOVER: 0x2, STP: 0x4, EDGE: 0x40, AUTOEDGE: 0x100, AUTOPTP: 0x40, PRIVATE: 0x800, STICKY: 0x10 };
const memberOrder = ['LEARNING', 'DISCOVER', 'STP', 'STICKY', 'PRIVATE', 'AUTOEDGE', 'AUTOPTP'];

function bridgeLines(link: IpLink, links: readonly IpLink[], note: InterfaceNotes | undefined): string[] {
  const isUp = link.flags.includes('UP');
  const lines = [
    '\tid 00:00:00:00:00:00 priority 32768 hellotime 2 fwddelay 15',
    `\tmaxage 20 holdcnt 6 proto rstp maxaddr ${note?.maxaddr ?? 2000} timeout ${note?.timeout ?? 1200}`,
    `\troot id 00:00:00:00:00:00 priority ${isUp ? 32768 : 0} ifcost 0 port 0`,
  ];
  const members = links.filter((other) => other.master === link.ifname).reverse();
  for (const member of members) {
    const flags = memberOrder.filter((flag) => ['LEARNING', 'DISCOVER', 'AUTOEDGE', 'AUTOPTP', ...(note?.memberFlags?.[member.ifname] ?? [])].includes(flag));
    const sum = flags.reduce((total, flag) => total | memberBits[flag]!, 0);
    lines.push(`\tmember: ${member.ifname} flags=${sum.toString(16)}<${flags.join(',')}>`);
    lines.push(`\t        ifmaxaddr 0 port ${member.ifindex} priority 128 path cost ${kindOf(member) === 'tap' ? 2000000 : 2000}`);
  }
  return lines;
}

function kindLines(node: StandInNode, link: IpLink, kind: Kind): string[] {
  const data = link.linkinfo?.info_data;
  switch (kind) {
    case 'tap':
      return ['\tmedia: Ethernet autoselect', `\tstatus: ${tapUser(node, link.ifname) === undefined ? 'no carrier' : 'active'}`];
    case 'vlan':
      return [
        `\tvlan: ${data?.id ?? 0} vlanproto: 802.1q vlanpcp: 0 parent interface: ${link.link ?? '<none>'}`, '\tmedia: Ethernet autoselect (10Gbase-T <full-duplex>)', '\tstatus: active',
      ];
    case 'vxlan': {
      const far = data?.group === undefined ? `remote ${data?.remote ?? ''}` : `group ${data.group}`;
      return [...(data?.id === undefined ? [] : [`\tvxlan vni ${data.id} local ${data.local ?? ''}:4789 ${far}:4789`]), '\tmedia: Ethernet autoselect (autoselect <full-duplex>)', '\tstatus: active'];
    }
    case 'ether':
    case 'epair':
      return ['\tmedia: Ethernet autoselect (10Gbase-T <full-duplex>)', '\tstatus: active'];
    case 'bridge':
    case 'lo':
      return [];
    default: {
      const rest: never = kind;
      return [rest];
    }
  }
}
