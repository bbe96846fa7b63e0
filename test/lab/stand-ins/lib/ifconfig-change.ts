/** The changing half of ifconfig(8): create, rename, bridge members, addresses, flags. Called under the lock `interfaces`. */
import { existsSync, lstatSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { type InterfaceNotes, type IpLink, type Notes, ip, readLinks, readNotes, writeNotes } from './ip.js';
import { kindOf } from './ifconfig-show.js';
import { readState, type StandInNode } from './lab-node.js';
import { Exit } from './tool.js';

const clonable = ['bridge', 'vlan', 'vmnet', 'tap', 'tun', 'gif', 'vxlan', 'epair'];
export const fail = (text: string): Exit => new Exit(1, `ifconfig: ${text}\n`);

/** Linux calls the loopback lo. */
const linuxName = (name: string): string => (name === 'lo0' ? 'lo' : name);

export interface Session {
  readonly node: StandInNode;
  links: IpLink[];
  notes: Notes;
}

export function openSession(node: StandInNode): Session {
  return { node, links: readLinks(node), notes: readNotes(node) };
}

function save(session: Session, notes: Notes): void {
  session.notes = notes;
  writeNotes(session.node, notes);
}

export function note(session: Session, name: string, change: Partial<InterfaceNotes>): void {
  const old = session.notes[name] ?? { groups: [], born: name };
  save(session, { ...session.notes, [name]: { ...old, ...change } });
}

function run(session: Session, failure: string, ...args: string[]): void {
  const { code, stderr } = ip(session.node, ...args);
  if (code === 0) return;
  const reason = /exist/.test(stderr) ? 'File exists' : /Cannot find|No such/.test(stderr) ? 'No such file or directory' : /busy/.test(stderr) ? 'Device busy' : 'Invalid argument';
  throw fail(`${failure}: ${reason}`);
}

export const find = (session: Session, name: string): IpLink | undefined => session.links.find((link) => link.ifname === name);

export function mustFind(session: Session, name: string): IpLink {
  const link = find(session, name);
  if (link === undefined) throw fail(`interface ${name} does not exist`);
  return link;
}

const newMac = (): string => ['58', '9c', 'fc', '10', ...[...randomBytes(2)].map((byte) => byte.toString(16).padStart(2, '0'))].join(':');

/** `ifconfig NAME create [clone settings]`; returns the name that the interface got and the arguments that are left. */
export function create(session: Session, asked: string, args: readonly string[]): { name: string; rest: string[]; isNumbered: boolean } {
  const kind = clonable.find((word) => asked === word || new RegExp(`^${word}\\d+$`).test(asked)) ?? (/^[^.]+\.\d+$/.test(asked) ? 'vlan' : undefined);
  if (kind === undefined || (kind === 'vlan' && asked.includes('.') && find(session, asked.split('.')[0]!) === undefined)) {
    throw fail(find(session, asked) === undefined ? `SIOCIFCREATE2 (${asked}): Invalid argument` : `interface ${asked} already exists`);
  }
  const isNumbered = asked !== kind;
  const name = isNumbered ? asked : firstFree(session, kind);
  // The kernel has units up to 32767; it says "exists" of any other.
  const isBeyond = Number(/\d+$/.exec(name)?.[0] ?? 0) > 32767 && kind !== 'vlan';
  if (isBeyond || find(session, name) !== undefined) throw fail(`interface ${asked} already exists`);
  const settings = takeCloneSettings(kind, args);
  if (kind === 'vlan' && asked.includes('.')) {
    settings.values['vlandev'] ??= asked.slice(0, asked.lastIndexOf('.'));
    settings.values['vlan'] ??= asked.slice(asked.lastIndexOf('.') + 1);
  }
  make(session, kind, name, asked, settings.values);
  session.links = readLinks(session.node);
  const vlan = session.notes[name]?.vlan;
  note(session, name, { groups: [kind], born: name, ...(vlan === undefined ? {} : { vlan }), hwaddr: find(session, name)?.address ?? '' });
  if (kind === 'tap') addDeviceNode(session.node, name);
  return { name, rest: settings.rest, isNumbered };
}

function firstFree(session: Session, kind: string): string {
  const taken = new Set([...session.links.map((link) => link.ifname), ...session.links.map((link) => session.notes[link.ifname]?.born)]);
  for (let unit = 0; ; unit++) if (!taken.has(`${kind}${unit}`)) return `${kind}${unit}`;
}

const cloneWords: Readonly<Record<string, readonly string[]>> = {
  vlan: ['vlan', 'vlandev', 'vlanproto', 'vlanpcp'], vxlan: ['vxlanid', 'vxlanlocal', 'vxlanremote', 'vxlangroup', 'vxlandev', 'vxlanttl'],
};

/** Settings that go into the creation itself, wherever they stand. */
function takeCloneSettings(kind: string, args: readonly string[]): { values: Record<string, string>; rest: string[] } {
  const values: Record<string, string> = {};
  const rest: string[] = [];
  for (let index = 0; index < args.length; index++) {
    if (cloneWords[kind]?.includes(args[index]!) === true) values[args[index]!] = args[++index] ?? '';
    else rest.push(args[index]!);
  }
  return { values, rest };
}

function make(session: Session, kind: string, name: string, asked: string, values: Readonly<Record<string, string>>): void {
  const failure = `SIOCIFCREATE2 (${asked})`;
  switch (kind) {
    case 'tap':
      run(session, failure, 'tuntap', 'add', 'mode', 'tap', 'name', name);
      run(session, failure, 'link', 'set', name, 'address', newMac());
      return;
    case 'bridge':
      run(session, failure, 'link', 'add', name, 'address', newMac(), 'type', 'bridge', 'stp_state', '0', 'forward_delay', '0', 'mcast_snooping', '0');
      return;
    case 'vlan':
      makeVlan(session, name, asked, values);
      return;
    case 'vxlan':
      makeVxlan(session, name, values);
      return;
    default:
      throw fail(`${failure}: Invalid argument`);
  }
}

function makeVlan(session: Session, name: string, asked: string, values: Readonly<Record<string, string>>): void {
  const { vlan, vlandev } = values;
  if (vlan === undefined || vlandev === undefined) throw fail(`must specify ${vlandev === undefined ? 'a parent device' : 'a tag'} for vlan create`);
  if (find(session, vlandev) === undefined) throw fail(`SIOCIFCREATE2 (${asked}): Device not configured`);
  const id = Number(vlan);
  if (!(id >= 1 && id <= 4094)) throw fail(`SIOCIFCREATE2 (${asked}): Invalid argument`);
  if (session.links.some((link) => link.link === vlandev && link.linkinfo?.info_data?.id === id && kindOf(link) === 'vlan')) throw fail(`interface ${asked} already exists`);
  const far = `fabric0.${id}`;
  const failure = `SIOCIFCREATE2 (${asked})`;
  run(session, failure, 'link', 'add', name, 'address', find(session, vlandev)!.address, 'type', 'veth', 'peer', 'name', far);
  run(session, failure, 'link', 'set', far, 'up');
  const address = readState<{ readonly vlans: Readonly<Record<string, string>> }>(session.node, 'fabric.json', { vlans: {} }).vlans[id];
  if (address !== undefined) run(session, failure, 'addr', 'add', address, 'brd', '+', 'dev', far);
  note(session, name, { groups: ['vlan'], born: name, vlan: { id, parent: vlandev } });
}

function makeVxlan(session: Session, name: string, values: Readonly<Record<string, string>>): void {
  const id = Number(values['vxlanid'] ?? '1');
  if (!(id >= 0 && id < 1 << 24)) throw fail(`invalid network identifier: ${values['vxlanid']}`);
  const far = values['vxlangroup'] === undefined ? (values['vxlanremote'] === undefined ? [] : ['remote', values['vxlanremote']]) : ['group', values['vxlangroup']];
  const device = values['vxlandev'] === undefined ? [] : ['dev', values['vxlandev']];
  const local = values['vxlanlocal'] === undefined ? [] : ['local', values['vxlanlocal']];
  run(session, `SIOCIFCREATE2 (vxlan)`, 'link', 'add', name, 'type', 'vxlan', 'id', String(id), 'dstport', '4789', ...local, ...far, ...device);
  run(session, 'SIOCSIFMTU', 'link', 'set', name, 'mtu', '1450');
}

function addDeviceNode(node: StandInNode, name: string): void {
  mkdirSync(node.dev, { recursive: true });
  writeFileSync(join(node.dev, name), '', { mode: 0o600 });
}

export function rename(session: Session, link: IpLink, to: string): void {
  const failure = 'ioctl SIOCSIFNAME (set name)';
  if (to.length > 15) throw fail(`${failure}: File name too long`);
  if (find(session, to) !== undefined) throw fail(`${failure}: File exists`);
  const isUp = link.flags.includes('UP');
  if (isUp) ip(session.node, 'link', 'set', link.ifname, 'down');
  run(session, failure, 'link', 'set', link.ifname, 'name', to);
  if (isUp) ip(session.node, 'link', 'set', to, 'up');
  const { [link.ifname]: own, ...others } = session.notes;
  save(session, { ...others, [to]: own ?? { groups: [], born: link.ifname } });
  renameDeviceNode(session.node, own?.born ?? link.ifname, link.ifname, to);
  session.links = readLinks(session.node);
}

/** The device keeps its first name; a new name of the interface is a link to it, as devfs does. */
function renameDeviceNode(node: StandInNode, born: string, from: string, to: string): void {
  const device = join(node.dev, born);
  if (!existsSync(device)) return;
  if (from !== born && lstatSync(join(node.dev, from), { throwIfNoEntry: false })?.isSymbolicLink() === true) rmSync(join(node.dev, from));
  if (to === born) return;
  const temporary = join(node.dev, `.${to}.${process.pid}`);
  symlinkSync(born, temporary);
  renameSync(temporary, join(node.dev, to));
}

export function destroy(session: Session, link: IpLink): void {
  const kind = kindOf(link);
  if (kind === 'lo' || kind === 'ether') throw fail('SIOCIFDESTROY: Invalid argument');
  run(session, 'SIOCIFDESTROY', 'link', 'delete', link.ifname);
  const { [link.ifname]: own, ...others } = session.notes;
  for (const file of new Set([link.ifname, own?.born ?? link.ifname])) if (kind === 'tap') rmSync(join(session.node.dev, file), { force: true });
  save(session, others);
  session.links = readLinks(session.node);
}

/** The first member gives the bridge its MTU; later ones must have it. */
export function addMember(session: Session, bridge: IpLink, name: string): void {
  const failure = `BRDGADD ${name}`;
  const member = find(session, name);
  if (kindOf(bridge) !== 'bridge') throw fail(`${failure}: Invalid argument`);
  if (member === undefined) throw fail(`${failure}: No such file or directory`);
  if (member.master === bridge.ifname) throw fail(`${failure}: File exists`);
  if (member.master !== undefined) throw fail(`${failure}: Device busy`);
  if (!['tap', 'vlan', 'vxlan', 'ether', 'epair'].includes(kindOf(member))) throw fail(`${failure}: Invalid argument`);
  const others = session.links.filter((link) => link.master === bridge.ifname);
  if (others.length > 0 && member.mtu !== bridge.mtu) throw fail(`${failure}: Invalid argument`);
  run(session, failure, 'link', 'set', name, 'master', bridge.ifname);
  if (others.length === 0) run(session, failure, 'link', 'set', bridge.ifname, 'mtu', String(member.mtu));
  session.links = readLinks(session.node);
}

export function deleteMember(session: Session, bridge: IpLink, name: string): void {
  const failure = `BRDGDEL ${name}`;
  const member = find(session, name);
  if (member === undefined || member.master !== bridge.ifname) throw fail(`${failure}: No such file or directory`);
  run(session, failure, 'link', 'set', name, 'nomaster');
  session.links = readLinks(session.node);
}

export function setMtu(session: Session, link: IpLink, text: string): void {
  const failure = 'ioctl SIOCSIFMTU (set mtu)';
  const mtu = Number(text);
  const isMember = session.links.some((other) => other.master === link.ifname);
  if (!(mtu >= 72 && mtu <= 65535) || isMember) throw fail(`${failure}: Invalid argument`);
  run(session, failure, 'link', 'set', linuxName(link.ifname), 'mtu', String(mtu));
  session.links = readLinks(session.node);
}

export function setUp(session: Session, link: IpLink, isUp: boolean): void {
  run(session, 'ioctl SIOCSIFFLAGS', 'link', 'set', linuxName(link.ifname), isUp ? 'up' : 'down');
  session.links = readLinks(session.node);
}

export function setEther(session: Session, link: IpLink, mac: string): void {
  if (!/^[0-9a-f]{1,2}(:[0-9a-f]{1,2}){5}$/i.test(mac)) throw fail('ioctl (SIOCAIFADDR): Invalid argument');
  run(session, 'ioctl SIOCSIFLLADDR (set lladdr)', 'link', 'set', link.ifname, 'address', mac);
  session.links = readLinks(session.node);
}

export function setAddress(session: Session, link: IpLink, family: 'inet' | 'inet6', address: string, isRemoval: boolean): void {
  const [host, prefix] = address.split('/') as [string, string | undefined];
  if (family === 'inet' && (!/^\d+(\.\d+){3}$/.test(host) || host.split('.').some((part) => Number(part) > 255))) throw fail(`${host}: bad value`);
  const full = `${host}/${prefix ?? (family === 'inet' ? '24' : '64')}`;
  const { code } = ip(session.node, ...(family === 'inet6' ? ['-6'] : []), 'addr', isRemoval ? 'del' : 'add', full, ...(isRemoval || family === 'inet6' ? [] : ['brd', '+']), 'dev', linuxName(link.ifname));
  if (code !== 0 && isRemoval) throw fail("ioctl (SIOCDIFADDR): Can't assign requested address");
  session.links = readLinks(session.node);
}
