/** Talking to guests as their neighbours do: from the node's network namespace, where the lab has an address on the bridge. */
import { execFile } from 'node:child_process';
import { until } from '../control-plane/index.js';
import type { LabNode } from '../../lab/node.js';

const inNode = (node: LabNode, argv: readonly string[], limitMs: number): Promise<string | null> => new Promise((resolve) => {
  execFile('/usr/sbin/ip', ['netns', 'exec', node.netns, ...argv], { timeout: limitMs, encoding: 'utf8' }, (err, stdout) => resolve(err === null ? stdout : null));
});

const ping = (node: LabNode, target: string, from?: string): Promise<string | null> =>
  inNode(node, ['ping', '-n', '-c', '1', '-W', '1', ...(from === undefined ? [] : ['-I', from]), target], 3_000);

/** Whether one echo comes back within a second: to show that nobody answers. One that should answer is given time by `waitPing`. */
export const pings = async (node: LabNode, target: string, from?: string): Promise<boolean> => (await ping(node, target, from)) !== null;

/** ping's own line about the round trip, once an answer came by the route to it or out of one interface. */
export async function waitPing(node: LabNode, target: string, limitMs = 120_000, from?: string): Promise<string> {
  return until(limitMs, () => `${target} does not answer ping from ${node.name} within ${limitMs / 1000} s`, async () => {
    const output = await ping(node, target, from);
    return output?.split('\n').find((line) => line.includes('time=')) ?? null;
  }, 200);
}

/** What the lab guest says on its port 7: how often it has booted from this disk, and the seconds it has counted since. */
export async function askGuest(node: LabNode, target: string, limitMs = 120_000): Promise<{ boot: number; tick: number; uuid: string }> {
  return until(limitMs, () => `the guest at ${target} does not tell its counters within ${limitMs / 1000} s`, async () => {
    const output = await inNode(node, ['bash', '-c', 'exec 3<>/dev/tcp/$0/7 && head -n 1 <&3', target], 3_000);
    const found = /boot (\d+) tick (\d+) uuid (\S+)/.exec(output ?? '');
    return found === null ? null : { boot: Number(found[1]), tick: Number(found[2]), uuid: found[3]! };
  }, 300);
}
