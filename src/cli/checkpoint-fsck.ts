/** `nova-bhyve checkpoint fsck`: whether what the pool says of checkpoints and what is kept of them in the guests' folders fit together. Changes nothing. */
import type { CheckpointId, InstanceUuid } from '../lib/ids.js';
import type { CheckpointKeeping } from '../storage/index.js';
import type { NodeView } from './node-view.js';
import { formatBytes, renderJson, renderTable, type Output } from './output.js';
import { knownInstances, oneInstance } from './summarize.js';

interface Finding {
  readonly instance: InstanceUuid;
  readonly checkpoint: CheckpointId;
  /** Null for an orphan: nobody knows any more. */
  readonly keeping: CheckpointKeeping | null;
  /** `no-return`: no guest can go on from its memory here and now, though its disks are there; `orphan`: files of a node that the pool does not have. */
  readonly kind: 'no-return' | 'orphan';
  readonly what: string;
}

export interface FsckOptions {
  /** One instance (a uuid, or as much of its beginning as is clear), or all. */
  readonly wanted: string | undefined;
  readonly json: boolean;
  readonly signal: AbortSignal;
}

/**
 * Reads the memory of every checkpoint, which takes a while and is announced on stderr. Resolves with the exit code: 1 if something was found, or if there is no such
 * instance. Orphans are no loss, and the running agent removes them within a minute or two, unless the disks of the server are away: then nobody knows what is wanted.
 */
export async function checkCheckpoints(view: NodeView, { wanted, json, signal }: FsckOptions, output: Output): Promise<number> {
  const one = wanted === undefined ? null : await oneInstance(view, wanted, output);
  if (wanted !== undefined && one === null) return 1;
  await view.driver.prepare(); // memory goes back to the same host only, so that has to be looked at
  const findings: Finding[] = [];
  let checked = 0;
  for (const instance of one === null ? await knownInstances(view) : [one]) {
    const nodes = await view.storage.checkpoints(instance);
    checked += nodes.length;
    for (const { id: checkpoint, memory, keeper, name } of nodes) {
      if (memory === null) continue;
      if (!json) output.err(`${instance}: reading the memory of ${checkpoint} (${formatBytes(memory.bytes)})\n`);
      const why = await view.driver.whyNoReturn(instance, checkpoint, memory, signal);
      if (why !== null) findings.push({ instance, checkpoint, keeping: { keeper, name }, kind: 'no-return', what: `the guest could not go on from it: ${why}` });
    }
    const orphans = (await view.driver.kept(instance)).filter((kept) => !nodes.some(({ id }) => id === kept));
    if (orphans.length === 0) continue;
    const what = (await view.storage.disks(instance)).length > 0 ? 'files of a checkpoint that is gone; the agent removes them'
      : 'files of a checkpoint of a server whose disks are not here; nothing removes them';
    findings.push(...orphans.map((checkpoint): Finding => ({ instance, checkpoint, keeping: null, kind: 'orphan', what })));
  }
  if (json) output.out(renderJson({ checked, findings }));
  else if (findings.length === 0) output.out(`${checked} ${checked === 1 ? 'checkpoint is' : 'checkpoints are'} what the pool says.\n`);
  else output.out(renderTable(['instance', 'checkpoint', 'name', 'keeper', 'found'], findings.map(({ instance, checkpoint, keeping, what }) => [instance, checkpoint, keeping?.name ?? '-', keeping?.keeper ?? '-', what])));
  return findings.length === 0 ? 0 : 1;
}
