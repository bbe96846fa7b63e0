/** sysctl(8): the values of the transcripts, with the node's own name, size, release and boot time in their place. */
import { readFileSync } from 'node:fs';
import { bootSeconds, currentNode, loaderTunable, readState, type StandInNode, withLock, writeState } from './lib/lab-node.js';
import { host, pageBytes, processors } from './lib/host-numbers.js';
import { isLoaded } from './lib/kernel-modules.js';
import { sysctlTable } from './lib/sysctl-table.js';
import { Exit, err, getopt, getoptMessage, out, runTool } from './lib/tool.js';

const usage = [
  'usage: sysctl [-bdehiNnoqTtWx] [ -B <bufsize> ] [-f filename] name[=value] ...', '       sysctl [-bdehNnoqTtWx] [ -B <bufsize> ] -a', '',
].join('\n');

const writable = /^(net\.link\.(tap|bridge|ether)|net\.inet6?\.ip6?\.forwarding|vm\.max_user_wired|kern\.corefile|hw\.vmm\.(create|destroy)|vfs\.zfs)/;

/** Everything this host answers, by name. */
function valuesOf(node: StandInNode): Map<string, string> {
  const values = new Map(Object.entries(sysctlTable));
  for (const [name, value] of Object.entries(nodeValues(node))) values.set(name, value);
  for (const [name, value] of Object.entries(readState<Record<string, string>>(node, 'sysctl.json', {}))) values.set(name, value);
  if (!isLoaded(node, 'vmm')) for (const name of [...values.keys()]) if (name.startsWith('hw.vmm.')) values.delete(name);
  return values;
}

function nodeValues(node: StandInNode): Record<string, string> {
  const { facts } = node;
  const boot = bootSeconds(node);
  const pages = Math.floor(host.memoryBytes / pageBytes);
  const cpu = readFileSync('/proc/stat', 'utf8').split('\n')[0]!.split(/\s+/).slice(1).map((ticks) => Math.floor((Number(ticks) * host.statHz) / 100));
  const [user, nice, system, idle, , irq] = cpu as [number, number, number, number, number, number];
  const load = readFileSync('/proc/loadavg', 'utf8').split(' ').slice(0, 3);
  const cpuList = Array.from({ length: host.cpus }, (_, index) => index).join(', ');
  const cpuMask = ((1 << host.cpus) - 1).toString(16);
  return {
    'hw.model': processors[node.processor].model, 'hw.ncpu': String(host.cpus), 'hw.physmem': String(host.memoryBytes), 'hw.realmem': String(16 * 2 ** 30), 'hw.usermem': String(host.memoryBytes - 1_500_000_000),
    'kern.smp.cpus': String(host.cpus), 'kern.smp.cores': String(host.cpus), 'hw.vmm.maxcpu': String(host.cpus), 'kern.hostname': `${node.name}.lab.example.org`,
    'kern.osrelease': facts.release, 'kern.osreldate': String(facts.osReleaseDate), 'kern.boottime': `{ sec = ${boot}, usec = 57793 } ${dateText(boot)}`,
    ...(facts.hasBootId ? { 'kern.boot_id': bootId(node, boot) } : {}),
    'kern.version': `FreeBSD ${facts.release} #0: ${facts.buildDate}\n    root@builder:/usr/obj/usr/src/amd64.amd64/sys/GENERIC\n`, 'kern.hostuuid': hostUuid(node),
    'kern.cp_time': `${user} ${nice} ${system} ${irq} ${idle}`,
    'kern.cp_times': Array.from({ length: host.cpus }, () => [user, nice, system, irq, idle].map((ticks) => Math.floor(ticks / host.cpus)).join(' ')).join(' '),
    'kern.sched.topology_spec': `<groups>\n <group level="1" cache-level="3">\n  <cpu count="${host.cpus}" mask="${cpuMask},0,0,0">${cpuList}</cpu>\n </group>\n</groups>`,
    'vm.loadavg': `{ ${load.join(' ')} }`, 'machdep.tsc_freq': String(host.tscHz), 'vm.stats.vm.v_page_count': String(pages), 'vm.stats.vm.v_free_count': String(Math.floor(pages * 0.7)),
    'vm.stats.vm.v_wire_count': String(Math.floor(pages * 0.12)), 'vm.stats.vm.v_inactive_count': String(Math.floor(pages * 0.05)), 'vm.stats.vm.v_laundry_count': '0',
    'kstat.zfs.misc.arcstats.size': String(512 * 1024 * 1024), 'kstat.zfs.misc.arcstats.c_max': String(host.memoryBytes - 1_073_741_824), 'vfs.zfs.version.module': facts.zfsVersion,
    ...processors[node.processor].sysctls, 'kern.racct.enable': loaderTunable(node, 'kern.racct.enable') ?? '0',
  };
}

/** `Mon Nov 23 05:03:45 2026` */
function dateText(seconds: number): string {
  const text = new Date(seconds * 1000).toString();
  return `${text.slice(0, 10)} ${text.slice(16, 24)} ${text.slice(11, 15)}`;
}

/** Stable for a name; another for another node. */
const hostUuid = (node: StandInNode): string => `7d2c3b4a-1f60-4c1e-9a57-${Buffer.from(node.name.padEnd(6, '.')).toString('hex').slice(0, 12)}`;
const bootId = (node: StandInNode, boot: number): string => Buffer.from(`${node.name}${boot}`.padEnd(16, '.')).toString('hex').slice(0, 32);

interface Style {
  readonly isBare: boolean;
  readonly separator: string;
  readonly isNameOnly: boolean;
  readonly isHex: boolean;
}

function line(name: string, value: string, style: Style): string {
  if (style.isNameOnly) return `${name}\n`;
  if (value === '') return '';
  const shown = style.isHex && /^\d+$/.test(value) ? `0x${BigInt(value).toString(16).padStart(16, '0')}` : value;
  return style.isBare ? `${shown}\n` : `${name}${style.separator}${shown}\n`;
}

function set(node: StandInNode, name: string, value: string, old: string, style: Style): void {
  if (!writable.test(name)) throw new Exit(1, `sysctl: oid '${name}' is read only\n`);
  if (/^-?\d+$/.test(old) && !/^-?\d+$/.test(value)) throw new Exit(1, `sysctl: invalid integer '${value}'\n`);
  withLock(node, 'sysctl', () => {
    writeState(node, 'sysctl.json', { ...readState<Record<string, string>>(node, 'sysctl.json', {}), [name]: value });
  });
  out(style.isBare ? `${old} -> ${value}\n` : `${name}: ${old} -> ${value}\n`);
}

runTool((args) => {
  const node = currentNode();
  const { options, operands, bad } = getopt(args, 'AabB:def:hiNnoqtTwWxX');
  if (bad !== undefined) throw new Exit(1, `${getoptMessage('sysctl', bad)}${usage}`);
  const has = (flag: string): boolean => options.some((option) => option.flag === flag);
  const style: Style = { isBare: has('n'), separator: has('e') ? '=' : ': ', isNameOnly: has('N'), isHex: has('x') };
  const values = valuesOf(node);
  if (has('a')) {
    out([...values].map(([name, value]) => line(name, value, style)).join(''));
    return 0;
  }
  if (operands.length === 0) throw new Exit(1, usage);
  let code = 0;
  for (const operand of operands) {
    const [name, value] = operand.includes('=') ? [operand.slice(0, operand.indexOf('=')), operand.slice(operand.indexOf('=') + 1)] : [operand, undefined];
    const own = values.get(name);
    const below = [...values].filter(([key]) => key.startsWith(`${name}.`));
    if (own === undefined && below.length === 0) {
      if (has('i')) continue;
      if (!has('q')) err(`sysctl: unknown oid '${name}'\n`);
      code = 1;
    } else if (value !== undefined) set(node, name, value, own ?? '', style);
    else out((own === undefined ? below : [[name, own] as const]).map(([key, text]) => line(key, text, style)).join(''));
  }
  return code;
});
