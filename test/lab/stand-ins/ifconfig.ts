/** ifconfig(8) on ip(8): what an agent needs of taps, bridges, vlans, vxlans, addresses, names, groups and descriptions. */
import { currentNode, sleepMs, type StandInNode, withLock } from './lib/lab-node.js';
import {
  type Session, addMember, create, deleteMember, destroy, fail, find, mustFind, note, openSession, rename, setAddress, setEther, setMtu, setUp,
} from './lib/ifconfig-change.js';
import { kindOf, showInterface } from './lib/ifconfig-show.js';
import { readLinks, readNotes, tapUser } from './lib/ip.js';
import { Exit, out, runTool } from './lib/tool.js';

/** The far end of the uplink belongs to the lab, not to the host. */
const isHidden = (name: string): boolean => name.startsWith('fabric');

interface Asked {
  readonly flags: ReadonlySet<string>;
  readonly group: string | undefined;
  readonly format: string;
  readonly rest: readonly string[];
}

function parse(args: readonly string[]): Asked {
  const flags = new Set<string>();
  let group: string | undefined;
  let format = '';
  let index = 0;
  for (; index < args.length && args[index]!.startsWith('-') && args[index] !== '-'; index++) {
    const word = args[index]!.slice(1);
    for (let at = 0; at < word.length; at++) {
      const flag = word[at]!;
      if (flag === 'g' || flag === 'f' || flag === 'G') {
        const value = word.slice(at + 1) || args[++index] || '';
        if (flag === 'g') group = value;
        if (flag === 'f') format = value;
        break;
      }
      if (!'adklmnuvCLN'.includes(flag)) throw new Exit(1, `ifconfig: illegal option -- ${flag}\n${usage}`);
      flags.add(flag);
    }
  }
  return { flags, group, format, rest: args.slice(index) };
}

const usage = [
  'usage: ifconfig [-f type:format] [-g groupname] [-C] [-L] interface address_family', '                [address [dest_address]] [parameters]', '       ifconfig interface create',
  '       ifconfig -a [-g groupname] [-C] [-L] [-d] [-m] [-u] [-v] [address_family]', '       ifconfig -l [-d] [-u] [address_family]',
  '       ifconfig [-g groupname] [-C] [-L] [-d] [-m] [-u] [-v]', '',
].join('\n');

function listNames(node: StandInNode, asked: Asked): number {
  const links = readLinks(node).filter((link) => !isHidden(link.ifname));
  const notes = readNotes(node);
  if (asked.group !== undefined) {
    out(links.filter((link) => (kindOf(link) === 'lo' ? ['lo'] : (notes[link.ifname]?.groups ?? [])).includes(asked.group!)).map((link) => `${link.ifname}\n`).join(''));
    return 0;
  }
  const wanted = links.filter((link) => {
    const isUp = link.flags.includes('UP');
    return !(asked.flags.has('u') && !isUp) && !(asked.flags.has('d') && isUp) && !(asked.rest[0] === 'ether' && kindOf(link) === 'lo');
  });
  out(`${ordered(wanted).map((link) => link.ifname).join(' ')}\n`);
  return 0;
}

/** Hardware first, then the loopback, then what was made later. */
const rank = (kind: string): number => (kind === 'ether' ? 0 : kind === 'lo' ? 1 : 2);
function ordered<T extends Parameters<typeof kindOf>[0]>(links: readonly T[]): T[] {
  return [...links].sort((a, b) => rank(kindOf(a)) - rank(kindOf(b)) || a.ifindex - b.ifindex);
}

function show(node: StandInNode, asked: Asked): number {
  const links = readLinks(node);
  const notes = readNotes(node);
  const how = { cidr: asked.format.includes('inet:cidr'), dashedEther: asked.format.includes('ether:dash') };
  const name = asked.rest[0];
  const wanted = name === undefined || asked.flags.has('a') ? ordered(links).filter((link) => !isHidden(link.ifname)) : links.filter((link) => link.ifname === name);
  if (wanted.length === 0 && name !== undefined) throw fail(`interface ${name} does not exist`);
  out(wanted.map((link) => showInterface(node, link, links, notes, how)).join(''));
  return 0;
}

/** Words that take one argument and that the lab accepts without effect, and words without argument. */
const silent: Readonly<Record<string, number>> = {
  arp: 0, '-arp': 0, promisc: 0, '-promisc': 0, '-lro': 0, lro: 0, '-tso': 0, tso: 0, '-rxcsum': 0, '-txcsum': 0, '-txcsum6': 0, '-rxcsum6': 0, '-vlanhwtso': 0, '-vlanhwfilter': 0,
  flush: 0, flushall: 0, stp: 1, '-stp': 1, edge: 1, '-edge': 1, autoedge: 1, learn: 1, '-learn': 1, discover: 1, '-discover': 1, span: 1, '-span': 1, link: 1, media: 1,
  fib: 1, tunnelfib: 1, vxlanttl: 1, ifpriority: 2, ifpathcost: 2, ifmaxaddr: 2, delete: 1,
};

function change(session: Session, name: string, args: readonly string[]): string {
  let current = name;
  let family: 'inet' | 'inet6' | 'ether' | undefined;
  let renamed = '';
  for (let index = 0; index < args.length; index++) {
    const word = args[index]!;
    const next = (): string => args[++index] ?? '';
    const link = mustFind(session, current);
    const notes = session.notes[current];
    switch (word) {
      case 'name': {
        const to = next();
        rename(session, link, to);
        current = to;
        renamed = to;
        break;
      }
      case 'destroy':
        destroy(session, link);
        return renamed;
      case 'description':
      case 'descr':
        note(session, current, { description: next() });
        break;
      case '-description':
      case '-descr':
        note(session, current, { description: '' });
        break;
      case 'group': {
        const group = next();
        if (/\d$/.test(group)) throw fail('setifgroup: group names may not end in a digit');
        note(session, current, { groups: [...new Set([...(notes?.groups ?? []), group])] });
        break;
      }
      case '-group': {
        const group = next();
        note(session, current, { groups: (notes?.groups ?? []).filter((other) => other !== group) });
        break;
      }
      case 'addm':
        addMember(session, link, next());
        break;
      case 'deletem':
        deleteMember(session, link, next());
        break;
      case 'private':
      case '-private':
      case 'sticky':
      case '-sticky':
        setMemberFlag(session, current, word, next());
        break;
      case 'maxaddr':
        note(session, current, { maxaddr: Number(next()) });
        break;
      case 'timeout':
        note(session, current, { timeout: Number(next()) });
        break;
      case 'static':
        note(session, current, { statics: [...(notes?.statics ?? []), { member: next(), mac: next() }] });
        break;
      case 'addr':
        return (notes?.statics ?? []).map(({ member, mac }) => `${mac} Vlan1 ${member} 0 flags=1<STATIC>\n`).join('');
      case 'mtu':
        setMtu(session, link, next());
        break;
      case 'up':
      case 'down':
        setUp(session, link, word === 'up');
        break;
      case 'inet':
      case 'inet6':
        family = word;
        break;
      case 'ether':
      case 'lladdr':
        setEther(session, link, next());
        break;
      case 'vlan':
      case 'vlandev':
        throw fail('SIOCSETVLAN: Device busy');
      case 'vxlanid':
        throw fail('VXLAN_CMD_SET_VNI: Device busy');
      default:
        index += other(session, current, word, args.slice(index + 1), family);
    }
  }
  return renamed;
}

function setMemberFlag(session: Session, bridge: string, word: string, member: string): void {
  const flag = word.replace('-', '').toUpperCase();
  if (find(session, member)?.master !== bridge) throw fail('unable to get bridge flags: No such file or directory');
  const old = session.notes[bridge]?.memberFlags ?? {};
  const flags = (old[member] ?? []).filter((held) => held !== flag);
  note(session, bridge, { memberFlags: { ...old, [member]: word.startsWith('-') ? flags : [...flags, flag] } });
}

/** Addresses, and words without effect here; returns how many more arguments were used. */
function other(session: Session, name: string, word: string, rest: readonly string[], family: 'inet' | 'inet6' | 'ether' | undefined): number {
  if (silent[word] !== undefined) return silent[word];
  if (family === undefined && !/^\d+\./.test(word)) throw fail(`${word}: bad value`);
  const isRemoval = ['-alias', 'delete', 'remove'].includes(rest[0] ?? '');
  setAddress(session, mustFind(session, name), family === 'inet6' ? 'inet6' : 'inet', word, isRemoval);
  return isRemoval || rest[0] === 'alias' ? 1 : rest[0] === 'netmask' ? 2 : 0;
}

/** Destroying a tap that a guest has open waits for the guest, as the kernel does. */
function waitForGuest(node: StandInNode, name: string, args: readonly string[]): void {
  if (args.includes('destroy')) while (tapUser(node, name) !== undefined) sleepMs(20);
}

runTool((args) => {
  const node = currentNode();
  const asked = parse(args);
  if (asked.flags.has('C')) {
    out('bridge vlan vmnet tap tun gif lo usbus\n');
    return 0;
  }
  if (asked.group !== undefined || asked.flags.has('l')) return listNames(node, asked);
  const [name, ...rest] = asked.rest;
  if (name === undefined || rest.length === 0 || asked.flags.has('a')) return show(node, asked);
  if (['ether', 'inet', 'inet6', 'link'].includes(rest[0]!) && rest.length === 1) return show(node, asked);
  waitForGuest(node, name, rest);
  return withLock(node, 'interfaces', () => {
    const session = openSession(node);
    if (rest[0] !== 'create' && rest[0] !== 'plumb') {
      out(withNewline(change(session, name, rest)));
      return 0;
    }
    const made = create(session, name, rest.slice(1));
    try {
      const renamed = change(session, made.name, made.rest);
      out(made.isNumbered ? withNewline(renamed) : `${renamed === '' ? made.name : renamed}\n`);
    } catch (error) {
      if (!made.isNumbered) out(`${made.name}\n`);
      throw error;
    }
    return 0;
  });
});

function withNewline(text: string): string {
  return text === '' || text.endsWith('\n') ? text : `${text}\n`;
}
