/** ps(1): the node's processes in FreeBSD's columns; -a -x -w -p PID -o LIST -u, --libxo json. */
import { currentNode } from './lib/lab-node.js';
import { host } from './lib/host-numbers.js';
import { type NodeProcess, listProcesses } from './lib/processes.js';
import { Exit, err, out, runTool } from './lib/tool.js';


interface Column {
  readonly heading: string;
  readonly json: string;
  readonly isLeft?: boolean;
  show(info: NodeProcess): string;
}

const two = (value: number): string => String(value).padStart(2, '0');
const cpuTime = (seconds: number): string => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(2).padStart(5, '0')}`;
const lstart = (seconds: number): string => {
  const text = new Date(seconds * 1000).toString(); // Mon Nov 23 2026 05:03:46 GMT…
  return `${text.slice(0, 10)} ${text.slice(16, 24)} ${text.slice(11, 15)}`.replace(/ 0(\d) /, '  $1 ');
};
const age = (info: NodeProcess): number => Math.max(0, Math.floor(Date.now() / 1000) - info.startedAtSeconds);
const start = (info: NodeProcess): string => {
  const date = new Date(info.startedAtSeconds * 1000);
  return `${two(date.getHours())}:${two(date.getMinutes())}`;
};
const etime = (seconds: number): string => {
  const [days, hours] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24];
  return `${days > 0 ? `${days}-` : ''}${days > 0 || hours > 0 ? `${two(hours)}:` : ''}${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
};

const columns: Readonly<Record<string, Column>> = {
  pid: { heading: 'PID', json: 'pid', show: (info) => String(info.pid) },
  ppid: { heading: 'PPID', json: 'ppid', show: (info) => String(info.parentPid) },
  pgid: { heading: 'PGID', json: 'process-group', show: (info) => String(info.group) },
  sid: { heading: 'SID', json: 'session-id', show: (info) => String(info.session) },
  user: { heading: 'USER', json: 'user', isLeft: true, show: () => 'root' },
  uid: { heading: 'UID', json: 'uid', show: () => '0' },
  jid: { heading: 'JID', json: 'jail-id', show: () => '0' },
  rss: { heading: 'RSS', json: 'rss', show: (info) => String(info.rssKiB) },
  vsz: { heading: 'VSZ', json: 'virtual-size', show: (info) => String(info.vszKiB) },
  nlwp: { heading: 'NLWP', json: 'threads', show: (info) => String(info.threads) },
  '%cpu': { heading: '%CPU', json: 'percent-cpu', show: (info) => (age(info) === 0 ? '0.0' : ((100 * info.cpuSeconds) / age(info)).toFixed(1)) },
  '%mem': { heading: '%MEM', json: 'percent-memory', show: (info) => ((100 * 1024 * info.rssKiB) / host.memoryBytes).toFixed(1) },
  etime: { heading: 'ELAPSED', json: 'elapsed-time', show: (info) => etime(age(info)) },
  etimes: { heading: 'ELAPSED', json: 'elapsed-times', show: (info) => String(age(info)) },
  time: { heading: 'TIME', json: 'cpu-time', show: (info) => cpuTime(info.cpuSeconds) },
  lstart: { heading: 'STARTED', json: 'start-time', isLeft: true, show: (info) => lstart(info.startedAtSeconds) },
  start: { heading: 'STARTED', json: 'start-time', isLeft: true, show: start },
  stat: { heading: 'STAT', json: 'state', isLeft: true, show: (info) => info.state },
  tt: { heading: 'TT', json: 'terminal-name', isLeft: true, show: () => '-' },
  comm: { heading: 'COMMAND', json: 'command', isLeft: true, show: (info) => info.comm },
  command: { heading: 'COMMAND', json: 'command', isLeft: true, show: (info) => info.command },
};
const aliases: Readonly<Record<string, string>> = { args: 'command', state: 'stat', cputime: 'time', ucomm: 'comm', tty: 'tt', pcpu: '%cpu', pmem: '%mem', vsize: 'vsz' };

interface Asked {
  readonly keys: readonly { name: string; heading: string | undefined }[];
  readonly pids: readonly number[] | undefined;
  readonly isAll: boolean;
  readonly isJson: boolean;
}

function parse(args: readonly string[]): Asked {
  const keys: { name: string; heading: string | undefined }[] = [];
  let pids: number[] | undefined;
  let letters = '';
  let isJson = false;
  for (let index = 0; index < args.length; index++) {
    const arg = args[index]!;
    if (arg === '--libxo') {
      isJson = args[++index]?.startsWith('json') === true;
      continue;
    }
    const word = index === 0 && !arg.startsWith('-') ? arg : arg.slice(1);
    const place = /[opOUutG]/.exec(word)?.index;
    const flag = place === undefined || (word[place] === 'u' && place < word.length - 1) || word[place] === 'u' ? undefined : word[place];
    letters += flag === undefined ? word : word.slice(0, place);
    if (flag === undefined) continue;
    const value = word.slice(place! + 1) || args[++index] || '';
    if (flag === 'o' || flag === 'O') keys.push(...readKeys(value));
    if (flag === 'p') pids = [...(pids ?? []), ...value.split(/[\s,]+/).map(readPid)];
  }
  if (keys.length === 0) {
    const names = letters.includes('u') ? 'user,pid,%cpu,%mem,vsz,rss,tt,stat,start,time,command' : 'pid,tt,stat,time,command';
    keys.push(...readKeys(names));
  }
  return { keys, pids, isAll: letters.includes('x') || letters.includes('a'), isJson };
}

/** `name=heading` takes the rest of the list as heading, commas and all. */
function readKeys(text: string): { name: string; heading: string | undefined }[] {
  const keys: { name: string; heading: string | undefined }[] = [];
  let rest = text;
  while (rest !== '') {
    const [, name, sign, heading] = /^([^,= ]+)([,= ]?)([\s\S]*)$/.exec(rest) ?? [];
    if (name === undefined) break;
    const key = aliases[name] ?? name;
    if (columns[key] === undefined) {
      err(`ps: ${name}: keyword not found\nps: no valid keywords; valid keywords:\n`);
      throw new Exit(1, '', `${[...Object.keys(columns), ...Object.keys(aliases)].sort().join(' ')}\n`);
    }
    if (sign === '=') return [...keys, { name: key, heading }];
    keys.push({ name: key, heading: undefined });
    rest = heading ?? '';
  }
  return keys;
}

function readPid(text: string): number {
  if (!/^\d+$/.test(text)) throw new Exit(1, `ps: Invalid process id: ${text}\n`);
  return Number(text);
}

/** The processes that every host has. */
function system(startedAtSeconds: number): NodeProcess[] {
  const make = (pid: number, command: string): NodeProcess => ({
    pid, parentPid: 0, group: pid, session: pid, state: pid === 1 ? 'SLs' : 'DLs', startedAtSeconds, cpuSeconds: 0.34, rssKiB: 992, vszKiB: 11404, threads: 1,
    comm: command.replace(/[[\]]|.*\//g, ''), command, title: command,
  });
  return [make(0, '[kernel]'), make(1, '/sbin/init')];
}

runTool((args) => {
  const node = currentNode();
  const asked = parse(args);
  const everything = [...system(Math.floor(Date.now() / 1000) - 86_400), ...listProcesses(node)];
  const wanted = everything.filter((info) => asked.pids?.includes(info.pid) ?? asked.isAll);
  const chosen = asked.keys.map(({ name, heading }) => ({ ...columns[name]!, heading: heading ?? columns[name]!.heading }));
  const rows = wanted.map((info) => chosen.map((column) => column.show(info)));
  if (asked.isJson) {
    const records = wanted.map((info) => Object.fromEntries(chosen.map((column) => [column.json, column.show(info)])));
    out(records.length === 0 ? '{ }\n' : `${JSON.stringify({ 'process-information': { process: records } })}\n`);
    return records.length === 0 ? 1 : 0;
  }
  const widths = chosen.map((column, index) => Math.max(column.heading.length, ...rows.map((row) => row[index]!.length)));
  const render = (cells: readonly string[]): string =>
    cells.map((cell, index) => (chosen[index]!.isLeft !== true ? cell.padStart(widths[index]!) : index === cells.length - 1 ? cell : cell.padEnd(widths[index]!))).join(' ');
  out([chosen.map((column) => column.heading), ...rows].map((row) => `${render(row)}\n`).join(''));
  return rows.length === 0 ? 1 : 0;
});
