/**
 * Limits as rules of rctl(8), which the supervisor puts on each bhyve process that it starts. `deny` for CPU time slows a process down, as
 * `throttle` does for input and output; neither ends it.
 */
import { AgentError } from '../../lib/errors.js';
import type { GuestLimits } from '../types.js';

const rules: readonly (readonly [limit: keyof GuestLimits, resource: string])[] = [
  ['cpuPercent', 'pcpu:deny'], ['readBytesPerSecond', 'readbps:throttle'], ['writeBytesPerSecond', 'writebps:throttle'],
  ['readsPerSecond', 'readiops:throttle'], ['writesPerSecond', 'writeiops:throttle'],
];

/** Text of `limits`, empty for a guest without any. AgentError `command-missing` when the host has no rctl. */
export function renderLimits(limits: GuestLimits, rctl: string | undefined): string {
  const lines = rules.flatMap(([limit, resource]) => (limits[limit] === null ? [] : [`${resource}=${limits[limit]}`]));
  if (lines.length > 0 && rctl === undefined) throw new AgentError('command-missing', 'the guest has limits, but this host has no rctl', { details: { tool: 'rctl' } });
  return lines.map((rule) => `${rctl} ${rule}\n`).join('');
}
