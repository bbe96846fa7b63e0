/**
 * Names the current boot of the host, so that status files from before a reboot are known as stale. `kern.boot_id` is a fresh UUID
 * each boot; where sysctl cannot print it, the second of `kern.boottime` serves. That one moves when the clock is set, so two of them are
 * the same boot if they are close: no host boots twice in two minutes with guests started in both.
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

export function isSameBoot(one: string, other: string): boolean {
  if (one === other) return true;
  const [oneSeconds, otherSeconds] = [one, other].map((id) => /^boottime-(\d+)$/.exec(id)?.[1]);
  return oneSeconds !== undefined && otherSeconds !== undefined && Math.abs(Number(oneSeconds) - Number(otherSeconds)) <= bootTimeToleranceSeconds;
}
