/** The checkpoint tree of an instance on qcow2 disks, as the indices of its chains have it; a node may be external or internal (disk-chain/types.ts). */
import { basename } from 'node:path';
import { AgentError } from '../../lib/errors.js';
import { isUuid, parseImageId, type CheckpointId, type InstanceUuid } from '../../lib/ids.js';
import type { ChainFile, ChainNode } from '../disk-chain/index.js';
import type { CheckpointNode, NodeStorage } from '../types.js';
import type { ChainDisksDeps } from './chain-disks.js';
import { dropNode, makeNode, tellGuest, tidyDisks } from './chain-nodes.js';
import { chainsOf, eachGoodChain, type SeenChain } from './each-chain.js';

type Checkpoints = Pick<NodeStorage, 'createCheckpoint' | 'checkpoints' | 'restoreCheckpoint' | 'deleteCheckpoint' | 'instancesWithCheckpoints' | 'tidyCheckpoints'>;

export const createChainCheckpoints = (deps: ChainDisksDeps): Checkpoints => ({
  async createCheckpoint(instance, id, _guest, memory = null, keeping = { keeper: 'nova', name: null }, kind = null) {
    if (memory !== null) throw new AgentError('disk-chain-refused', 'a checkpoint of qcow2 disks has no memory: make one of the disks');
    await makeNode(deps, instance, { id, kind: kind ?? (await presentKind(deps, instance)), purpose: { use: 'checkpoint', ...keeping } });
  },
  checkpoints: (instance) => checkpoints(deps, instance),
  restoreCheckpoint: (instance, id, madeFor) => restore(deps, instance, id, madeFor),
  deleteCheckpoint: (instance, id) => dropNode(deps, instance, id),
  async instancesWithCheckpoints() {
    const found = new Set<InstanceUuid>();
    for await (const { instance, view } of eachGoodChain(deps, deps.chains)) if (view.nodes.length > 0 || view.others.length > 0 || view.files.length > 2) found.add(instance);
    return [...found];
  },
  tidyCheckpoints: (instance) => tidyDisks(deps, instance),
});

/** A disk has nodes of one kind. */
async function presentKind({ chains }: ChainDisksDeps, instance: InstanceUuid): Promise<ChainNode['kind']> {
  const root = await chains.chain(instance, 'root').look();
  return root?.nodes.at(-1)?.kind ?? 'external';
}

async function checkpoints({ chains, host }: ChainDisksDeps, instance: InstanceUuid): Promise<readonly CheckpointNode[]> {
  const disks = await chainsOf(chains, instance);
  const root = disks.find(({ role }) => role === 'root');
  if (root === undefined) return [];
  const current = nearestCheckpoint(root.view.nodes, root.view.current);
  return Promise.all(root.view.nodes.filter(({ purpose }) => purpose.use === 'checkpoint').map(async (node): Promise<CheckpointNode> => {
    const parts = disks.flatMap((disk) => disk.view.nodes.filter(({ id }) => id === node.id).map((part) => fileOf(disk, part)));
    const sizes = await Promise.all(parts.map(async ({ path }) => (node.kind === 'internal' ? 0n : host.files.sizeBytes(path))));
    return {
      id: node.id, parent: nearestCheckpoint(root.view.nodes, node.parent), at: node.at, guest: node.guest, memory: null, keeper: node.purpose.keeper, name: node.purpose.name,
      roles: disks.filter(({ view }) => view.nodes.some(({ id }) => id === node.id)).map(({ role }) => role),
      bytes: parts.reduce((sum, { virtualBytes }) => sum + virtualBytes, 0n), usedBytes: sizes.reduce((sum: bigint, size) => sum + (size ?? 0n), 0n),
      image: imageBelow(root, fileOf(root, node)), kind: node.kind, isCurrent: node.id === current,
    };
  }));
}

const filesOf = ({ view }: SeenChain): readonly ChainFile[] => [...view.files, ...view.others];

function fileOf(disk: SeenChain, { file }: ChainNode): ChainFile {
  const found = filesOf(disk).find(({ name }) => name === file);
  if (found === undefined) throw new AgentError('disk-chain-damaged', 'the file of a checkpoint is not there', { details: { instance: disk.instance, role: disk.role, file } });
  return found;
}

/** A copy that is read for an image is no node to its user. */
function nearestCheckpoint(nodes: readonly ChainNode[], from: CheckpointId | null): CheckpointId | null {
  const node = nodes.find(({ id }) => id === from);
  return node === undefined || node.purpose.use === 'checkpoint' ? (node?.id ?? null) : nearestCheckpoint(nodes, node.parent);
}

/** The image that a file rests on in the end. Backing files are ours, and no chain goes in a circle (read-chain.ts). */
function imageBelow(disk: SeenChain, file: ChainFile): CheckpointNode['image'] {
  const below = filesOf(disk).find(({ path }) => path === file.backingPath);
  if (below !== undefined) return imageBelow(disk, below);
  const name = basename(file.name === null ? file.path : (file.backingPath ?? ''));
  return isUuid(name) ? parseImageId(name) : null;
}

/** The root disk is the last: whoever is interrupted finds by it that there is something left to do. The guest is down. */
async function restore(deps: ChainDisksDeps, instance: InstanceUuid, id: CheckpointId, madeFor: string): Promise<void> {
  const disks = await chainsOf(deps.chains, instance);
  const has = ({ view }: SeenChain): boolean => view.nodes.some((node) => node.id === id && node.purpose.use === 'checkpoint');
  const root = disks.find(({ role }) => role === 'root');
  if (root === undefined || !has(root)) throw new AgentError('checkpoint-missing', 'this host has no such checkpoint of the server', { details: { instance, checkpoint: id } });
  for (const disk of [...disks.filter((one) => one !== root && has(one)), root]) await disk.chain.restore(id, madeFor);
  await tellGuest(deps, instance);
  await tidyDisks(deps, instance);
}
