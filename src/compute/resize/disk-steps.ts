/**
 * What a resize does to the disks. The guest is down from the first of these steps until the last.
 *
 *   keep     a snapshot of every disk, named by the migration: what a revert goes back to
 *   fit      grow, add or remake disks for the flavor; what is new is marked with the migration
 *   confirm  the snapshots go
 *   revert   new disks go, the others go back to their snapshots (with their sizes); then the snapshots go
 *
 * The rows of block devices stay as they were made at the boot: Nova changes none on a resize, and its drivers go by the flavor for swap too
 * (`ignore_bdi_for_swap` of the libvirt driver).
 */
import { novaFaults, refuse } from '../../lib/nova-faults.js';
import type { InstanceUuid } from '../../lib/ids.js';
import type { Step } from '../../journal/index.js';
import type { NovaObjectOf } from '../../objects/index.js';
import type { DiskInfo, DiskRole } from '../../storage/index.js';
import type { ComputeDeps } from '../deps.js';
import { isFillable, localDisks, unsupportedDisks } from '../local-disks.js';
import { reapQuietly } from '../machine-steps.js';

type Deps = Pick<ComputeDeps, 'storage' | 'log'>;
type FitDeps = Pick<ComputeDeps, 'storage' | 'driver' | 'options'>;
const GiB = 1024n ** 3n;
const MiB = 1024n ** 2n;

/** Disks only grow: what lies at the end of a larger one would be cut off. Swap holds nothing and may be of any size. */
export function refuseShrinking(current: NovaObjectOf<'Flavor'>, wanted: NovaObjectOf<'Flavor'>): void {
  if (wanted.get('root_gb') < current.get('root_gb') || wanted.get('ephemeral_gb') < current.get('ephemeral_gb')) {
    throw refuse(novaFaults.resizeError('Unable to resize disk down.'));
  }
}

/** A sentence if the flavor brings the server's first ephemeral disk and this host cannot write default_ephemeral_format; else null. */
export function unfillableEphemeral({ options, storage }: Pick<ComputeDeps, 'options' | 'storage'>, current: NovaObjectOf<'Flavor'>, wanted: NovaObjectOf<'Flavor'>): string | null {
  if (current.get('ephemeral_gb') > 0) return null;
  return unsupportedDisks([], localDisks([], wanted, options.defaultEphemeralFormat), storage.formats, new Set());
}

/** Marks the state to which a revert goes back. */
export function keepDisks({ storage }: Deps, instance: InstanceUuid, move: string): Step {
  return {
    name: 'keep-disks',
    look: async () => 'not-done', // idempotent
    act: () => storage.keepDisks(instance, move),
    undo: () => storage.forgetKept(instance, move),
  };
}

/**
 * Makes the disks what the flavor says; what is new is filled as a build would. A guest that runs has them already (the agent was killed after the
 * start): then nothing is touched.
 */
export function fitDisks(deps: FitDeps, instance: InstanceUuid, flavor: NovaObjectOf<'Flavor'>, move: string): Step {
  const { storage } = deps;
  const fit = async (): Promise<void> => {
    const present = await storage.disks(instance);
    if (flavor.get('root_gb') > 0) await storage.growDisk(instance, 'root', BigInt(flavor.get('root_gb')) * GiB);
    await fitEphemerals(deps, instance, BigInt(flavor.get('ephemeral_gb')) * GiB, move, present);
    await fitSwap(deps, instance, flavor, move, present);
  };
  return { name: 'fit-disks', look: () => isInUse(deps, instance), act: fit, undo: async () => undefined };
}

/** The old flavor's swap again, which no snapshot brings back once another took its place. */
export const remakeSwap = (deps: FitDeps, instance: InstanceUuid, flavor: NovaObjectOf<'Flavor'>, move: string): Step => ({
  name: 'remake-swap',
  look: () => isInUse(deps, instance),
  act: async () => fitSwap(deps, instance, flavor, move, await deps.storage.disks(instance)),
  undo: async () => undefined,
});

const isInUse = async ({ driver }: FitDeps, instance: InstanceUuid): Promise<'done' | 'not-done'> => ((await driver.state(instance)).kind === 'running' ? 'done' : 'not-done');

async function fitSwap(deps: FitDeps, instance: InstanceUuid, flavor: NovaObjectOf<'Flavor'>, move: string, present: readonly DiskInfo[]): Promise<void> {
  const wanted = BigInt(flavor.get('swap')) * MiB;
  const swap = present.find(({ role }) => role === 'swap');
  if (wanted === 0n) await deps.storage.buryDisk(instance, 'swap');
  else if (swap?.bytes !== wanted || swap.madeFor === move) await makeFilled(deps, instance, 'swap', wanted, move, 'swap');
}

/** All ephemerals together are as large as the flavor says: what is missing goes to the first of them, and a server without any gets one. */
async function fitEphemerals(deps: FitDeps, instance: InstanceUuid, wanted: bigint, move: string, present: readonly DiskInfo[]): Promise<void> {
  const ephemerals = present.filter(({ role }) => role.startsWith('eph'));
  const [first] = ephemerals;
  if (first === undefined || first.madeFor === move) {
    if (wanted > 0n) await makeFilled(deps, instance, 'eph0', wanted, move, deps.options.defaultEphemeralFormat);
    return;
  }
  const missing = wanted - ephemerals.reduce((sum, { bytes }) => sum + bytes, 0n);
  if (missing > 0n) await deps.storage.growDisk(instance, first.role, first.bytes + missing);
}

/** Filled also when it is there already: a kill between the two shows in nothing, and no guest has seen it. */
async function makeFilled({ storage }: FitDeps, instance: InstanceUuid, role: DiskRole, bytes: bigint, move: string, format: string | null): Promise<void> {
  await storage.replaceWithBlank(instance, role, bytes, move);
  if (isFillable(format, storage.formats)) await storage.fillDisk(instance, role, format);
}

/** The disks as they were when they were marked. Nothing to go back to: nothing is done. */
export function revertDisks({ storage }: Deps, instance: InstanceUuid, move: string): Step {
  return { name: 'revert-disks', look: async () => 'not-done', act: () => storage.revertDisks(instance, move), undo: async () => undefined };
}

/** There is nothing to go back to any more. No undo: this is the end of the move. */
export function forgetKept(deps: Deps, instance: InstanceUuid, move: string): Step {
  return {
    name: 'forget-kept',
    look: async () => 'not-done',
    act: async () => {
      await deps.storage.forgetKept(instance, move);
      await reapQuietly(deps as ComputeDeps);
    },
  };
}
