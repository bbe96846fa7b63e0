/**
 * Disks that go with a saved guest: its memory is worth nothing once a disk has changed behind it. Right after the guest has ended a snapshot of every
 * disk is taken in one transaction; whether a disk is still as it was then is asked of ZFS (`written@`), and which disk and which snapshot by their
 * guids, so that one that was destroyed and made anew, rolled back or received is another one.
 *
 *   guest ended ──hold still──▶ evidence, kept with the save ──compare──▶ the same: it may be restored ──let go──▶ no snapshot left
 */
import { AgentError } from '../lib/errors.js';
import type { InstanceUuid } from '../lib/ids.js';
import { disks, type InstanceDisksDeps } from './instance-disks.js';
import type { DiskEvidence, NodeStorage } from './types.js';
import { whileBusy } from './while-busy.js';

type StillDisks = Pick<NodeStorage, 'holdStill' | 'stillness' | 'letGo'>;

const SNAPSHOT = 'suspended';
const written = `written@${SNAPSHOT}`;
const snapshotOf = (dataset: string): string => `${dataset}@${SNAPSHOT}`;

export const createStillDisks = (deps: InstanceDisksDeps): StillDisks => ({
  holdStill: (instance) => holdStill(deps, instance),
  stillness: (instance) => stillness(deps, instance),
  letGo: (instance) => letGo(deps, instance),
});

/** Repeated after a crash it begins anew: the guest has not run since. */
async function holdStill(deps: InstanceDisksDeps, instance: InstanceUuid): Promise<DiskEvidence> {
  await letGo(deps, instance);
  const datasets = (await disks(deps, instance)).map(({ dataset }) => snapshotOf(dataset));
  if (datasets.length === 0) throw new AgentError('disk-missing', 'the instance has no disk on this host', { details: { instance } });
  await deps.zfs.snapshotTogether(datasets);
  return stillness(deps, instance);
}

/** Disks without the snapshot are evidence of something else than before. */
async function stillness(deps: InstanceDisksDeps, instance: InstanceUuid): Promise<DiskEvidence> {
  const found = await deps.zfs.get(deps.layout.instance(instance), ['guid'], { recursive: true });
  const evidence: Record<string, string> = {};
  for (const { role, dataset } of await disks(deps, instance)) {
    const [disk, snapshot] = [dataset, snapshotOf(dataset)].map((name) => found.get(name)?.get('guid')?.value);
    const bytes = snapshot === undefined ? undefined : (await deps.zfs.get(dataset, [written])).get(dataset)?.get(written)?.value;
    evidence[role] = bytes === '0' ? `disk ${disk} as in snapshot ${snapshot}` : `disk ${disk}, written since`;
  }
  return evidence;
}

async function letGo(deps: InstanceDisksDeps, instance: InstanceUuid): Promise<void> {
  const found = await deps.zfs.get(deps.layout.instance(instance), ['guid'], { recursive: true });
  for (const { dataset } of await disks(deps, instance)) {
    if (found.has(snapshotOf(dataset))) await whileBusy(deps.clock, () => deps.zfs.destroySnapshot(snapshotOf(dataset)));
  }
}
