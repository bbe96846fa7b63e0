/**
 * A root disk as it was at one moment, to be read while its guest goes on: a snapshot of the volume, and a clone of that in the instance's own
 * dataset, because only a volume has a device node on every host. Crash-consistent: what the guest had flushed is in it, as after a power cut.
 *
 *   ROOT/instances/UUID/root@snapshot-OPERATION  ──clone──▶  ROOT/instances/UUID/snapshot-OPERATION     (both marked with instance and operation)
 *   SCRATCH/OPERATION.part                       the same as qcow2, where that is wanted
 *
 *   ROOT/instances/UUID/…@ckpt-ID                …of a node of the checkpoint tree: the clone is marked, the node's snapshot is not ours to free
 *
 * Named by the operation, so that what a crash left behind is known to be nobody's. Burying the disks takes both along, reaping frees them.
 */
import type { Clock } from '../lib/clock.js';
import { AgentError, codeOf } from '../lib/errors.js';
import { isUuid, parseInstanceUuid, parseOperationId, type CheckpointId, type InstanceUuid, type OperationId } from '../lib/ids.js';
import type { Host } from '../host/index.js';
import type { Logger } from '../observe/index.js';
import { readDiskTree } from './checkpoints/disk-tree.js';
import { writeDiskFile, type ConverterLimits } from './converter.js';
import type { Layout } from './dataset-names.js';
import { asProperties, markProperties, marksOf, type Marks } from './marks.js';
import type { DiskContent, DiskRole, NodeStorage } from './types.js';
import { whileBusy } from './while-busy.js';
import type { Properties, Zfs } from './zfs.js';
import { nodeOf, waitForNode } from './zvol-nodes.js';

export interface DiskSnapshotsDeps {
  readonly host: Host;
  readonly zfs: Zfs;
  readonly layout: Layout;
  readonly scratch: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly limits: ConverterLimits;
}

export type DiskSnapshots = Pick<NodeStorage, 'takeSnapshot' | 'takeCheckpointCopy' | 'openSnapshot' | 'dropSnapshot' | 'dropLeftSnapshots'>;

export function createDiskSnapshots(deps: DiskSnapshotsDeps): DiskSnapshots {
  return {
    takeSnapshot: (instance, operation) => takeSnapshot(deps, instance, operation),
    takeCheckpointCopy: (instance, checkpoint, role, operation) => takeCheckpointCopy(deps, { instance, checkpoint, role }, operation),
    openSnapshot: (instance, operation, options) => openSnapshot(deps, instance, operation, options),
    dropSnapshot: (instance, operation) => dropSnapshot(deps, instance, operation),
    dropLeftSnapshots: (isOpen) => dropLeftSnapshots(deps, isOpen),
  };
}

const rootOf = ({ layout }: DiskSnapshotsDeps, instance: InstanceUuid): string => `${layout.instance(instance)}/root`;
const snapshotOf = (deps: DiskSnapshotsDeps, instance: InstanceUuid, operation: OperationId): string => `${rootOf(deps, instance)}@snapshot-${operation}`;
const cloneOf = ({ layout }: DiskSnapshotsDeps, instance: InstanceUuid, operation: OperationId): string => `${layout.instance(instance)}/snapshot-${operation}`;
const marksFor = (instance: InstanceUuid, operation: OperationId): Marks => ({ kind: 'snapshot', instance, operation });
const fileOf = ({ scratch }: DiskSnapshotsDeps, operation: OperationId): string => `${scratch}/${operation}.part`;

const isMarked = (properties: Properties | undefined, operation: OperationId): boolean => {
  const marks = marksOf(properties);
  return marks.kind === 'snapshot' && marks.operation === operation;
};

const datasetsOf = ({ zfs, layout }: DiskSnapshotsDeps, instance: InstanceUuid): Promise<ReadonlyMap<string, Properties>> =>
  zfs.get(layout.instance(instance), ['volsize', ...markProperties], { recursive: true });

/** The first call decides the moment; a repetition finds what it made. */
async function takeSnapshot(deps: DiskSnapshotsDeps, instance: InstanceUuid, operation: OperationId): Promise<void> {
  const { zfs } = deps;
  const datasets = await datasetsOf(deps, instance);
  if (!datasets.has(rootOf(deps, instance))) throw new AgentError('disk-missing', 'the instance has no root disk on this host', { details: { instance } });
  const properties = asProperties(marksFor(instance, operation));
  const [snapshot, clone] = [snapshotOf(deps, instance, operation), cloneOf(deps, instance, operation)];
  if (!isMarked(datasets.get(snapshot), operation)) await zfs.snapshot(snapshot, properties);
  if (!isMarked(datasets.get(clone), operation)) await zfs.clone(snapshot, clone, properties);
  await waitForNode(deps, clone);
}

interface Part { readonly instance: InstanceUuid; readonly checkpoint: CheckpointId; readonly role: DiskRole }

async function takeCheckpointCopy(deps: DiskSnapshotsDeps, { instance, checkpoint, role }: Part, operation: OperationId): Promise<void> {
  const part = (await readDiskTree(deps, instance)).snapshots.find((one) => one.checkpoint === checkpoint && one.role === role);
  if (part === undefined) throw new AgentError('disk-missing', `the checkpoint has no ${role} disk on this host`, { details: { instance, checkpoint } });
  const clone = cloneOf(deps, instance, operation);
  const found = (await deps.zfs.get(clone, ['origin', ...markProperties])).get(clone);
  if (!isMarked(found, operation) || found?.get('origin')?.value !== part.name) await deps.zfs.clone(part.name, clone, asProperties(marksFor(instance, operation)));
  await waitForNode(deps, clone);
}

async function openSnapshot(deps: DiskSnapshotsDeps, instance: InstanceUuid, operation: OperationId, options: Parameters<NodeStorage['openSnapshot']>[2]): Promise<DiskContent> {
  const { host } = deps;
  const clone = cloneOf(deps, instance, operation);
  const properties = (await datasetsOf(deps, instance)).get(clone);
  if (!isMarked(properties, operation)) throw new AgentError('disk-missing', 'the snapshot of the disk is not there any more', { details: { instance, dataset: clone } });
  const device = nodeOf(host, clone);
  const virtualBytes = BigInt(properties!.get('volsize')!.value);
  if (options.format === 'raw') {
    // A device has no end of file of its own on every system: exactly its size is read.
    return { diskFormat: 'raw', bytes: virtualBytes, open: () => host.files.openSource(device, { start: 0n, end: virtualBytes }) };
  }
  const file = fileOf(deps, operation);
  await host.files.remove(file, deps.scratch);
  await writeDiskFile(host, { path: device, form: 'raw' }, { path: file, form: 'qcow2' }, { ...deps.limits, isCompressed: options.isCompressed }, options.signal);
  const bytes = await host.files.sizeBytes(file);
  if (bytes === undefined) throw new AgentError('disk-missing', 'the converter wrote no file', { details: { path: file } });
  return { diskFormat: 'qcow2', bytes, open: () => host.files.openSource(file) };
}

/** Clone first. Whoever read it has been stopped, but the system may need a moment to see that. Found by its mark: the disk may have been set aside meanwhile. */
async function dropSnapshot(deps: DiskSnapshotsDeps, instance: InstanceUuid, operation: OperationId): Promise<void> {
  const { zfs, clock, host, scratch } = deps;
  await host.files.remove(fileOf(deps, operation), scratch);
  const datasets = await datasetsOf(deps, instance);
  const marked = [...datasets].filter(([, properties]) => isMarked(properties, operation)).map(([name]) => name);
  for (const clone of marked.filter((name) => !name.includes('@'))) await unlessMissing(whileBusy(clock, () => zfs.destroyTree(clone)));
  for (const snapshot of marked.filter((name) => name.includes('@'))) await unlessMissing(whileBusy(clock, () => zfs.destroySnapshot(snapshot)));
}

async function unlessMissing(work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (codeOf(error) !== 'zfs-missing') throw error;
  }
}

async function dropLeftSnapshots(deps: DiskSnapshotsDeps, isOpen: (operation: OperationId) => boolean): Promise<number> {
  const { zfs, layout, log } = deps;
  const found = new Map<OperationId, InstanceUuid>();
  for (const properties of (await zfs.get(layout.instances, markProperties, { recursive: true })).values()) {
    const { kind, instance, operation } = marksOf(properties);
    if (kind === 'snapshot' && isUuid(instance) && isUuid(operation)) found.set(parseOperationId(operation), parseInstanceUuid(instance));
  }
  let dropped = 0;
  for (const [operation, instance] of found) {
    if (isOpen(operation)) continue; // asked late: an operation that began while we listed is open
    try {
      await dropSnapshot(deps, instance, operation);
      dropped += 1;
      log.info({ instance, op: operation }, 'left-over snapshot of a disk removed');
    } catch (err) {
      log.warn({ err, instance, op: operation }, 'left-over snapshot of a disk not removed; it will be tried again');
    }
  }
  return dropped;
}
