/**
 * Marks: ZFS user properties on everything that we make, so that we know our own things again, and so that the node's state
 * can be rebuilt from the pool. User properties are inherited by children and not copied by clone or send without -p: a mark
 * counts only where it is set on the very dataset.
 *
 *   kind           images | instances | graveyard (the fixed children), image, instance, disk, snapshot (of a disk, and its clone), checkpoint
 *   layout         on the fixed children: number of this layout; an older agent refuses a newer one
 *   image          id of the Glance image (image, disk made of one)
 *   instance       uuid (instance, disk, snapshot, checkpoint)
 *   operation      id of the operation that a snapshot was made for
 *   role           root, eph0 …, swap or rescue (disk)
 *   made-for       the operation or move that made it (disk), where one disk took the place of another
 *   checkpoint, at, guest, released   of a node's snapshots: its id, when it was made (ISO 8601), running or off, "yes" once nobody wants it any more
 *   keeper, name                      of a node's snapshots: "operator" if no image of Glance stands for it (absent: Nova's), and what he calls it
 *   memory, memory-bytes              of a node with memory: SHA-256 of the manifest of its save, which is a file of this host, and how large that save is
 *   bus            virtio, sata or nvme, of a disk for which somebody chose it
 *   format, virtual-bytes, last-used   of an image: what it was, how large, when a disk was last wanted of it (epoch seconds)
 */
import { AgentError } from '../lib/errors.js';
import type { Properties } from './zfs.js';

export const PREFIX = 'org.nova-bhyve:';
/** Number of the layout below the root; raise it when an older agent would do harm. */
export const LAYOUT = '1';

export type Kind = 'root' | 'images' | 'instances' | 'graveyard' | 'image' | 'instance' | 'disk' | 'snapshot' | 'checkpoint';
const names = [
  'kind', 'layout', 'image', 'instance', 'operation', 'role', 'bus', 'made-for', 'format', 'virtual-bytes', 'last-used', 'checkpoint', 'at', 'guest', 'released', 'memory',
  'memory-bytes', 'keeper', 'name',
] as const;
export type MarkName = (typeof names)[number];
export type Marks = Readonly<Partial<Record<MarkName, string>>>;

/** Names of all mark properties, to ask for. */
export const markProperties: readonly string[] = names.map((name) => PREFIX + name);

/** Marks as properties to set. */
export const asProperties = (marks: Marks): Record<string, string> =>
  Object.fromEntries(Object.entries(marks).map(([name, value]) => [PREFIX + name, value]));

/** The marks that are set on the dataset itself. */
export function marksOf(properties: Properties | undefined): Marks {
  const own = names.flatMap((name) => {
    const property = properties?.get(PREFIX + name);
    return property?.isOwn === true ? [[name, property.value] as const] : [];
  });
  return Object.fromEntries(own);
}

/** Throws AgentError `zfs-foreign` unless every given mark is on the dataset: what we did not make we do not touch. */
export function assertOurs(dataset: string, properties: Properties | undefined, expected: Marks): void {
  const marks = marksOf(properties);
  if (Object.entries(expected).every(([name, value]) => marks[name as MarkName] === value)) return;
  throw new AgentError('zfs-foreign', 'a dataset is where ours should be, but it does not carry our mark; move it away or name another [zfs]root', {
    details: { dataset, expected },
  });
}
