/** limits(1): runs a command with resource limits (-v address space, -t CPU seconds, -d data, -n files; KiB-based suffixes), or prints them. */
import { spawnSync } from 'node:child_process';
import { getopt, out, runTool } from './lib/tool.js';

const prlimitOf: Readonly<Record<string, string>> = { v: 'as', t: 'cpu', d: 'data', n: 'nofile', f: 'fsize', c: 'core' };

/** Sizes are in KiB unless they carry b, k, m or g; times are seconds. */
function amount(flag: string, text: string): string {
  if (/^(unlimited|infinity|infinite|none)$/.test(text)) return 'unlimited';
  const [, digits, unit] = /^(\d+)([a-z]*)$/i.exec(text) ?? [];
  const isSize = ['v', 'd', 'f', 'c', 'm'].includes(flag);
  const scale: Readonly<Record<string, number>> = { '': isSize ? 1024 : 1, b: isSize ? 512 : 1, k: 1024, m: 1 << 20, g: 1 << 30, s: 1 };
  return String(Number(digits) * (scale[(unit ?? '').toLowerCase()] ?? 1));
}

runTool((args) => {
  const { options, operands } = getopt(args, 'SHEB:C:U:eb:c:d:f:l:m:n:o:p:s:t:u:v:w:y:k:a');
  const [command, ...rest] = operands;
  if (command === undefined) {
    out('Resource limits (current):\n  cputime              infinity secs\n  filesize             infinity kB\n  vmemoryuse           infinity kB\n');
    return 0;
  }
  const limits = options.flatMap(({ flag, value }) => (prlimitOf[flag] === undefined ? [] : [`--${prlimitOf[flag]}=${amount(flag, value)}`]));
  const { status, signal, error } = spawnSync('prlimit', [...limits, command, ...rest], { stdio: 'inherit' });
  if (error !== undefined) return 127;
  if (signal !== null) process.kill(process.pid, signal);
  return status ?? 1;
});
