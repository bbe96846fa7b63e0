/** The operations on a chain; what they promise is in types.ts, and how they stay whole when they are cut off. */
import { Mutex } from 'async-mutex';
import { join } from 'node:path';
import { AgentError, codeOf } from '../../lib/errors.js';
import type { CheckpointId } from '../../lib/ids.js';
import { novas, readIndex, withNode, writeIndex, type ChainIndex } from './chain-index.js';
import { addOverlay, indexOfStopped, leaving, refusal, requireIndex, requireName, without, type DiskChainOptions, type Work } from './chain-work.js';
import { forgetKept, goBack, keep } from './kept-state.js';
import { noteLive, settleLive } from './live-checkpoint.js';
import { changeSnapshot, growFile, rebaseFile } from './qemu-img.js';
import { readChain, readFile } from './read-chain.js';
import { damaged } from './read-header.js';
import { create, fill, replace } from './replace-content.js';
import { indexFiles, tidyChain } from './tidy-chain.js';
import type { ChainFile, ChainView, CheckpointKind, CheckpointPurpose, DiskChain } from './types.js';

export type { DiskChainOptions } from './chain-work.js';

/** Looks at nothing yet. */
export function createDiskChain(options: DiskChainOptions): DiskChain {
  const work: Work = { ...options, places: { files: options.host.files, folder: options.folder, images: options.images } };
  const mutex = new Mutex();
  const alone = <Args extends unknown[], T>(operation: (work: Work, ...args: Args) => Promise<T>) => (...args: Args): Promise<T> => mutex.runExclusive(() => operation(work, ...args));
  return {
    create: alone(create), look: alone(look), grow: alone(grow), restore: alone(restore), remove: alone(remove), flatten: alone(flatten),
    checkpoint: alone(async (_work, id, kind, purpose = novas) => (kind === 'external' ? checkpointOutside(work, id, purpose) : checkpointInside(work, id, purpose))),
    pathOf: alone(pathOf),
    requireRoom: alone(async (_work, kind) => void (await requireRoom(work, await requireIndex(work.places), kind))),
    checkpointRunning: alone(checkpointRunning), replace: alone(replace), fill: alone(fill),
    keep: alone(keep), goBack: alone(goBack), forgetKept: alone(forgetKept),
    tidy: alone(async (_work, { isInUse }) => tidyChain(work, await (isInUse ? requireIndex(work.places) : indexOfStopped(work.places)), isInUse)),
  };
}

async function look({ places }: Work): Promise<ChainView | undefined> {
  if ((await readIndex(places)) === undefined) return undefined;
  const index = await requireIndex(places);
  const files = await readChain(places, index.active);
  const paths = new Set(files.map(({ path }) => path));
  const others = (await indexFiles(places, index)).filter(({ path }) => !paths.has(path));
  const nodes = index.nodes.map((node) => ({ ...node, at: new Date(node.at) }));
  return { activePath: files[0]!.path, bytes: files[0]!.virtualBytes, files, nodes, current: index.current, madeFor: index.madeFor, others, keptFor: index.kept?.move ?? null, pendingPath: index.live?.kind === 'external' ? join(places.folder, index.live.id) : null };
}

async function pathOf({ places }: Work, id: CheckpointId): Promise<string> {
  const node = (await requireIndex(places)).nodes.find((one) => one.id === id && one.kind === 'external');
  if (node === undefined) throw new AgentError('checkpoint-missing', 'the disk has no such file', { details: { id } });
  return (await readChain(places, node.file))[0]!.path;
}

async function grow({ host, places }: Work, bytes: bigint): Promise<void> {
  const active = await readFile(places, (await indexOfStopped(places)).active);
  if (active.virtualBytes < bytes) await growFile(host, active.path, bytes);
}

/** The active file becomes the node, an overlay with the node's name the active file. */
async function checkpointOutside(work: Work, id: CheckpointId, purpose: CheckpointPurpose): Promise<void> {
  const index = await indexOfStopped(work.places);
  if (index.nodes.some((node) => node.id === id)) return;
  const active = await requireRoom(work, index, 'external');
  const listed = await addOverlay(work, index, id, active);
  await writeIndex(work.places, { ...withNode(listed, { id, kind: 'external', at: work.clock.now().toISOString(), guest: 'off', purpose }), active: id, left: without(listed.left, id) });
}

/** Listed as nobody's while it is made; one that an attempt or a deleted node has left under that name is not taken for it. */
async function checkpointInside(work: Work, id: CheckpointId, purpose: CheckpointPurpose): Promise<void> {
  const { host, places, clock } = work;
  const index = await indexOfStopped(places);
  if (index.nodes.some((node) => node.id === id)) return;
  const active = await requireRoom(work, index, 'internal');
  const others = without(index.leftSnapshots, id);
  await writeIndex(places, { ...index, leftSnapshots: [...others, id] });
  if (active.snapshots.some(({ name }) => name === id)) await changeSnapshot(host, 'delete', id, active.path);
  await changeSnapshot(host, 'create', id, active.path);
  await writeIndex(places, { ...withNode(index, { id, kind: 'internal', at: clock.now().toISOString(), guest: 'off', purpose }), leftSnapshots: others });
}

/** bhyve names the overlay, and the snapshot, after the checkpoint: nothing of that name may be there. */
async function checkpointRunning(work: Work, id: CheckpointId, kind: CheckpointKind, ask: () => Promise<void>, purpose: CheckpointPurpose = novas): Promise<void> {
  const { places } = work;
  const index = await requireIndex(places);
  if (index.nodes.some((node) => node.id === id)) return;
  if (index.live !== null && index.live.id !== id) throw refusal('bhyve was asked for another checkpoint, and it is not known whether it is still at it: stop the server first');
  const active = await requireRoom(work, index, kind);
  if ((await places.files.exists(join(places.folder, id))) || active.snapshots.some(({ name }) => name === id)) throw refusal('the disk has something of that name already: choose another one');
  const noted = await noteLive(places, index, { id, kind, purpose, at: work.clock.now() });
  const error = await ask().then(() => null, (thrown: Error) => thrown);
  if (error !== null && !isOver(error)) throw error;
  if ((await settleLive(places, noted)).live !== null) {
    await writeIndex(places, { ...noted, live: null });
    throw error ?? refusal('bhyve has made no checkpoint of the disk: bhyve.log says why');
  }
  if (error !== null) throw error;
}

/** bhyve was not asked, or has given up: what is not made by now is not made any more. */
const isOver = (error: unknown): boolean => ['guest-checkpoint-refused', 'guest-not-running', 'disk-chain-refused'].includes(codeOf(error) ?? '');

/** The active file, if a checkpoint of this kind can be made of it. */
async function requireRoom({ places, maxFiles }: Work, index: ChainIndex, kind: CheckpointKind): Promise<ChainFile> {
  const other = kind === 'external' ? 'internal' : 'external';
  if (index.nodes.some((node) => node.kind === other)) throw refusal(`the disk has ${other} checkpoints: delete them first, or make another ${other} one`);
  const chain = await readChain(places, index.active);
  if (kind === 'internal') return chain[0]!;
  if (chain[0]!.snapshots.length > 0) throw refusal('the disk has left snapshots inside: tidy it first');
  if (chain.length >= maxFiles) throw refusal(`the disk is made of ${chain.length} files, as many as may be: delete checkpoints, and stop the server, so that they are merged`);
  return chain[0]!;
}

async function restore(work: Work, id: CheckpointId, madeFor: string): Promise<void> {
  const { host, places } = work;
  requireName(madeFor);
  const index = await indexOfStopped(places);
  if (index.madeFor === madeFor) return;
  const node = index.nodes.find((one) => one.id === id);
  if (node === undefined) throw new AgentError('checkpoint-missing', 'the disk has no such checkpoint', { details: { id } });
  const file = (await readChain(places, node.file))[0]!;
  if (node.kind === 'internal') {
    if (node.file !== index.active) throw damaged(file.path, 'an internal checkpoint lies in a file that is not the active one');
    await changeSnapshot(host, 'apply', id, file.path);
    await writeIndex(places, { ...index, current: id, madeFor });
    return;
  }
  const listed = await addOverlay(work, index, madeFor, file);
  await writeIndex(places, leaving(index, { ...listed, active: madeFor, current: id, madeFor, left: without(listed.left, madeFor) }));
}

async function remove({ places }: Work, id: CheckpointId): Promise<void> {
  const index = await requireIndex(places);
  const node = index.nodes.find((one) => one.id === id);
  if (node === undefined) return;
  const { kept } = index;
  const isNobodys = node.kind === 'external' && node.file !== kept?.active;
  await writeIndex(places, {
    ...index,
    current: index.current === id ? node.parent : index.current,
    kept: kept?.current === id ? { ...kept, current: node.parent } : kept,
    nodes: index.nodes.filter((one) => one !== node).map((one) => (one.parent === id ? { ...one, parent: node.parent } : one)),
    left: isNobodys ? [...index.left, node.file] : index.left,
    leftSnapshots: node.kind === 'internal' ? [...index.leftSnapshots, id] : index.leftSnapshots,
  });
}

/** What a snapshot inside does not hold itself comes from below: such a file must stay where it is. */
async function flatten({ host, places }: Work): Promise<void> {
  const [active, ...below] = await readChain(places, (await indexOfStopped(places)).active);
  const image = below.at(-1)?.name === null ? below.at(-1)!.path : null;
  if (active!.backingPath === image) return;
  if (active!.snapshots.length > 0) throw refusal('the disk has snapshots inside that rest on the files below it: delete them first');
  await rebaseFile(host, active!.path, image);
}
