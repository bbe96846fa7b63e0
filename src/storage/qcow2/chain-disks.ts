/** Disks of instances as chains: made, grown, filled, replaced, buried. What each promises is in ../types.ts. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { AgentError } from '../../lib/errors.js';
import type { ImageId, InstanceUuid } from '../../lib/ids.js';
import { fillable, fillDisk } from '../fill-disk.js';
import { assertFits, imageNotCached } from '../image-faults.js';
import type { ImageStore } from '../image-store.js';
import type { DiskBus, DiskForm, DiskFormat, DiskInfo, DiskRole, NodeStorage } from '../types.js';
import { roundUpToMebibyte } from '../zfs.js';
import { chainsOf, instancesOf, type SeenChain } from './each-chain.js';
import type { Chains, ChainsDeps } from './chain-places.js';

export interface ChainDisksDeps extends ChainsDeps {
  readonly chains: Chains;
  readonly store: ImageStore;
}

type ChainDisks = Pick<NodeStorage, 'createDiskFromImage' | 'createBlankDisk' | 'fillDisk' | 'formats' | 'growDisk' | 'replaceFromImage' | 'replaceWithBlank' | 'dropReplacement' | 'disks'
  | 'buryDisk' | 'buryDisks' | 'reap' | 'instancesWithDisks'>;

export function createChainDisks(deps: ChainDisksDeps): ChainDisks {
  const { host, chains, locks } = deps;
  return {
    createDiskFromImage: (instance, role, image, bytes, bus = null) => locks.run(image, () => createDiskFromImage(deps, { instance, role }, image, bytes, bus)),
    createBlankDisk: (instance, role, bytes, bus = null) => createBlankDisk(deps, { instance, role }, bytes, bus),
    growDisk: (instance, role, bytes) => growDisk(deps, { instance, role }, bytes),
    fillDisk: (instance, role, format) => fill(deps, { instance, role }, format),
    formats: fillable(host),
    replaceFromImage: async (instance, role, image, bytes, madeFor) => {
      await locks.run(image, async () => {
        const size = await sizeOn(deps, image, bytes);
        await replace(deps, { instance, role }, { image: chains.places.image(image), bytes: size }, madeFor);
      });
      return settle(deps, { instance, role }, bytes);
    },
    replaceWithBlank: async (instance, role, bytes, madeFor) => {
      await replace(deps, { instance, role }, { image: null, bytes: roundUpToMebibyte(bytes) }, madeFor);
      return settle(deps, { instance, role }, bytes);
    },
    // A file that was to take a place and did not is nobody's, and goes with the next tidying.
    dropReplacement: async () => undefined,
    disks: async (instance) => (await chainsOf(chains, instance)).map(infoOf),
    buryDisk: (instance, role) => bury(deps, chains.places.disk(instance, role), `${instance}.${role}`),
    buryDisks: (instance) => bury(deps, chains.places.instance(instance), instance),
    reap: () => reap(deps),
    instancesWithDisks: () => instancesOf(deps, chains),
  };
}

interface Place { readonly instance: InstanceUuid; readonly role: DiskRole }

/** libvdsk was tried with AHCI only, so that is the bus of every such disk. */
const infoOf = ({ role, view }: SeenChain): DiskInfo =>
  ({ role, bus: 'sata', form: 'qcow2' satisfies DiskForm, dataset: null, devicePath: view.activePath, bytes: view.bytes, madeFor: view.madeFor });

/** Asked before a claim too; here for callers that did not. */
function refuseBus(bus: DiskBus | null): void {
  if (bus !== null && bus !== 'sata') throw new AgentError('disk-chain-refused', `a disk of qcow2 files goes on bus sata, not ${bus}`);
}

async function makeFolder({ host, chains }: ChainDisksDeps, { instance, role }: Place): Promise<void> {
  await host.files.makeDirectory(chains.places.instance(instance));
  await host.files.makeDirectory(chains.places.disk(instance, role));
}

/** Of a disk on an image. The caller holds the image's lock. */
async function sizeOn({ store }: ChainDisksDeps, image: ImageId, bytes: bigint | null): Promise<bigint | null> {
  const stored = await store.find(image);
  if (stored === undefined) throw imageNotCached(image);
  assertFits(bytes, stored.virtualBytes);
  await store.touch(stored);
  return bytes === null ? null : roundUpToMebibyte(bytes);
}

async function createDiskFromImage(deps: ChainDisksDeps, place: Place, image: ImageId, bytes: bigint | null, bus: DiskBus | null): Promise<DiskInfo> {
  refuseBus(bus);
  const chain = deps.chains.chain(place.instance, place.role);
  const path = deps.chains.places.image(image);
  const view = await chain.look();
  if (view !== undefined && view.files.at(-1)!.path !== path) throw new AgentError('disk-chain-refused', 'the disk is there and is of another image: bury it first', { details: { ...place } });
  if (view === undefined) {
    const size = await sizeOn(deps, image, bytes);
    await makeFolder(deps, place);
    await chain.create({ image: path, bytes: size });
  }
  return settle(deps, place, bytes);
}

async function createBlankDisk(deps: ChainDisksDeps, place: Place, bytes: bigint, bus: DiskBus | null): Promise<DiskInfo> {
  refuseBus(bus);
  await makeFolder(deps, place);
  await deps.chains.chain(place.instance, place.role).create({ image: null, bytes: roundUpToMebibyte(bytes) });
  return settle(deps, place, bytes);
}

async function growDisk(deps: ChainDisksDeps, place: Place, bytes: bigint): Promise<DiskInfo> {
  await requireDisk(deps, place);
  return settle(deps, place, bytes);
}

async function requireDisk({ chains }: ChainDisksDeps, { instance, role }: Place): Promise<SeenChain> {
  const chain = chains.chain(instance, role);
  const view = await chain.look();
  if (view === undefined) throw new AgentError('disk-missing', `the instance has no ${role} disk on this host`, { details: { instance, role } });
  return { instance, role, chain, view };
}

/** Grows a disk that is smaller than wanted; null: it is right as it is. */
async function settle(deps: ChainDisksDeps, place: Place, bytes: bigint | null): Promise<DiskInfo> {
  const disk = await requireDisk(deps, place);
  if (bytes === null || roundUpToMebibyte(bytes) <= disk.view.bytes) return infoOf(disk);
  await disk.chain.grow(roundUpToMebibyte(bytes));
  return infoOf(await requireDisk(deps, place));
}

/** The file system is made in a raw file, which takes the room of what is in it only, because the tools for it write onto nothing else. */
async function fill(deps: ChainDisksDeps, place: Place, format: DiskFormat): Promise<void> {
  const { host, scratch } = deps;
  const disk = await requireDisk(deps, place);
  const raw = join(scratch, `${place.instance}.${place.role}.part`);
  try {
    await (await host.files.openSink(raw)).commit();
    await host.files.truncate(raw, Number(disk.view.bytes));
    await fillDisk(host, place.role, { ...infoOf(disk), devicePath: raw }, format);
    await disk.chain.fill(raw);
  } finally {
    await host.files.remove(raw, scratch);
  }
}

async function replace(deps: ChainDisksDeps, place: Place, content: { readonly image: string | null; readonly bytes: bigint | null }, madeFor: string): Promise<void> {
  const chain = deps.chains.chain(place.instance, place.role);
  await makeFolder(deps, place);
  await chain.create({ ...content, madeFor });
  await chain.replace(content, madeFor);
  await chain.tidy({ isInUse: false });
}

/** Something of that name may have been here before and not be reaped yet, so the grave has a name of its own. */
async function bury(deps: ChainDisksDeps, path: string, what: string): Promise<void> {
  const { host, chains, clock, log } = deps;
  if (!(await host.files.exists(path))) return;
  const grave = join(chains.places.graveyard, `${what}.${clock.now().getTime()}.${randomBytes(3).toString('hex')}`);
  await host.files.rename(path, grave);
  chains.forget(path);
  log.info({ path, grave }, 'disks buried');
}

async function reap({ host, chains, log }: ChainDisksDeps): Promise<{ destroyed: number; left: number }> {
  const { graveyard } = chains.places;
  let [destroyed, left] = [0, 0];
  for (const name of await host.files.list(graveyard)) {
    try {
      await host.files.remove(join(graveyard, name), graveyard);
      destroyed += 1;
    } catch (err) {
      left += 1;
      log.warn({ err, grave: name }, 'left a grave for the next time');
    }
  }
  return { destroyed, left };
}
