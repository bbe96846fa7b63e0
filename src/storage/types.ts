/**
 * Disks of instances: zvols (here), or chains of qcow2 files for instances that were made so (qcow2/); by-form.ts tells which. Zvols lie under one root dataset that is never left ([zfs]root). Each thing that we made carries ZFS user
 * properties (`org.nova-bhyve:kind`, `:instance`, `:image`, …); nothing without our mark is ever destroyed.
 *
 *   ROOT/images/ID            raw image, complete once it has the snapshot @base
 *   ROOT/instances/UUID/root  clone of ROOT/images/ID@base, grown to the flavor
 *                      /eph0, /eph1 …, /swap   begin empty
 *                      /rescue                 clone of the rescue image, there while the server is rescued
 *                      /snapshot-OPERATION     clone of a snapshot of root, there while an image is made of it
 *                      /branch-….ROLE          a disk that was left for a checkpoint and has others on it
 *   ROOT/graveyard/…          renamed away by destroy, reaped later
 */
import type { CheckpointId, ImageId, InstanceUuid, OperationId } from '../lib/ids.js';
import type { GlanceImage, ImageContent } from '../openstack/index.js';

export interface CachedImage {
  readonly id: ImageId;
  readonly virtualBytes: bigint;
  readonly detectedFormat: string;
}

/** What a disk is to its instance. */
export type DiskRole = 'root' | 'swap' | 'rescue' | `eph${number}`;

/** virtio-blk, a port of an AHCI controller of its own, or an NVMe controller. */
export type DiskBus = 'virtio' | 'sata' | 'nvme';

/** A zvol, or a chain of qcow2 files. Recorded when a disk is made, and never guessed from what a guest can write. */
export type DiskForm = 'raw' | 'qcow2';

/** Where a checkpoint of a qcow2 disk lies: in an overlay of its own, or inside the disk's file. */
export type ChainKind = 'external' | 'internal';

/** What the disks of qcow2 files need of the hypervisor: only the bhyve that writes to a file can freeze it. */
export interface ChainGuests {
  isRunning(instance: InstanceUuid): Promise<boolean>;
  /** Where bhyve finds the disks at its next run: of a guest that runs, when it reboots by itself. One that is not defined here is let be. Idempotent. */
  moveDisks(instance: InstanceUuid, paths: ReadonlyMap<DiskRole, string>): Promise<void>;
  /**
   * Asks bhyve for a checkpoint of all disks of a guest that runs, and resolves when it has done so or given up, which the files tell. AgentError
   * `guest-checkpoint-refused` (nothing was asked), `guest-checkpoint-unfinished` (it may still be at it).
   */
  checkpointDisks(instance: InstanceUuid, name: string, kind: ChainKind): Promise<void>;
}

/** What an empty disk is filled with before a guest sees it. */
export const diskFormats = ['swap', 'vfat', 'ext2', 'ext3', 'ext4'] as const;
export type DiskFormat = (typeof diskFormats)[number];

export interface DiskInfo {
  readonly role: DiskRole;
  /** Set where somebody chose a bus for this very disk; null: the bus of the machine. */
  readonly bus: DiskBus | null;
  readonly form: DiskForm;
  /** Of a zvol; null for a chain of files. */
  readonly dataset: string | null;
  /** Absolute path of the zvol's device node, or of the qcow2 file that the guest writes to. */
  readonly devicePath: string;
  readonly bytes: bigint;
  /** The operation or move that put it in the place of another disk; null for one that was there from the beginning. */
  readonly madeFor: string | null;
}

/** A disk, ready to become an image. */
export interface DiskContent extends ImageContent {
  readonly diskFormat: 'raw' | 'qcow2';
}

/** The memory of a guest that was saved with a node's disks. It is kept in files; the pool only knows which. */
export interface CheckpointMemory {
  /** SHA-256 of the save's manifest, which has the sums of all its files: memory with another sum does not go with these disks. */
  readonly sum: string;
  /** Of its files. */
  readonly bytes: bigint;
}

/** Who wants a node: Nova's users, by an image that stands for it and takes it along when it goes, or the operator of the host, who deletes it himself. */
export interface CheckpointKeeping {
  readonly keeper: 'nova' | 'operator';
  /** What the operator calls it: printable ASCII. */
  readonly name: string | null;
}

/** A node of an instance's checkpoint tree: all its disks (never the rescue disk) at one moment. */
export interface CheckpointNode extends CheckpointKeeping {
  readonly id: CheckpointId;
  /** The node that the disks descended from when it was made; null at a root of the tree. */
  readonly parent: CheckpointId | null;
  readonly at: Date;
  /** `running`: crash-consistent, as after a power cut, unless there is memory that goes with it. */
  readonly guest: 'running' | 'off';
  readonly memory: CheckpointMemory | null;
  readonly roles: readonly DiskRole[];
  /** Of the disks, as a guest sees them. */
  readonly bytes: bigint;
  /** What the pool would gain if this node alone were deleted. */
  readonly usedBytes: bigint;
  /** The image that its root disk was made of; null if the disk does not say. */
  readonly image: ImageId | null;
  /** Of qcow2 disks: where it lies; null for snapshots of zvols. */
  readonly kind: ChainKind | null;
  /** The present disks descend from it, and from no newer node. */
  readonly isCurrent: boolean;
}

/** What tells the disks of an instance in one state from any other, by role; opaque, compared as text. */
export type DiskEvidence = Readonly<Record<string, string>>;

/** Opens the image's octets; called at most once per download. */
export type OpenImage = (signal: AbortSignal) => Promise<AsyncIterable<Uint8Array>>;

export interface NodeStorage {
  /** Checks root dataset, properties (volmode), scratch folder; creates the fixed children. AgentError `zfs-…`. */
  prepare(): Promise<void>;
  /** Total and available bytes of the pool part under the root dataset. */
  usage(): Promise<{ totalBytes: bigint; availableBytes: bigint; usedBytes: bigint }>;
  /**
   * Downloads, inspects, converts and caches an image, in the form of the disks of the instance that it is `for`, else of new ones; concurrent calls for one image share the work. Throws with wire
   * ImageUnacceptable (hostile or unknown format, wrong hash) and FlavorDiskSmallerThanImage (`maxBytes` given and exceeded).
   */
  ensureImage(image: GlanceImage, open: OpenImage, options: { maxBytes: bigint | null; signal: AbortSignal; for?: InstanceUuid }): Promise<CachedImage>;
  /**
   * Clones the cached image for an instance and grows it; idempotent. `bytes` null = the image's own size. A disk of another image in its place
   * is AgentError `zfs-foreign`: bury it first.
   */
  createDiskFromImage(instance: InstanceUuid, role: DiskRole, image: ImageId, bytes: bigint | null, bus?: DiskBus | null): Promise<DiskInfo>;
  /** An empty disk; idempotent: one that is there is kept with what is on it, and grown if it is smaller. */
  createBlankDisk(instance: InstanceUuid, role: DiskRole, bytes: bigint, bus?: DiskBus | null): Promise<DiskInfo>;
  /**
   * Writes an empty file system, or the signature that makes a disk a Linux swap device. What was on the disk is lost: only for disks that
   * no guest has seen. AgentError `disk-missing`; `command-missing` for a format whose tool is not here.
   */
  fillDisk(instance: InstanceUuid, role: DiskRole, format: DiskFormat): Promise<void>;
  /** Formats that `fillDisk` can write on this host. */
  readonly formats: ReadonlySet<DiskFormat>;
  /** Grows a disk; one that is as large or larger stays as it is. AgentError `disk-missing`. */
  growDisk(instance: InstanceUuid, role: DiskRole, bytes: bigint): Promise<DiskInfo>;
  /**
   * Puts a clone of a cached image in the place of a disk: the old one is buried when the new one is complete. `madeFor` marks it: the same call
   * goes on where an earlier one ended, and finds one that was through. Without an old disk the new one is simply made.
   */
  replaceFromImage(instance: InstanceUuid, role: DiskRole, image: ImageId, bytes: bigint | null, madeFor: string): Promise<DiskInfo>;
  /** The same with an empty disk. */
  replaceWithBlank(instance: InstanceUuid, role: DiskRole, bytes: bigint, madeFor: string): Promise<DiskInfo>;
  /** Buries a successor that has not taken its place; one whose predecessor is buried already takes it. */
  dropReplacement(instance: InstanceUuid, role: DiskRole): Promise<void>;
  /** Marks the present state of every disk of the instance (a snapshot named by `move`); marks of other moves go. Idempotent. */
  keepDisks(instance: InstanceUuid, move: string): Promise<void>;
  /** Takes every disk back to that state, size included, and buries disks that were made for the move. Without marks nothing is done. Idempotent. */
  revertDisks(instance: InstanceUuid, move: string): Promise<void>;
  /** Removes the marks; there is no going back then. Idempotent. */
  forgetKept(instance: InstanceUuid, move: string): Promise<void>;
  /**
   * Marks the present state of all disks of the instance at one moment, for a guest that was saved right before and has ended. Idempotent; an earlier mark
   * goes. AgentError `disk-missing`.
   */
  holdStill(instance: InstanceUuid): Promise<DiskEvidence>;
  /** Equal to what `holdStill` gave as long as no disk was written, changed for another, added or removed since. */
  stillness(instance: InstanceUuid): Promise<DiskEvidence>;
  /** Removes the marks; idempotent. */
  letGo(instance: InstanceUuid): Promise<void>;
  /** What the disks of the instance are, or would be if they were made now. */
  formOf(instance: InstanceUuid): Promise<DiskForm>;
  /** The instance's disks, in the order in which a machine has them: root, ephemerals, swap, rescue. */
  disks(instance: InstanceUuid): Promise<readonly DiskInfo[]>;
  /** Renames one disk (with its snapshots) to the graveyard; idempotent; `reap` frees it. */
  buryDisk(instance: InstanceUuid, role: DiskRole): Promise<void>;
  /** Renames the instance's datasets to the graveyard; idempotent; `reap` frees them. */
  buryDisks(instance: InstanceUuid): Promise<void>;
  /** Destroys what is in the graveyard; what is busy stays for the next time. Returns how many are left. */
  reap(): Promise<{ destroyed: number; left: number }>;
  /** Instances that have datasets here. */
  instancesWithDisks(): Promise<readonly InstanceUuid[]>;
  /** Keeps the root disk as it is now, under the operation's name; the guest goes on. Idempotent: the first call decides the moment. AgentError `disk-missing`. */
  takeSnapshot(instance: InstanceUuid, operation: OperationId): Promise<void>;
  /**
   * The same of one disk as a node of the checkpoint tree has it, instead of the root disk as it is now; one copy for an operation at a time. Idempotent. AgentError
   * `disk-missing`.
   */
  takeCheckpointCopy(instance: InstanceUuid, checkpoint: CheckpointId, role: DiskRole, operation: OperationId): Promise<void>;
  /** What was kept, to be read; as qcow2 it is written into the scratch folder first. AgentError `disk-missing`, `disk-not-converted`. */
  openSnapshot(instance: InstanceUuid, operation: OperationId, options: { format: 'raw' | 'qcow2'; isCompressed: boolean; signal: AbortSignal }): Promise<DiskContent>;
  /** Frees what was kept for the operation; idempotent. */
  dropSnapshot(instance: InstanceUuid, operation: OperationId): Promise<void>;
  /** Frees what a crash left of operations that are over. Returns how many. */
  dropLeftSnapshots(isOpen: (operation: OperationId) => boolean): Promise<number>;
  /**
   * Makes a node of the present disks, in one transaction. Idempotent: the first call decides the moment. `memory` goes with it; left out: none. `keeping`
   * left out: it is Nova's. `kind` is for qcow2 disks: null or left out is that of the nodes they have, external without any. AgentError `disk-missing`; of qcow2 disks
   * `disk-chain-refused` and those of ChainGuests.
   */
  createCheckpoint(instance: InstanceUuid, id: CheckpointId, guest: CheckpointNode['guest'], memory?: CheckpointMemory | null, keeping?: CheckpointKeeping, kind?: ChainKind | null): Promise<void>;
  /** The tree, oldest node first, as the pool has it. */
  checkpoints(instance: InstanceUuid): Promise<readonly CheckpointNode[]>;
  /**
   * Puts clones of a node's disks in the place of the present ones, whose own nodes stay; what was written since the newest of those is given up. The guest
   * is down. Disks that the node does not have stay as they are. `madeFor` as in `replaceFromImage`. AgentError `checkpoint-missing`.
   */
  restoreCheckpoint(instance: InstanceUuid, id: CheckpointId, madeFor: string): Promise<void>;
  /** Takes a node out of the tree; its children stay, and become its parent's. Idempotent. */
  deleteCheckpoint(instance: InstanceUuid, id: CheckpointId): Promise<void>;
  /**
   * Makes qcow2 disks rest on their image alone, whatever nodes there are; the guest is off. May be cut off and done again. AgentError `disk-chain-refused` for disks of
   * another form, and for nodes inside them that rest on what is below.
   */
  flattenDisks(instance: InstanceUuid): Promise<void>;
  /** Instances with nodes, or with what deleted ones have left. */
  instancesWithCheckpoints(): Promise<readonly InstanceUuid[]>;
  /** Frees what deleted nodes have left in the pool, as far as no other node needs it. */
  tidyCheckpoints(instance: InstanceUuid): Promise<void>;
  images(): Promise<readonly { id: ImageId; bytes: bigint; isComplete: boolean; cloneCount: number; lastUsedAt: Date }[]>;
  /** Removes one cached image without clones; false if it is in use. */
  dropImage(id: ImageId): Promise<boolean>;
}
