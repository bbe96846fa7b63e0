/** ip(8) inside the node's network namespace, and what the lab remembers of interfaces beside the kernel. */
import { spawnSync } from 'node:child_process';
import { type StandInNode, isAlive, readState, writeState } from './lab-node.js';

export interface IpLink {
  readonly ifindex: number;
  readonly ifname: string;
  readonly flags: readonly string[];
  readonly mtu: number;
  readonly address: string;
  readonly master?: string;
  readonly link?: string;
  readonly linkinfo?: { readonly info_kind?: string; readonly info_data?: { readonly id?: number; readonly local?: string; readonly remote?: string; readonly group?: string } };
  readonly addr_info?: readonly { readonly family: string; readonly local: string; readonly prefixlen: number; readonly broadcast?: string; readonly scope: string }[];
  readonly stats64?: { readonly rx: LinkCounters; readonly tx: LinkCounters };
}
export interface LinkCounters { readonly bytes: number; readonly packets: number; readonly errors: number; readonly dropped: number; readonly multicast?: number }

/** What FreeBSD keeps of an interface and Linux does not. */
export interface InterfaceNotes {
  readonly groups: readonly string[];
  readonly description?: string;
  /** `tap0`, `bridge1`: the name at creation; the device node of a tap keeps it. */
  readonly born: string;
  readonly hwaddr?: string;
  /** A vlan interface is a wire of its own to the lab's side (see network.ts): not every kernel has 802.1Q. */
  readonly vlan?: { readonly id: number; readonly parent: string };
  readonly memberFlags?: Readonly<Record<string, readonly string[]>>;
  readonly spans?: readonly string[];
  readonly statics?: readonly { readonly member: string; readonly mac: string }[];
  readonly maxaddr?: number;
  readonly timeout?: number;
}
export type Notes = Readonly<Record<string, InterfaceNotes>>;

const NOTES = 'interfaces.json';
export const readNotes = (node: StandInNode): Notes => readState<Notes>(node, NOTES, {});
export const writeNotes = (node: StandInNode, notes: Notes): void => {
  writeState(node, NOTES, notes);
};

/** Runs ip(8) in the namespace; its exit code and stderr. */
export function ip(node: Pick<StandInNode, 'netns'>, ...args: string[]): { code: number; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync('ip', ['-n', node.netns, ...args], { encoding: 'utf8' });
  return { code: status ?? 1, stdout, stderr };
}

/** All interfaces in order of creation, loopback as lo0. */
export function readLinks(node: StandInNode): IpLink[] {
  const { code, stdout, stderr } = ip(node, '-j', '-s', '-d', 'addr', 'show');
  if (code !== 0) throw new Error(`the node's namespace ${node.netns} is not there: ${stderr.trim()}`);
  const links = JSON.parse(stdout === '' ? '[]' : stdout) as (IpLink & { ifname?: string })[];
  const notes = readNotes(node);
  return links.filter((link) => link.ifname !== undefined).map((link) => {
    const vlan = notes[link.ifname]?.vlan;
    if (vlan !== undefined) return { ...link, link: vlan.parent, linkinfo: { info_kind: 'vlan', info_data: { id: vlan.id } } };
    return link.ifname === 'lo' ? { ...link, ifname: 'lo0' } : link;
  });
}

/** Which process has a tap open: bhyve writes its pid when it opens one. */
const TAP_USERS = 'tap-users.json';

export function tapUser(node: StandInNode, tap: string): number | undefined {
  const pid = readState<Record<string, number>>(node, TAP_USERS, {})[tap];
  return pid !== undefined && isAlive(pid) ? pid : undefined;
}

/** To be called under the lock `interfaces`. */
export function setTapUser(node: StandInNode, tap: string, pid: number | undefined): void {
  const users = Object.fromEntries(Object.entries(readState<Record<string, number>>(node, TAP_USERS, {})).filter(([, user]) => isAlive(user)));
  delete users[tap];
  writeState(node, TAP_USERS, pid === undefined ? users : { ...users, [tap]: pid });
}
