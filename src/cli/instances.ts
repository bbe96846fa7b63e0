/** `nova-bhyve instances`: everything that this node has, one line each. */
import type { NodeView } from './node-view.js';
import { formatBytes, renderJson, renderTable, type Output } from './output.js';
import { describeState, knownInstances, summarizeInstances, withoutPayload, type InstanceSummary } from './summarize.js';

const row = (one: InstanceSummary): string[] => [
  one.uuid,
  one.name ?? '-',
  describeState(one.state),
  one.definition === null ? '-' : String(one.definition.vcpus),
  one.definition === null ? '-' : `${one.definition.memoryMiB} MiB`,
  one.disks.length === 0 ? '-' : formatBytes(one.disks.reduce((sum, disk) => sum + disk.bytes, 0n)),
  one.taps.length === 0 ? '-' : one.taps.map((tap) => tap.tapName).join(' '),
  [...one.open.map((operation) => `${operation.rpc}${operation.hasBegun ? '' : ' (waiting)'}`), ...one.oddities].join('; '),
];

/** Resolves with the exit code: 0, also when there is none. */
export async function listInstances(node: NodeView, options: { json: boolean }, output: Output): Promise<number> {
  const all = await summarizeInstances(node, await knownInstances(node));
  if (options.json) {
    output.out(renderJson(all.map(({ open, ...one }) => ({ ...one, open: open.map(withoutPayload) }))));
    return 0;
  }
  if (all.length === 0) output.out('No instances on this node.\n');
  else output.out(renderTable(['uuid', 'name', 'guest', 'vcpus', 'memory', 'disks', 'taps', 'notes'], all.map(row)));
  return 0;
}
