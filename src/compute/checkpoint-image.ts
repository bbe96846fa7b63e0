/**
 * Images that stand for a node of a checkpoint tree. A user asks for one by properties of the image to be made (`bhyve_checkpoint`); what we fill it with is a few
 * lines about the node, and properties that say where the node is. The node itself stays in the pool of its host: such an image is good for one thing, a rebuild
 * of its own server there. Ids in the properties are looked up in the server's own tree and nowhere else, so made-up ones lead to nothing. Where Glance is to have
 * everything (`bhyve_checkpoint_store=glance`), the image is that and more: stored-checkpoint.ts.
 */
import { AgentError } from '../lib/errors.js';
import { isUuid, parseCheckpointId, parseInstanceUuid, type CheckpointId, type InstanceUuid } from '../lib/ids.js';
import { novaFaults } from '../lib/nova-faults.js';
import type { NovaObjectOf } from '../objects/index.js';
import type { GlanceImage } from '../openstack/index.js';
import type { ChainKind, CheckpointMemory, CheckpointNode, DiskInfo } from '../storage/index.js';
import type { ComputeDeps } from './deps.js';

type Properties = Readonly<Record<string, string>>;

const asked = 'bhyve_checkpoint';
const store = 'bhyve_checkpoint_store';
/** Of disks that are qcow2 files: overlays, or snapshots inside. */
const chainKind = 'bhyve_checkpoint_kind';
/** Says which node the image stands for. */
export const idKey = 'bhyve_checkpoint_id';
const hostKey = 'bhyve_checkpoint_host';
/** Of which server the node is. */
export const instanceKey = 'bhyve_checkpoint_instance';
/** When it was made, and what its guest did then. */
export const atKey = 'bhyve_checkpoint_at';
export const guestKey = 'bhyve_checkpoint_guest';

/** With the reason as ImageUnacceptable, the one fault of Nova that is about an image and has room for a sentence. */
export const checkpointRefused = (image: string, reason: string): AgentError => new AgentError('checkpoint-refused', reason, { wire: novaFaults.imageUnacceptable(image, reason) });

/** `full`: with the memory of the guest. */
export type CheckpointKind = 'disk' | 'full';

/** What a user wants: with what, and where it is to be. */
export interface CheckpointWish { readonly kind: CheckpointKind; readonly store: 'local' | 'glance' }

/** What the queued image is to stand for; null for one that is to hold the disk. AgentError `checkpoint-refused` for what this host does not make. */
export function checkpointAsked({ id, properties }: Pick<GlanceImage, 'id' | 'properties'>): CheckpointWish | null {
  const kind = properties[asked];
  if (kind === undefined) return null;
  if (kind !== 'disk' && kind !== 'full') throw checkpointRefused(id, `${asked} is disk or full, not ${kind}`);
  const where = properties[store] ?? 'local';
  if (where !== 'local' && where !== 'glance') throw checkpointRefused(id, `${store} is local or glance, not ${where}`);
  return { kind, store: where };
}

/** How the checkpoint of qcow2 disks is to be made; null: as the host does it. AgentError `checkpoint-refused` for another word. */
export function chainKindAsked({ id, properties }: Pick<GlanceImage, 'id' | 'properties'>): ChainKind | null {
  const kind = properties[chainKind];
  if (kind === undefined || kind === 'external' || kind === 'internal') return kind ?? null;
  throw checkpointRefused(id, `${chainKind} is external or internal, not ${kind}`);
}

/** Whether the image stands for a node, here or elsewhere. */
export const isCheckpointImage = ({ properties }: Pick<GlanceImage, 'properties'>): boolean => properties[idKey] !== undefined;

/** Whether the image stands for a node of this server. */
export const isCheckpointOf = (instance: string, { properties }: Pick<GlanceImage, 'properties'>): boolean => properties[idKey] !== undefined && properties[instanceKey] === instance;

/** What all images have that stand for nodes on the host. */
export const checkpointImagesOf = (host: string): Properties => ({ [hostKey]: host });

/** What tells the image's node; `stopMs`: how long the guest stood still for it, if it did. */
export const checkpointProperties = (host: string, instance: string, node: CheckpointNode, stopMs: number | null): Properties => ({
  [idKey]: node.id, [hostKey]: host, [instanceKey]: instance, [atKey]: node.at.toISOString(), [guestKey]: node.guest,
  ...(stopMs === null ? {} : { bhyve_checkpoint_stop_ms: String(Math.round(stopMs)) }),
});

/** The octets of the image: for people who look into it. */
export const renderCheckpoint = (host: string, instance: string, node: CheckpointNode): string => `${JSON.stringify({
  kind: 'bhyve-checkpoint', version: 1, checkpoint: node.id, instance, host, at: node.at.toISOString(), content: node.memory === null ? 'disk' : 'full', guest: node.guest, disks: node.roles,
}, null, 2)}\n`;

/** The node that the image stands for. AgentError `checkpoint-refused` unless it is one of this server on this host. */
export async function nodeOfImage(deps: Pick<ComputeDeps, 'options' | 'storage'>, instance: string, image: GlanceImage): Promise<CheckpointNode> {
  const { [hostKey]: host = '?', [instanceKey]: owner = '?' } = image.properties;
  if (owner !== instance) throw checkpointRefused(image.id, `it stands for a checkpoint of server ${owner}; only that server can go back to it`);
  if (host !== deps.options.host) throw checkpointRefused(image.id, `its checkpoint is on host ${host}, and the server is on ${deps.options.host}`);
  const node = await nodeHere(deps, instance, image);
  if (node === undefined) throw checkpointRefused(image.id, 'this host has no such checkpoint of the server any more');
  return node;
}

/** The node of the image's id in the server's tree, if this host has it. */
export async function nodeHere(deps: Pick<ComputeDeps, 'storage'>, instance: string, { properties: { [idKey]: id } }: Pick<GlanceImage, 'properties'>): Promise<CheckpointNode | undefined> {
  return isUuid(id) ? (await deps.storage.checkpoints(parseInstanceUuid(instance))).find((one) => one.id === id) : undefined;
}

/** Whether the guest is to go on from the memory of the image's node: what the image says now. */
export const wantsMemory = ({ properties }: Pick<GlanceImage, 'properties'>): boolean => properties[asked] === 'full';

/** The way out of a refusal that is about memory, after the reason. */
export const withoutMemory = `with the property ${asked}=disk on the image the server goes to its disks alone`;

/**
 * The memory that a guest is to go on from when its server goes to the image's node; null: the disks alone. What the image says now decides: an owner who sets
 * `bhyve_checkpoint=disk` on it goes there without memory. AgentError `checkpoint-refused` where memory is wanted and the guest could not go on from it; nothing was
 * touched then. `isUnderWay`: the disks may be half way there already.
 */
export async function memoryOfImage(
  deps: Pick<ComputeDeps, 'driver' | 'storage'>, instance: string, image: GlanceImage, node: CheckpointNode, { isUnderWay, signal }: { isUnderWay: boolean; signal: AbortSignal },
): Promise<CheckpointMemory | null> {
  if (!wantsMemory(image) || (node.memory === null && node.guest === 'off')) return null;
  const why = await whyNoMemory(deps, parseInstanceUuid(instance), node, { isUnderWay, signal });
  if (why !== null) throw checkpointRefused(image.id, `${why}; ${withoutMemory}`);
  return node.memory;
}

/** Why the guest cannot go on from the node's memory, in a sentence without an end; null if it can. Touches nothing. `isUnderWay` as above. */
export async function whyNoMemory(
  deps: Pick<ComputeDeps, 'driver' | 'storage'>, instance: InstanceUuid, node: CheckpointNode, { isUnderWay, signal }: { isUnderWay: boolean; signal: AbortSignal },
): Promise<string | null> {
  if (node.memory === null) return 'it was made without memory';
  return (isUnderWay ? null : whyOtherDisks(node, await deps.storage.disks(instance))) ?? (await deps.driver.whyNoReturn(instance, node.id, node.memory, signal));
}

/** A guest that goes on remembers how large its disks are. */
function whyOtherDisks(node: CheckpointNode, disks: readonly DiskInfo[]): string | null {
  const present = disks.filter(({ role }) => role !== 'rescue');
  if (present.map(({ role }) => role).sort().join() !== [...node.roles].sort().join()) return "the server's disks are not those of the checkpoint";
  const bytes = present.reduce((sum, disk) => sum + disk.bytes, 0n);
  return bytes === node.bytes ? null : "the server's disks have another size than those of the checkpoint";
}

/** The id of the node that an image is to stand for: its own. */
export const checkpointIdOf = (image: string): CheckpointId => parseCheckpointId(image);

/**
 * A server that went back to a node is a server of the image that its disk was made of, as it was then; were it one of the checkpoint's image, its next snapshot
 * would inherit what makes this one a checkpoint, and deleting a checkpoint's image would take the server's away.
 */
export function returnToImage(instance: NovaObjectOf<'Instance'>, node: CheckpointNode, before: string | null): void {
  instance.set('image_ref', node.image ?? before ?? instance.get('image_ref'));
  forgetCheckpoint(instance);
}

/** AgentError `checkpoints-in-the-way` if the server has nodes inside its qcow2 disks, which stay with the files that they are in; `what` begins the sentence. */
export async function refuseWithInside(deps: Pick<ComputeDeps, 'storage'>, instance: string, what: string): Promise<void> {
  if (!(await deps.storage.checkpoints(parseInstanceUuid(instance))).some(({ kind }) => kind === 'internal')) return;
  const reason = `${what} is not possible while the server has checkpoints inside its disks (bhyve_checkpoint_kind=internal); delete their images first`;
  throw new AgentError('checkpoints-in-the-way', reason, { wire: novaFaults.notImplemented(reason) });
}

/** A server that was made of a checkpoint's image is none itself: its next snapshot is a snapshot. */
export function forgetCheckpoint(instance: NovaObjectOf<'Instance'>): void {
  const metadata = Object.entries(instance.get('system_metadata'));
  const kept = metadata.filter(([key]) => !key.startsWith(`image_${asked}`));
  if (kept.length < metadata.length) instance.set('system_metadata', Object.fromEntries(kept));
}
