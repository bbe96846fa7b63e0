/**
 * ifconfig(8) of FreeBSD 13.2, as far as the plugger uses it: outputs, exit codes and words as in freebsd/transcripts/ifconfig.json,
 * including the interface that a failed rename leaves behind.
 */
import type { RunResult } from '../../src/host/index.js';

interface FakeInterface { name: string; kind: string; mtu: number; isUp: boolean; description: string; groups: string[]; members: string[]; vlan: { id: number; parent: string } | null; openedBy: number | null }

export interface FakeIfconfig {
  run(args: readonly string[]): RunResult;
  readonly interfaces: Map<string, FakeInterface>;
  add(name: string, kind: string, settings?: Partial<FakeInterface>): FakeInterface;
  /** Names of every interface. */
  names(): string[];
}

export function createFakeIfconfig(): FakeIfconfig {
  const interfaces = new Map<string, FakeInterface>();
  const ok = (stdout = ''): RunResult => ({ code: 0, stdout, stderr: '' });
  const bad = (stderr: string, stdout = ''): RunResult => ({ code: 1, stdout, stderr: `ifconfig: ${stderr}\n` });
  const add: FakeIfconfig['add'] = (name, kind, settings = {}) => {
    const made: FakeInterface = { name, kind, mtu: 1500, isUp: false, description: '', groups: kind === 'ether' ? [] : [kind], members: [], vlan: null, openedBy: null, ...settings };
    interfaces.set(name, made);
    return made;
  };
  const bridgeOf = (member: string): string | undefined => [...interfaces.values()].find(({ members }) => members.includes(member))?.name;

  function show(found: FakeInterface): string {
    return [
      `${found.name}: flags=8802<${found.isUp ? 'UP,' : ''}BROADCAST,SIMPLEX,MULTICAST> metric 0 mtu ${found.mtu}`,
      ...(found.description === '' ? [] : [`\tdescription: ${found.description}`]),
      '\tether 58:9c:fc:10:bc:28',
      ...found.members.flatMap((member) => [`\tmember: ${member} flags=143<LEARNING,DISCOVER,AUTOEDGE,AUTOPTP>`, `\t        ifmaxaddr 0 port 3 priority 128 path cost 2000000`]),
      ...(found.groups.length === 0 ? [] : [`\tgroups: ${found.groups.join(' ')}`]),
      ...(found.vlan === null ? [] : [`\tvlan: ${found.vlan.id} vlanproto: 802.1q vlanpcp: 0 parent interface: ${found.vlan.parent}`]),
      '\tnd6 options=29<PERFORMNUD,IFDISABLED,AUTO_LINKLOCAL>',
      ...(found.openedBy === null ? [] : [`\tOpened by PID ${found.openedBy}`]),
    ].map((line) => `${line}\n`).join('');
  }

  function addMember(bridge: FakeInterface, name: string): RunResult {
    const member = interfaces.get(name);
    const say = (why: string): RunResult => bad(`BRDGADD ${name}: ${why}`);
    if (member === undefined) return say('No such file or directory');
    if (bridge.members.includes(name)) return say('File exists');
    if (bridgeOf(name) !== undefined) return say('Device busy');
    if (bridge.kind !== 'bridge' || member.kind === 'bridge') return say('Invalid argument');
    if (bridge.members.length > 0 && bridge.mtu !== member.mtu) return say('Invalid argument');
    bridge.mtu = member.mtu;
    bridge.members.push(name);
    return ok();
  }

  /** Settings in the order given; the first that fails ends it. */
  function apply(found: FakeInterface, settings: readonly string[]): RunResult {
    let printed = '';
    for (let at = 0; at < settings.length; at += 1) {
      const word = settings[at];
      const value = settings[at + 1] ?? '';
      if (word === 'up') { found.isUp = true; continue; }
      at += 1;
      if (word === 'description') found.description = value;
      else if (word === 'group') found.groups.push(value);
      else if (word === 'mtu') found.mtu = Number(value);
      else if (word === 'vlan') found.vlan = { id: Number(value), parent: found.vlan?.parent ?? '' };
      else if (word === 'vlandev') found.vlan = { id: found.vlan?.id ?? 0, parent: value };
      else if (word === 'addm') {
        const added = addMember(found, value);
        if (added.code !== 0) return added;
      } else if (word === 'name') {
        if (value.length > 15) return bad('ioctl SIOCSIFNAME (set name): File name too long');
        if (interfaces.has(value)) return { ...bad('ioctl SIOCSIFNAME (set name): File exists'), stdout: `${found.name}\n` };
        interfaces.delete(found.name);
        found.name = value;
        interfaces.set(value, found);
        printed = `${value}\n`;
      } else return bad(`${word ?? ''}: bad value`);
    }
    return ok(printed);
  }

  function create(kind: string, settings: readonly string[]): RunResult {
    if (kind === 'vlan') {
      const id = Number(settings[settings.indexOf('vlan') + 1]);
      const parent = settings[settings.indexOf('vlandev') + 1];
      if (!interfaces.has(parent ?? '')) return bad('SIOCIFCREATE2 (vlan): Device not configured');
      if ([...interfaces.values()].some(({ vlan }) => vlan?.id === id && vlan.parent === parent)) return bad('interface vlan already exists');
    }
    let unit = 0;
    while (interfaces.has(`${kind}${unit}`)) unit += 1;
    const made = add(`${kind}${unit}`, kind);
    const result = apply(made, settings);
    return result.code === 0 ? { ...result, stdout: `${made.name}\n` } : { ...result, stdout: result.stdout === '' ? `${made.name}\n` : result.stdout };
  }

  function run(args: readonly string[]): RunResult {
    const [name = '', verb, ...rest] = args;
    if (name === '-a') return ok([...interfaces.values()].map(show).join(''));
    if (verb === 'create') return create(name, rest);
    const found = interfaces.get(name);
    if (found === undefined) return bad(`interface ${name} does not exist`);
    if (verb === undefined) return ok(show(found));
    if (verb === 'destroy') {
      if (found.kind === 'ether') return bad('SIOCIFDESTROY: Invalid argument');
      interfaces.delete(name);
      for (const other of interfaces.values()) other.members = other.members.filter((member) => member !== name);
      return ok();
    }
    return apply(found, args.slice(1));
  }

  return { run, interfaces, add, names: () => [...interfaces.keys()] };
}
