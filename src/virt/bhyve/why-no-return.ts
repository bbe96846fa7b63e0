/** Whether a guest can go on from the memory of a checkpoint. Asked while the present guest still runs, so whatever is wrong must be found here. */
import { AgentError } from '../../lib/errors.js';
import type { CheckpointId, InstanceUuid } from '../../lib/ids.js';
import type { CheckpointMemory } from '../../storage/index.js';
import { checkSave } from './check-save.js';
import { keptFolder, sumOf } from './kept-checkpoints.js';
import type { LifecycleDeps } from './lifecycle.js';
import { configOf } from './savable.js';
import { manifestName, parseManifest } from './save-manifest.js';

/** What the guest has seen of its machine: slots, models, taps, addresses and what its disks are; not the screen, which may be anywhere. */
const machineLine = /^(memory\.size|cpus|sockets|cores|threads|pci\.0\.(\d+)\.0\.(?:device|backend|mac|path|port\.\d+\.(?:path|type)))=(.*)$/gm;

interface Fact { readonly value: string; readonly slot: string | undefined }

const factsOf = (config: string): ReadonlyMap<string, Fact> =>
  new Map([...config.matchAll(machineLine)].map(([, key = '', slot, value = '']) => [key, { value, slot }]));

/** In what the machine of one bhyve.conf differs from that of another, in words; null if the guest sees none of it. */
export function whyOtherMachine(then: string, now: string): string | null {
  const [before, after] = [factsOf(then), factsOf(now)];
  const key = [...new Set([...before.keys(), ...after.keys()])].find((one) => before.get(one)?.value !== after.get(one)?.value);
  if (key === undefined) return null;
  const slot = (before.get(key) ?? after.get(key))?.slot;
  if (slot !== undefined) {
    const [was = 'nothing', is = 'nothing'] = [before, after].map((facts) => facts.get(`pci.0.${slot}.0.device`)?.value);
    return `the server's devices are not those of the checkpoint (slot ${slot}: then ${was}, now ${is}${was === is ? ' with something else behind it' : ''})`;
  }
  const what = key === 'memory.size' ? 'memory is not that' : 'processors are not those';
  return `the server's ${what} of the checkpoint (${key}: then ${before.get(key)?.value ?? 'none'}, now ${after.get(key)?.value ?? 'none'})`;
}

/** See KeptCheckpoints.whyNoReturn. */
export async function whyNoReturn(deps: LifecycleDeps, instance: InstanceUuid, checkpoint: CheckpointId, memory: CheckpointMemory, signal: AbortSignal): Promise<string | null> {
  const folder = keptFolder(deps.files, instance, checkpoint);
  const text = await deps.host.files.readText(`${folder}/${manifestName}`);
  if (text === undefined) return 'its memory is not on this host any more';
  if (sumOf(text) !== memory.sum) return 'its memory is not that which was saved with its disks';
  try {
    const manifest = parseManifest(instance, text);
    const other = whyOtherMachine((await deps.host.files.readText(`${folder}/bhyve.conf`)) ?? '', await configOf(deps, instance));
    if (other !== null) return other;
    await checkSave(deps, instance, { folder, manifest, allowance: null }, signal);
    return null;
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    if (error.code === 'save-damaged') return `its memory is damaged: ${error.message}`;
    if (error.code === 'save-mismatch' || error.code === 'layout-too-new') return error.message;
    throw error;
  }
}
