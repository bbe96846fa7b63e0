/**
 * The checkpoint tree of an instance. A node is a snapshot `@ckpt-ID` of every disk, taken in one transaction; going to a node is putting clones of them in
 * the place of the disks (never `zfs rollback`, which would destroy every later node):
 *
 *   root ── @ckpt-A ── @ckpt-B            restore A ▶   branch-….root ── @ckpt-A ── @ckpt-B
 *                                                                           └─clone─▶ root (current: A)
 *
 * The tree is what ZFS has (disk-tree.ts) and nothing else: who descends from whom is read from the order of snapshots and from origins, never from names,
 * because `zfs promote` moves snapshots to other datasets. The snapshot of the root disk stands for its node: setting `released` on it deletes the node, at
 * once and as a whole; what is then left in the pool is freed by tidy.ts, as far as no other node needs it, and again later where it could not be.
 */
import { AgentError } from '../../lib/errors.js';
import { isUuid, parseInstanceUuid, type CheckpointId, type InstanceUuid } from '../../lib/ids.js';
import { BRANCH, disks, type InstanceDisksDeps } from '../instance-disks.js';
import { asProperties, markProperties, marksOf } from '../marks.js';
import { completeReplacement, prepareReplacement } from '../replace-disk.js';
import type { CheckpointKeeping, CheckpointNode, NodeStorage } from '../types.js';
import { nodesOf, readDiskTree, type DiskTree } from './disk-tree.js';
import { tidy } from './tidy.js';

type Checkpoints = Pick<NodeStorage, 'createCheckpoint' | 'checkpoints' | 'restoreCheckpoint' | 'deleteCheckpoint' | 'instancesWithCheckpoints' | 'tidyCheckpoints'>;

const novas: CheckpointKeeping = { keeper: 'nova', name: null };

export const createCheckpoints = (deps: InstanceDisksDeps): Checkpoints => ({
  createCheckpoint: (instance, id, guest, memory = null, keeping = novas) => createCheckpoint(deps, instance, id, { guest, memory, ...keeping }),
  checkpoints: async (instance) => nodesOf(await readDiskTree(deps, instance)),
  restoreCheckpoint: (instance, id, madeFor) => restoreCheckpoint(deps, instance, id, madeFor),
  deleteCheckpoint: (instance, id) => deleteCheckpoint(deps, instance, id),
  instancesWithCheckpoints: () => instancesWithCheckpoints(deps),
  tidyCheckpoints: (instance) => tidy(deps, instance),
});

const rootSnapshotOf = (tree: DiskTree, id: CheckpointId): DiskTree['snapshots'][number] | undefined =>
  tree.snapshots.find((snapshot) => snapshot.role === 'root' && snapshot.checkpoint === id);

type Made = Pick<CheckpointNode, 'guest' | 'memory' | 'keeper' | 'name'>;

async function createCheckpoint(deps: InstanceDisksDeps, instance: InstanceUuid, id: CheckpointId, { guest, memory, keeper, name }: Made): Promise<void> {
  if (rootSnapshotOf(await readDiskTree(deps, instance), id) !== undefined) return;
  const present = (await disks(deps, instance)).filter(({ role }) => role !== 'rescue');
  if (!present.some(({ role }) => role === 'root')) throw new AgentError('disk-missing', 'the instance has no root disk on this host', { details: { instance } });
  const marks = asProperties({
    kind: 'checkpoint', instance, checkpoint: id, at: deps.clock.now().toISOString(), guest, ...(memory === null ? {} : { memory: memory.sum, 'memory-bytes': String(memory.bytes) }),
    ...(keeper === 'nova' ? {} : { keeper }), ...(name === null ? {} : { name }),
  });
  await deps.zfs.snapshotTogether(present.map(({ dataset }) => `${dataset}@ckpt-${id}`), marks);
}

/** First every successor is made, then one after the other takes its place: what can fail for want of space fails before a disk has changed. */
async function restoreCheckpoint(deps: InstanceDisksDeps, instance: InstanceUuid, id: CheckpointId, madeFor: string): Promise<void> {
  const tree = await readDiskTree(deps, instance);
  const root = rootSnapshotOf(tree, id);
  if (root === undefined || root.isReleased) throw new AgentError('checkpoint-missing', 'this host has no such checkpoint of the server', { details: { instance, checkpoint: id } });
  // A disk that was half way between is listed by its successor only.
  const roles = new Set(tree.disks.filter(({ place }) => place !== 'branch').map(({ role }) => role));
  const wanted = tree.snapshots.filter((snapshot) => snapshot.checkpoint === id && roles.has(snapshot.role));
  const replacements = wanted.map((snapshot) => ({
    place: { instance, role: snapshot.role },
    own: { 'made-for': madeFor, ...(snapshot.disk.image === null ? {} : { image: snapshot.disk.image }) },
    make: (name: string, marks: Readonly<Record<string, string>>) => deps.zfs.clone(snapshot.name, name, asProperties(marks)),
  }));
  for (const replacement of replacements) await prepareReplacement(deps, replacement);
  for (const replacement of replacements) await completeReplacement(deps, replacement, null);
}

async function deleteCheckpoint(deps: InstanceDisksDeps, instance: InstanceUuid, id: CheckpointId): Promise<void> {
  const root = rootSnapshotOf(await readDiskTree(deps, instance), id);
  if (root !== undefined && !root.isReleased) await deps.zfs.set(root.name, asProperties({ released: 'yes' }));
  await tidy(deps, instance);
}

async function instancesWithCheckpoints({ zfs, layout }: InstanceDisksDeps): Promise<readonly InstanceUuid[]> {
  const found = await zfs.get(layout.instances, markProperties, { recursive: true });
  const owners = [...found].flatMap(([name, properties]) => {
    const { kind, instance } = marksOf(properties);
    return kind === 'checkpoint' || (kind === 'disk' && name.includes(`/${BRANCH}`)) ? [instance] : [];
  });
  return [...new Set(owners)].filter(isUuid).map(parseInstanceUuid);
}
