/**
 * Disks of instances: zvols under one root dataset that is never left ([zfs]root). Each thing that we made carries ZFS user
 * properties (`org.nova-bhyve:kind`, `:instance`, `:image`, …); nothing without our mark is ever destroyed.
 *
 *   ROOT/images/ID            raw image, complete once it has the snapshot @base
 *   ROOT/instances/UUID/root  clone of ROOT/images/ID@base, grown to the flavor
 *   ROOT/graveyard/…          renamed away by destroy, reaped later
 */
import type { ImageId, InstanceUuid } from '../lib/ids.js';
import type { GlanceImage } from '../openstack/index.js';

export interface CachedImage {
  readonly id: ImageId;
  readonly virtualBytes: bigint;
  readonly detectedFormat: string;
}

export interface DiskInfo {
  /** 'root' now; ephemeral and swap later. */
  readonly role: 'root';
  readonly dataset: string;
  /** Absolute path of the zvol's device node. */
  readonly devicePath: string;
  readonly bytes: bigint;
}

/** Opens the image's octets; called at most once per download. */
export type OpenImage = (signal: AbortSignal) => Promise<AsyncIterable<Uint8Array>>;

export interface NodeStorage {
  /** Checks root dataset, properties (volmode), scratch folder; creates the fixed children. AgentError `zfs-…`. */
  prepare(): Promise<void>;
  /** Total and available bytes of the pool part under the root dataset. */
  usage(): Promise<{ totalBytes: bigint; availableBytes: bigint; usedBytes: bigint }>;
  /**
   * Downloads, inspects, converts and caches an image; concurrent calls for one image share the work. Throws with wire
   * ImageUnacceptable (hostile or unknown format, wrong hash) and FlavorDiskSmallerThanImage (`maxBytes` given and exceeded).
   */
  ensureImage(image: GlanceImage, open: OpenImage, options: { maxBytes: bigint | null; signal: AbortSignal }): Promise<CachedImage>;
  /** Clones the cached image for an instance and grows it; idempotent. `bytes` null = the image's own size. */
  createRootDisk(instance: InstanceUuid, image: ImageId, bytes: bigint | null): Promise<DiskInfo>;
  disks(instance: InstanceUuid): Promise<readonly DiskInfo[]>;
  /** Renames the instance's datasets to the graveyard; idempotent; `reap` frees them. */
  buryDisks(instance: InstanceUuid): Promise<void>;
  /** Destroys what is in the graveyard; what is busy stays for the next time. Returns how many are left. */
  reap(): Promise<{ destroyed: number; left: number }>;
  /** Instances that have datasets here. */
  instancesWithDisks(): Promise<readonly InstanceUuid[]>;
  images(): Promise<readonly { id: ImageId; bytes: bigint; isComplete: boolean; cloneCount: number; lastUsedAt: Date }[]>;
  /** Removes one cached image without clones; false if it is in use. */
  dropImage(id: ImageId): Promise<boolean>;
}
