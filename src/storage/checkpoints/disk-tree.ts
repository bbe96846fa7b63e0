/** The disks of an instance with the nodes on them, as the pool has them, and the tree that follows from it. */
import { isUuid, parseCheckpointId, parseImageId, type CheckpointId, type ImageId, type InstanceUuid } from '../../lib/ids.js';
import { isDiskRole } from '../disk-roles.js';
import { BRANCH, type InstanceDisksDeps } from '../instance-disks.js';
import { markProperties, marksOf, type Marks } from '../marks.js';
import { successorOf } from '../replace-disk.js';
import type { CheckpointMemory, CheckpointNode, DiskRole } from '../types.js';
import type { Properties } from '../zfs.js';

/** A disk in use, one that is about to take its place, or one that is kept for its nodes. */
export interface TreeDisk {
  readonly name: string;
  readonly role: DiskRole;
  readonly place: 'present' | 'successor' | 'branch';
  /** Name of the snapshot that it was cloned from. */
  readonly origin: string | null;
  readonly image: ImageId | null;
}

/** The part of a node that is on one disk. */
export interface NodeSnapshot {
  readonly name: string;
  readonly disk: TreeDisk;
  readonly role: DiskRole;
  readonly checkpoint: CheckpointId;
  readonly isReleased: boolean;
  /** Number of its transaction: later snapshots of a disk have larger ones, wherever a promotion has put them. */
  readonly order: bigint;
  readonly bytes: bigint;
  readonly usedBytes: bigint;
  readonly marks: Marks;
}

export interface DiskTree {
  readonly disks: readonly TreeDisk[];
  /** Oldest first. */
  readonly snapshots: readonly NodeSnapshot[];
}

const asked = ['origin', 'createtxg', 'used', 'volsize', ...markProperties];
const numberOf = (properties: Properties, name: string): bigint => BigInt(properties.get(name)?.value ?? '0');

/** Only what carries our marks is in it. */
export async function readDiskTree({ zfs, layout }: Pick<InstanceDisksDeps, 'zfs' | 'layout'>, instance: InstanceUuid): Promise<DiskTree> {
  const found = await zfs.get(layout.instance(instance), asked, { recursive: true });
  const placeOf = (name: string, role: DiskRole): TreeDisk['place'] | null => {
    const present = layout.disk(instance, role);
    if (name === present || name === successorOf(present)) return name === present ? 'present' : 'successor';
    return name.startsWith(`${layout.instance(instance)}/${BRANCH}`) ? 'branch' : null;
  };
  const disks = [...found].flatMap(([name, properties]): TreeDisk[] => {
    const { kind, instance: owner, role = '', image } = marksOf(properties);
    if (kind !== 'disk' || owner !== instance || !isDiskRole(role)) return [];
    const place = placeOf(name, role);
    return place === null ? [] : [{ name, role, place, origin: properties.get('origin')?.value ?? null, image: isUuid(image) ? parseImageId(image) : null }];
  });
  const snapshots = [...found].flatMap(([name, properties]): NodeSnapshot[] => {
    const marks = marksOf(properties);
    const disk = disks.find((one) => one.name === name.split('@')[0]);
    if (marks.kind !== 'checkpoint' || marks.instance !== instance || !isUuid(marks.checkpoint) || disk === undefined) return [];
    return [{
      name, disk, role: disk.role, checkpoint: parseCheckpointId(marks.checkpoint), isReleased: marks.released === 'yes', marks,
      order: numberOf(properties, 'createtxg'), bytes: numberOf(properties, 'volsize'), usedBytes: numberOf(properties, 'used'),
    }];
  });
  return { disks, snapshots: snapshots.sort((a, b) => (a.order < b.order ? -1 : a.order > b.order ? 1 : 0)) };
}

/** Whether somebody still wants the node: the snapshot of its root disk decides. */
export const isWanted = (tree: DiskTree, id: CheckpointId): boolean => tree.snapshots.some((one) => one.role === 'root' && one.checkpoint === id && !one.isReleased);

/** The newest wanted node that lies on the disk (before `snapshot`, if one is given) or that the disk descends from. */
function nearestNode(tree: DiskTree, disk: TreeDisk, snapshot: NodeSnapshot | undefined): CheckpointId | null {
  const before = tree.snapshots.filter((one) => one.disk === disk && (snapshot === undefined || one.order < snapshot.order));
  const wanted = before.filter((one) => !one.isReleased).at(-1);
  if (wanted !== undefined) return wanted.checkpoint;
  const origin = tree.snapshots.find((one) => one.name === disk.origin);
  if (origin === undefined) return null;
  return origin.isReleased ? nearestNode(tree, origin.disk, origin) : origin.checkpoint;
}

const memoryOf = ({ memory, 'memory-bytes': bytes = '' }: Marks): CheckpointMemory | null =>
  (memory === undefined ? null : { sum: memory, bytes: /^\d+$/.test(bytes) ? BigInt(bytes) : 0n });

/** The nodes, oldest first. Parents are those of the root disk. */
export function nodesOf(tree: DiskTree): readonly CheckpointNode[] {
  const present = tree.disks.find(({ role, place }) => role === 'root' && place === 'present');
  const current = present === undefined ? null : nearestNode(tree, present, undefined);
  return tree.snapshots.filter((one) => one.role === 'root' && !one.isReleased).map((root): CheckpointNode => {
    const parts = tree.snapshots.filter((one) => one.checkpoint === root.checkpoint);
    const sum = (of: (part: NodeSnapshot) => bigint): bigint => parts.reduce((total, part) => total + of(part), 0n);
    return {
      id: root.checkpoint, parent: nearestNode(tree, root.disk, root), at: new Date(root.marks.at ?? 0), guest: root.marks.guest === 'off' ? 'off' : 'running', memory: memoryOf(root.marks),
      roles: parts.map(({ role }) => role), bytes: sum((part) => part.bytes), usedBytes: sum((part) => part.usedBytes), image: root.disk.image,
      keeper: root.marks.keeper === 'operator' ? 'operator' : 'nova', name: root.marks.name ?? null,
      isCurrent: root.checkpoint === current,
    };
  });
}
