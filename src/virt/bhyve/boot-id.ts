/**
 * Names the current boot of the host, so that status files from before a reboot are known as stale. `kern.boot_id` is a fresh UUID
 * each boot; where sysctl cannot print it, the second of `kern.boottime` serves. That one moves when the clock is set, so two of them are
 * the same boot if they are close and the guest started after both.
 */
import { AgentError } from '../../lib/errors.js';
import type { Host } from '../../host/index.js';

/** One word without blanks; it goes into status files. */
export async function readBootId(host: Pick<Host, 'sysctl'>): Promise<string> {
  const id = (await host.sysctl('kern.boot_id'))?.trim();
  if (id !== undefined && /^[0-9A-Za-z-]{8,64}$/.test(id)) return id;
  const seconds = /\bsec = (\d+)/.exec((await host.sysctl('kern.boottime')) ?? '')?.[1];
  if (seconds === undefined) throw new AgentError('host-unusable', 'neither kern.boot_id nor kern.boottime tells the current boot');
  return `boottime-${seconds}`;
}

const bootTimeToleranceSeconds = 120;
const secondsOf = (id: string): number | undefined => {
  const seconds = /^boottime-(\d+)$/.exec(id)?.[1];
  return seconds === undefined ? undefined : Number(seconds);
};

/** Whether a status file is from the boot that `now` names. A guest that was started before this boot began is from another one. */
export function isFromBoot(status: { readonly boot: string; readonly sinceSeconds: number }, now: string): boolean {
  if (status.boot === now) return true;
  const [then, current] = [secondsOf(status.boot), secondsOf(now)];
  if (then === undefined || current === undefined) return false;
  return Math.abs(then - current) <= bootTimeToleranceSeconds && status.sinceSeconds >= current;
}
