/** Whether a guest can be saved: asked before it is touched, because bhyve itself loses devices without a word or finds out when the guest has stopped. */
import { dirname } from 'node:path';
import { AgentError } from '../../lib/errors.js';
import type { InstanceUuid } from '../../lib/ids.js';
import { whyUnsavable, type SavableDevice, type SaveExpectation } from '../saves/index.js';
import { canSaveNvme } from '../types.js';
import { readStoredSpec } from './define-guest.js';
import type { LifecycleDeps } from './lifecycle.js';
import type { MachineSpec } from './machine-spec.js';
import { observeGuest } from './observe-guest.js';
import { besideFirstDisk } from './partial-save.js';
import { isStopped } from './proof.js';

const MiB = 1024n * 1024n;
/** Besides the memory: state of the devices (a screen's memory is 16 MiB up to 14 and 32 MiB from 15 on), and a file system that is not filled up. */
const spareBytes = 64n * MiB;
/** bhyve keeps the name of FILE.kern in a buffer of this size (bhyve-facts 7.5). */
const maxPathChars = 255;

export const memoryBytesOf = (spec: MachineSpec): bigint => BigInt(spec.definition.memoryMiB) * MiB;

/** How long a save or a restore may take: 50 MB/s is slow for a disk (bhyve-facts 7.4). */
export const saveLimitMs = (spec: MachineSpec): number => Number(memoryBytesOf(spec) / 50_000n) + 30_000;

/** The PCI devices of a configuration, the host bridge and the LPC bridge included. */
export function devicesIn(config: string): SavableDevice[] {
  return [...config.matchAll(/^pci\.0\.(\d+)\.0\.device=(.+)$/gm)].map(([, slot, model]) => ({ model: model!, slot: Number(slot) }));
}

/** What a save of a guest with this configuration holds. */
export const expectationOf = (spec: MachineSpec, config: string): SaveExpectation => ({
  guestName: spec.definition.instance, vcpus: spec.definition.vcpus, memoryBytes: memoryBytesOf(spec), devices: devicesIn(config),
});

/** The configuration of the guest's present run, which is not written anew while it runs. AgentError `bad-instance-file` when it is gone. */
export async function configOf(deps: LifecycleDeps, instance: InstanceUuid): Promise<string> {
  const text = await deps.host.files.readText(deps.files.paths(instance).config);
  if (text === undefined) throw new AgentError('bad-instance-file', `bhyve.conf of ${instance} is gone`);
  return text;
}

/** A sentence for the user of the guest; null if it can be saved now. */
export async function whyNotSavable(deps: LifecycleDeps, instance: InstanceUuid): Promise<string | null> {
  const { saveRestore } = deps.capabilities();
  if (deps.isTrial) return whyNoRoom(deps, instance);
  if (saveRestore.status !== 'ready') return `this host cannot save guests: ${saveRestore.reason}`;
  // A save is under way: it is past these questions, and takes the room that is asked for.
  if (await deps.host.files.exists(deps.files.paths(instance).suspendMarker)) return null;
  const seen = await observeGuest(deps, instance);
  if (seen.kind === 'running' && isStopped(seen.process)) return 'the guest is paused: unpause it first';
  const devices = devicesIn(await configOf(deps, instance));
  const lost = (await whyNvmeIsLost(deps, instance, devices)) ?? whyUnsavable(saveRestore.family, devices, saveRestore.models);
  if (lost !== null) return lost;
  const strange = devices.find(({ model }) => !saveRestore.models.includes(model));
  if (strange !== undefined) return `${strange.model} in slot ${strange.slot} was in no self-test of this host, so nobody knows whether it comes back`;
  return whyNoRoom(deps, instance);
}

/** NVMe is a matter of its own: no release saves it, some branches do. In words for the user, with the way out. */
async function whyNvmeIsLost(deps: LifecycleDeps, instance: InstanceUuid, devices: readonly SavableDevice[]): Promise<string | null> {
  const lost = canSaveNvme(deps.capabilities().saveRestore) ? undefined : devices.find(({ model }) => model === 'nvme');
  if (lost === undefined) return null;
  const { slots } = await readStoredSpec(deps.files, instance);
  const key = Object.keys(slots.used).find((name) => slots.used[name] === lost.slot);
  return `its ${key?.replace(/^disk:/, '') ?? 'NVMe'} disk (nvme in slot ${lost.slot}) would not come back: bhyve of this host does not save NVMe disks. `
    + 'Rebuild the server from an image with bhyve_disk_bus=virtio, or put it on a host with the trait CUSTOM_BHYVE_SAVE_NVME';
}

async function whyNoRoom(deps: LifecycleDeps, instance: InstanceUuid): Promise<string | null> {
  const { folder, partialSave } = deps.files.paths(instance);
  const spec = await readStoredSpec(deps.files, instance);
  const beside = savesBesideDisk(deps) ? besideFirstDisk(deps, spec) : null;
  if (beside !== null && 'why' in beside) return beside.why;
  const place = beside?.folder ?? partialSave;
  if (`${place}/ram.kern`.length > maxPathChars) return `the path of its save is longer than the ${maxPathChars} characters that bhyve takes: choose a shorter state_path`;
  const needed = memoryBytesOf(spec) + spareBytes;
  for (const [where, path] of [['below state_path', folder], ...(beside === null ? [] : [['beside its first disk', dirname(place)] as const])] as const) {
    const free = await deps.host.files.freeBytes(path);
    if (free < needed) return `saving it takes ${needed / MiB} MiB ${where}, and ${free / MiB} MiB are free`;
  }
  return null;
}

const savesBesideDisk = (deps: LifecycleDeps): boolean => deps.capabilities().sandbox === 'first-disk';

/** Where bhyve is to write the save of a guest that can be saved; null: in the guest's folder. AgentError `guest-not-savable`. */
export async function placeBesideDisk(deps: LifecycleDeps, instance: InstanceUuid): Promise<string | null> {
  if (!savesBesideDisk(deps)) return null;
  const beside = besideFirstDisk(deps, await readStoredSpec(deps.files, instance));
  if ('why' in beside) throw new AgentError('guest-not-savable', beside.why);
  return beside.folder;
}
