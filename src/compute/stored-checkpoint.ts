/**
 * Checkpoints of which Glance has everything, so that they outlive the disks on their host:
 *
 *   the image itself       the root disk: boots a new server as a snapshot does; its properties name the parts, each with its SHA-256
 *   hidden images          the parts: other disks (eph0 …, swap), the firmware's variables (nvram.fd), and for memory the files of the save
 *
 * The image becomes active last, so one that is active is whole. All properties are its owner's to change. Disks and variables are a guest's own, whoever made them
 * up; but a save is read by bhyve, as root, and has a bhyve.conf in it. So memory carries a seal that only its host can make, over the sum of the save's manifest: what
 * was not saved here is never restored here.
 */
import { AgentError } from '../lib/errors.js';
import { isUuid, parseCheckpointId, parseImageId, parseInstanceUuid, type ImageId } from '../lib/ids.js';
import { novaFaults } from '../lib/nova-faults.js';
import type { GlanceImage } from '../openstack/index.js';
import type { RequestContext } from '../rpc/context.js';
import { isDiskRole, type CheckpointMemory, type CheckpointNode, type DiskRole } from '../storage/index.js';
import { atKey, checkpointImagesOf, checkpointRefused, guestKey, idKey, instanceKey, isCheckpointImage, isCheckpointOf } from './checkpoint-image.js';
import type { ComputeDeps } from './deps.js';
import { isImageGone } from './error-text.js';

type Properties = Readonly<Record<string, string>>;

const countKey = 'bhyve_checkpoint_parts';
const partPrefix = 'bhyve_checkpoint_part_';
const memoryKey = 'bhyve_checkpoint_memory';
const sealKey = 'bhyve_checkpoint_seal';
const sizeKey = 'bhyve_checkpoint_bytes';
const baseKey = 'bhyve_checkpoint_image';
const ofKey = 'bhyve_checkpoint_part_of';
const nameKey = 'bhyve_checkpoint_part';

/** An image that holds one more piece of a checkpoint. */
export interface StoredPart {
  /** The role of a disk, or the name of a file that the driver keeps. */
  readonly name: string;
  readonly image: ImageId;
  readonly sha256: string;
  /** Of the image. */
  readonly bytes: bigint;
}

/** What the image of a checkpoint in Glance says of it. */
export interface StoredCheckpoint {
  readonly node: CheckpointNode;
  readonly parts: readonly StoredPart[];
  /** Of its memory, if it has any. */
  readonly seal: string | null;
}

/** Whether Glance has everything that the image stands for; it then holds a disk. */
export const isStored = (image: Pick<GlanceImage, 'properties'>): boolean => isCheckpointImage(image) && image.properties[countKey] !== undefined;

/** The checkpoint's image, for one that holds a part of a checkpoint; null for any other. */
export const partOf = ({ properties: { [ofKey]: image } }: Pick<GlanceImage, 'properties'>): ImageId | null => (isUuid(image) ? parseImageId(image) : null);

/** What the image says beside what it says of any node. `base`: the image that the server was made of. */
export const storedProperties = ({ node, parts, seal }: StoredCheckpoint, base: string | null): Properties => ({
  [countKey]: String(parts.length), [sizeKey]: String(node.bytes),
  ...(base === null || base === '' ? {} : { [baseKey]: base }),
  ...(node.memory === null ? {} : { [memoryKey]: `${node.memory.sum} ${node.memory.bytes}` }),
  ...(seal === null ? {} : { [sealKey]: seal }),
  ...Object.fromEntries(parts.map(({ name, image, sha256, bytes }) => [`${partPrefix}${name}`, `${image} ${sha256} ${bytes}`])),
});

/** What finds the parts of an image among hidden ones. */
export const partsOf = (image: ImageId): Properties => ({ [ofKey]: image });

/** What the image of a part says. */
export const partAttributes = (host: string, instance: string, image: ImageId, { name, diskFormat }: { readonly name: string; readonly diskFormat: string }): Properties => ({
  name: `checkpoint ${image}: ${name}`, disk_format: diskFormat, container_format: 'bare', ...partsOf(image), [nameKey]: name, [instanceKey]: instance, ...checkpointImagesOf(host),
});

const readPart = (name: string, value: string): StoredPart | null => {
  const [, image, sha256 = '', bytes = '0'] = /^(\S+) ([0-9a-f]{64}) (\d{1,18})$/.exec(value) ?? [];
  return isUuid(image) ? { name, image: parseImageId(image), sha256, bytes: BigInt(bytes) } : null;
};

function readMemory(value: string | undefined): CheckpointMemory | null {
  const [, sum, bytes = '0'] = /^(.+) (\d{1,18})$/.exec(value ?? '') ?? [];
  return sum === undefined ? null : { sum, bytes: BigInt(bytes) };
}

const digits = (value: string | undefined): bigint => (/^\d{1,18}$/.test(value ?? '') ? BigInt(value ?? '') : 0n);

/** Its node is one that this host may not have. AgentError `checkpoint-refused` for an image whose properties were taken away or spoilt. */
export function readStored({ id, properties }: Pick<GlanceImage, 'id' | 'properties'>): StoredCheckpoint {
  const { [countKey]: count, [baseKey]: base, [idKey]: checkpoint, [atKey]: at = '', [guestKey]: guest } = properties;
  const values = Object.entries(properties).filter(([key]) => key.startsWith(partPrefix) && key !== ofKey);
  const parts = values.map(([key, value]) => readPart(key.slice(partPrefix.length), value)).filter((part) => part !== null);
  if (!isUuid(checkpoint) || String(parts.length) !== count) throw checkpointRefused(id, 'the properties that name its parts are not as they were written');
  const others = parts.map(({ name }) => name).filter((name): name is DiskRole => isDiskRole(name) && name !== 'root' && name !== 'rescue');
  const made = new Date(at);
  return {
    parts, seal: properties[sealKey] ?? null,
    node: {
      id: parseCheckpointId(checkpoint), parent: null, at: Number.isNaN(made.getTime()) ? new Date(0) : made, guest: guest === 'off' ? 'off' : 'running', memory: readMemory(properties[memoryKey]),
      roles: ['root', ...others], bytes: digits(properties[sizeKey]), usedBytes: 0n, keeper: 'nova', name: null, image: isUuid(base) ? parseImageId(base) : null, kind: null, isCurrent: false,
    },
  };
}

/** An image as its owner sees it, or as we do if no user asked; null if it is not there. */
async function lookAt({ glance }: Pick<ComputeDeps, 'glance'>, context: RequestContext, id: ImageId, signal: AbortSignal): Promise<GlanceImage | null> {
  if (context.authToken === null) return glance.look(id, signal);
  try {
    return await glance.show(context, id);
  } catch (error) {
    if (isImageGone(error)) return null;
    throw error;
  }
}

/** Whether Glance has everything of a node of this server, now. */
async function isHeld(deps: Pick<ComputeDeps, 'glance'>, context: RequestContext, instance: string, node: CheckpointNode, signal: AbortSignal): Promise<boolean> {
  const image = await lookAt(deps, context, parseImageId(node.id), signal);
  if (image?.status !== 'active' || !isStored(image) || !isCheckpointOf(instance, image)) return false;
  for (const part of readStored(image).parts) if ((await lookAt(deps, context, part.image, signal))?.status !== 'active') return false;
  return true;
}

/**
 * AgentError `checkpoints-in-the-way` if the server has nodes that are nowhere but here, and are lost with its disks; `what` begins the sentence. Those that Glance
 * has can be brought back from there.
 */
export async function refuseWithCheckpoints(
  deps: Pick<ComputeDeps, 'storage' | 'glance'>, { instance, context, signal }: { instance: string; context: RequestContext; signal: AbortSignal }, what: string,
): Promise<void> {
  const nodes: CheckpointNode[] = [];
  for (const node of await deps.storage.checkpoints(parseInstanceUuid(instance))) if (!(await isHeld(deps, context, instance, node, signal))) nodes.push(node);
  if (nodes.length === 0) return;
  const operators = nodes.filter(({ keeper }) => keeper === 'operator').length;
  const wayOut = operators === 0 ? 'delete their images first' : `delete their images first, and let the operator of the host delete the ${operators} that he has made`;
  const reason = `${what} would lose ${nodes.length} ${nodes.length === 1 ? 'checkpoint' : 'checkpoints'} that this host keeps of it; ${operators === nodes.length ? 'the operator of the host has made them and can delete them' : wayOut}`;
  throw new AgentError('checkpoints-in-the-way', reason, { wire: novaFaults.notImplemented(reason) });
}
