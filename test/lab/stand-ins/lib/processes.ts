/** Processes of this node: those whose environment names it, without the engines behind the stand-ins. */
import { readFileSync, readdirSync } from 'node:fs';
import { basename } from 'node:path';
import type { StandInNode } from './lab-node.js';

export interface NodeProcess {
  readonly pid: number;
  readonly parentPid: number;
  readonly group: number;
  readonly session: number;
  /** S, R, D, T, Z and what FreeBSD adds. */
  readonly state: string;
  readonly startedAtSeconds: number;
  readonly cpuSeconds: number;
  readonly rssKiB: number;
  readonly vszKiB: number;
  readonly threads: number;
  /** Name of the program. */
  readonly comm: string;
  /** As ps shows it: a title that a process gave itself is followed by its program's name. */
  readonly command: string;
  /** The arguments or the title alone, as pgrep -f matches them. */
  readonly title: string;
}

const HZ = 100;

export function listProcesses(node: StandInNode): NodeProcess[] {
  const bootSeconds = Number(/^btime (\d+)/m.exec(readFileSync('/proc/stat', 'utf8'))?.[1] ?? 0);
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).flatMap((name) => readProcess(node, Number(name), bootSeconds) ?? []).sort((a, b) => a.pid - b.pid);
}

function readProcess(node: StandInNode, pid: number, bootSeconds: number): NodeProcess | undefined {
  try {
    const environment = readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
    if (!environment.includes(`LAB_NODE=${node.path}`) || environment.includes('LAB_HIDDEN=1')) return undefined;
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const number = (field: number): number => Number(fields[field - 3]);
    const { comm, command, title } = nameOf(readFileSync(`/proc/${pid}/cmdline`, 'utf8'), stat);
    const state = fields[0]!;
    return {
      pid, parentPid: number(4), group: number(5), session: number(6), state: `${state === 'X' ? 'Z' : state}${number(6) === pid ? 's' : ''}`,
      startedAtSeconds: bootSeconds + Math.floor(number(22) / HZ), cpuSeconds: (number(14) + number(15)) / HZ, rssKiB: number(24) * 4, vszKiB: Math.floor(number(23) / 1024), threads: number(20),
      comm, command, title,
    };
  } catch {
    return undefined; // gone in between
  }
}

/** A stand-in shows as the tool that it stands for. */
function nameOf(commandLine: string, stat: string): { comm: string; command: string; title: string } {
  const words = commandLine.replace(/\0+$/, '').split('\0');
  const own = stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')'));
  const script = words.findIndex((word) => word.includes('/stand-ins/') && word.endsWith('.js'));
  if (script > 0 && /node$/.test(words[0] ?? '')) {
    const tool = basename(words[script]!, '.js');
    const title = [tool, ...words.slice(script + 1)].join(' ');
    return { comm: tool, command: title, title };
  }
  const text = words.join(' ').trim();
  const titled = /^(bhyve|daemon): /.exec(text);
  if (titled !== null && words.length === 1) return { comm: titled[1]!, command: `${text} (${titled[1]})`, title: text };
  const comm = basename(words[0] ?? own);
  return text === '' ? { comm: own, command: `<defunct>`, title: own } : { comm, command: text, title: text };
}
