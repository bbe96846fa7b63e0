import { savableModels, statelessModel } from './formats.js';
import type { SavableDevice, SaveFamily } from './types.js';

/**
 * Why a guest with these devices must not be saved on a host whose bhyve writes `family`, or null if nothing would be lost. To be asked before the guest is
 * touched. `family` null: not known, and then what any of them loses counts. upb-json counts as FreeBSD 13: a branch that saves several devices of a type has
 * not been seen. `proven`: models that came back in a self-test, though no release has code for saving them. The sentence names the device.
 */
export function whyUnsavable(family: SaveFamily | null, devices: readonly SavableDevice[], proven: readonly string[] = []): string | null {
  const inOrder = [...devices].sort((a, b) => a.slot - b.slot); // as bhyve looks for "the first"
  const without = inOrder.find(({ model }) => !savableModels.has(model) && !proven.includes(model));
  if (without !== undefined) {
    const name = `${without.model} in slot ${without.slot}`;
    return family === 'kern-structs' ? `${name} cannot be saved: bhyve has no code for that` : `${name} would be lost: bhyve leaves it out of a save without a word`;
  }
  if (family === 'kern-structs') return null;
  for (const [index, { model, slot }] of inOrder.entries()) {
    const first = inOrder.findIndex((other) => other.model === model);
    if (first === index || model === statelessModel) continue;
    const why = family === null ? `this bhyve has not shown that it saves more than the first ${model}` : `bhyve saves only the first ${model}`;
    return `${model} in slot ${slot} would be lost: ${why}, which is in slot ${inOrder[first]!.slot}`;
  }
  return null;
}
