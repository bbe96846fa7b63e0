/** What a process has used, from /proc. Processor time in seconds, to the kernel's hundredth; memory in MiB. */
import { readFileSync } from 'node:fs';

const ticksPerSecond = 100;

export interface CpuSeconds {
  /** The process itself. */
  readonly own: number;
  /** Its children that have ended and were waited for: the commands that it ran. */
  readonly children: number;
}

/** Fields 14 to 17 of /proc/PID/stat. Throws when the process has ended: then there is nothing to compare. */
export function cpuSecondsOf(pid: number): CpuSeconds {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ').map(Number);
  const [user, system, childUser, childSystem] = fields.slice(11, 15) as [number, number, number, number];
  return { own: (user + system) / ticksPerSecond, children: (childUser + childSystem) / ticksPerSecond };
}

export const totalCpu = ({ own, children }: CpuSeconds): number => own + children;

export function residentMiB(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? NaN) / 1024;
}
