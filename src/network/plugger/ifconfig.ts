/**
 * What ifconfig(8) says, and the calls that the plugger makes. All matching of its words is here (freebsd/transcripts/ifconfig.json):
 *   ifconfig -a                          every interface, in blocks that begin in column 0
 *   ifconfig bridge create … name X      exit 1 with X taken, and *leaves bridgeN behind*, whose name it printed
 *   ifconfig X addm Y                    `File exists` already a member here · `Device busy` in another bridge · `Invalid argument` other MTU
 *   ifconfig X destroy                   `does not exist`; of a tap that bhyve has open: blocks until bhyve ends
 */
import { AgentError } from '../../lib/errors.js';
import type { Host } from '../../host/index.js';

export interface Interface {
  readonly name: string;
  readonly mtu: number;
  readonly isUp: boolean;
  readonly description: string;
  readonly groups: readonly string[];
  /** Members, for a bridge. */
  readonly members: readonly string[];
  /** For a vlan interface. */
  readonly vlan: { readonly id: number; readonly parent: string } | null;
  /** Of a tap that somebody holds open. */
  readonly openedByPid: number | null;
}

/** IFNAMSIZ 16 with its NUL. */
export const maxNameLength = 15;

/** Reads `ifconfig -a` or `ifconfig NAME`. Unknown lines are skipped: releases add some. */
export function parseInterfaces(output: string): Interface[] {
  return output.split(/^(?=\S)/m).flatMap((block) => {
    const head = /^(.+?): flags=[0-9a-f]+<([^>]*)> (?:.*\b)?mtu (\d+)/.exec(block);
    if (head === null) return [];
    const field = (pattern: RegExp): string | undefined => pattern.exec(block)?.[1];
    const vlan = /^\s+vlan: (\d+) .*parent interface: (\S+)/m.exec(block);
    const pid = field(/^\s+Opened by PID (\d+)/m);
    return [{
      name: head[1] ?? '',
      mtu: Number(head[3]),
      isUp: (head[2] ?? '').split(',').includes('UP'),
      description: field(/^\tdescription: (.*)$/m) ?? '',
      groups: (field(/^\tgroups: (.*)$/m) ?? '').split(' ').filter((group) => group !== ''),
      members: [...block.matchAll(/^\tmember: (\S+) /gm)].map((match) => match[1] ?? ''),
      vlan: vlan === null || vlan[1] === undefined || vlan[2] === undefined ? null : { id: Number(vlan[1]), parent: vlan[2] },
      openedByPid: pid === undefined ? null : Number(pid),
    }];
  });
}

export interface Ifconfig {
  all(): Promise<Interface[]>;
  find(name: string): Promise<Interface | undefined>;
  /** Makes a cloned interface with its marks first and its name last, so that one without marks never has our name. False: the name is taken. */
  create(kind: 'tap' | 'bridge' | 'vlan', name: string, settings: readonly string[]): Promise<boolean>;
  set(name: string, settings: readonly string[]): Promise<void>;
  /** Adds a member; a member already is fine. */
  addMember(bridge: string, member: string): Promise<void>;
  /** Gone already is fine. */
  destroy(name: string): Promise<void>;
}

const destroyTimeoutMs = 20_000;

export function createIfconfig(host: Host): Ifconfig {
  const all = async (): Promise<Interface[]> => parseInterfaces((await host.run('ifconfig', ['-a'])).stdout);
  const destroy = async (name: string): Promise<void> => {
    const { code, stderr } = await host.run('ifconfig', [name, 'destroy'], { okExits: [1], timeoutMs: destroyTimeoutMs });
    if (code !== 0 && !stderr.includes('does not exist')) throw failed(`could not destroy ${name}`, stderr);
  };
  return {
    all,
    async find(name) {
      const { code, stdout, stderr } = await host.run('ifconfig', [name], { okExits: [1] });
      if (code === 0) return parseInterfaces(stdout)[0];
      if (stderr.includes('does not exist')) return undefined;
      throw failed(`could not look at ${name}`, stderr);
    },
    async create(kind, name, settings) {
      const { code, stdout, stderr } = await host.run('ifconfig', [kind, 'create', ...settings, 'name', name], { okExits: [1] });
      if (code === 0) return true;
      const left = stdout.trim();
      if (/^[a-z]+\d+$/.test(left)) await destroy(left);
      if (stderr.includes('set name') && stderr.includes('File exists')) return false;
      throw failed(`could not create ${name}`, stderr);
    },
    async set(name, settings) {
      const { code, stderr } = await host.run('ifconfig', [name, ...settings], { okExits: [1] });
      if (code !== 0) throw failed(`could not set ${settings.join(' ')} on ${name}`, stderr);
    },
    async addMember(bridge, member) {
      const { code, stderr } = await host.run('ifconfig', [bridge, 'addm', member], { okExits: [1] });
      if (code === 0 || stderr.includes('File exists')) return;
      const why = stderr.includes('Device busy') ? `${member} is a member of another bridge`
        : stderr.includes('Invalid argument') ? `${member} has another MTU than ${bridge}, or cannot be a bridge member` : `could not add ${member} to ${bridge}`;
      throw failed(why, stderr);
    },
    destroy,
  };
}

const failed = (what: string, stderr: string): AgentError => new AgentError('ifconfig-failed', what, { details: { stderr: stderr.trim().slice(-200) } });
