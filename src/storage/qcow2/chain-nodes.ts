/**
 * One node on all disks of an instance. The root disk decides what there is: a node that it does not have is nobody's, and goes with the next tidying. So its part is
 * made last and taken away first.
 *
 *   guest off       an overlay, or a snapshot inside, of one disk after the other; nobody writes meanwhile
 *   guest running   noted in the index of every disk ─▶ bhyve.conf names the files to be ─▶ bhyve is asked once, for all disks ─▶ the files tell
 *
 * bhyve.conf is changed before bhyve is asked: a guest that reboots in between would otherwise write to the file that the checkpoint is. If the file is not made yet, bhyve
 * does not start instead, and the next start defines the guest anew.
 */
import { join } from 'node:path';
import { AgentError } from '../../lib/errors.js';
import type { CheckpointId, InstanceUuid } from '../../lib/ids.js';
import type { CheckpointKind, CheckpointPurpose } from '../disk-chain/index.js';
import type { DiskRole } from '../types.js';
import type { ChainDisksDeps } from './chain-disks.js';
import { chainsOf, type SeenChain } from './each-chain.js';

export interface NewNode {
  readonly id: CheckpointId;
  readonly kind: CheckpointKind;
  readonly purpose: CheckpointPurpose;
}

/** Idempotent: the first call decides the moment. Disks of a rescue have no part in it. AgentError `disk-missing`, `disk-chain-refused`, those of ChainGuests. */
export async function makeNode(deps: ChainDisksDeps, instance: InstanceUuid, node: NewNode): Promise<void> {
  const disks = (await chainsOf(deps.chains, instance)).filter(({ role }) => role !== 'rescue');
  const root = disks.find(({ role }) => role === 'root');
  if (root === undefined) throw new AgentError('disk-missing', 'the instance has no root disk on this host', { details: { instance } });
  if (root.view.nodes.some(({ id }) => id === node.id)) return;
  for (const { chain } of disks) await chain.requireRoom(node.kind);
  const isRunning = await deps.guests.isRunning(instance);
  // bhyve makes it of all disks that it has, and the disk of a rescue has no part in it.
  if (isRunning && (await deps.chains.roles(instance)).includes('rescue')) throw new AgentError('disk-chain-refused', 'the server is being rescued: end the rescue first');
  const ordered = [...disks.filter((disk) => disk !== root), root];
  if (isRunning) return makeRunning(deps, instance, ordered, node);
  for (const { chain } of ordered) await chain.checkpoint(node.id, node.kind, node.purpose);
  await tellGuest(deps, instance);
}

/** Where the guest finds its disks when it comes up next. */
export const tellGuest = async (deps: ChainDisksDeps, instance: InstanceUuid): Promise<void> => deps.guests.moveDisks(instance, await pathsOf(deps, instance));

async function makeRunning(deps: ChainDisksDeps, instance: InstanceUuid, disks: readonly SeenChain[], { id, kind, purpose }: NewNode): Promise<void> {
  const { guests, chains } = deps;
  const ask = async (): Promise<void> => {
    if (kind === 'external') {
      await guests.moveDisks(instance, new Map(disks.map(({ role }) => [role, join(chains.places.disk(instance, role), id)]))).catch((cause: unknown) => {
        throw new AgentError('guest-checkpoint-refused', 'the guest could not be told where its disks will be', { cause });
      });
    }
    await guests.checkpointDisks(instance, id, kind);
  };
  // Each notes it before the next one does, and bhyve is asked by the innermost, when all have.
  const noted = disks.reduceRight((inner, { chain }) => () => chain.checkpointRunning(id, kind, inner, purpose), ask);
  try {
    await noted();
  } finally {
    await tellGuest(deps, instance);
  }
}

/** Where the disks of an instance are now; where nobody knows, where they will be: a guest must not come back on a file that may be frozen by then. */
export const pathsOf = async ({ chains }: ChainDisksDeps, instance: InstanceUuid): Promise<ReadonlyMap<DiskRole, string>> =>
  new Map((await chainsOf(chains, instance)).map(({ role, view }) => [role, view.pendingPath ?? view.activePath]));

/** Takes a node away and frees what can be freed now. Idempotent. */
export async function dropNode(deps: ChainDisksDeps, instance: InstanceUuid, id: CheckpointId): Promise<void> {
  const disks = await chainsOf(deps.chains, instance);
  for (const { chain } of [...disks.filter(({ role }) => role === 'root'), ...disks.filter(({ role }) => role !== 'root')]) await chain.remove(id);
  // A checkpoint of a running guest that was cut off may have been made since, or never.
  await tellGuest(deps, instance);
  await tidyDisks(deps, instance);
}

/** Frees what is nobody's, parts of nodes included that the root disk does not have. What bhyve has open stays until the guest has been off. */
export async function tidyDisks(deps: ChainDisksDeps, instance: InstanceUuid): Promise<void> {
  const disks = await chainsOf(deps.chains, instance);
  const root = disks.find(({ role }) => role === 'root');
  const isInUse = await deps.guests.isRunning(instance);
  for (const { chain, view, role } of disks) {
    const orphans = root === undefined ? [] : view.nodes.filter(({ id }) => !root.view.nodes.some((node) => node.id === id));
    for (const { id } of orphans) await chain.remove(id);
    const left = await chain.tidy({ isInUse });
    if (left > 0) deps.log.debug({ instance, role, left }, 'files of deleted checkpoints wait for the guest, or for others that rest on them');
  }
}
