/** States of qcow2 disks that a resize goes back to, and that a suspended guest's memory goes with: the latter are not to be had. */
import { AgentError } from '../../lib/errors.js';
import type { NodeStorage } from '../types.js';
import type { ChainDisksDeps } from './chain-disks.js';
import { tellGuest, tidyDisks } from './chain-nodes.js';
import { chainsOf } from './each-chain.js';

type ChainStates = Pick<NodeStorage, 'keepDisks' | 'revertDisks' | 'forgetKept' | 'holdStill' | 'stillness' | 'letGo'>;

export const createChainStates = (deps: ChainDisksDeps): ChainStates => ({
  async keepDisks(instance, move) {
    const seen = await chainsOf(deps.chains, instance);
    // All are asked before one is changed.
    if (seen.some(({ view }) => view.nodes.some(({ kind }) => kind === 'internal'))) {
      throw new AgentError('disk-chain-refused', 'the server has checkpoints inside its disks, which a resize could not go back to: delete their images first');
    }
    for (const { chain } of seen) await chain.keep(move);
    await tellGuest(deps, instance);
  },
  async revertDisks(instance, move) {
    for (const { role, chain, view } of await chainsOf(deps.chains, instance)) {
      if (view.keptFor === move) await chain.goBack(move);
      else if (view.madeFor === move) {
        // Made for the move, so empty or remade: nothing is lost with it.
        const path = deps.chains.places.disk(instance, role);
        await deps.host.files.remove(path, deps.chains.places.instances);
        deps.chains.forget(path);
      }
    }
    await tellGuest(deps, instance);
  },
  async forgetKept(instance, move) {
    for (const { chain } of await chainsOf(deps.chains, instance)) await chain.forgetKept(move);
    await tidyDisks(deps, instance);
  },
  holdStill: async () => {
    throw new AgentError('disk-chain-refused', 'a guest on qcow2 disks cannot be suspended: libvdsk has no way to hold its disks still');
  },
  // Equal to nothing that was ever held.
  stillness: async (instance) => Object.fromEntries((await chainsOf(deps.chains, instance)).map(({ role, view }) => [role, `file ${view.activePath}, not held`])),
  letGo: async () => undefined,
});
