/** Walks over what is there. */
import { isUuid, parseInstanceUuid, type InstanceUuid } from '../../lib/ids.js';
import type { ChainView, DiskChain } from '../disk-chain/index.js';
import type { DiskRole } from '../types.js';
import type { Chains, ChainsDeps } from './chain-places.js';

/** Instances with a folder. */
export const instancesOf = async ({ host }: Pick<ChainsDeps, 'host'>, { places }: Chains): Promise<readonly InstanceUuid[]> =>
  (await host.files.list(places.instances)).filter(isUuid).map(parseInstanceUuid);

export interface SeenChain {
  readonly instance: InstanceUuid;
  readonly role: DiskRole;
  readonly chain: DiskChain;
  readonly view: ChainView;
}

/** The disks of an instance, in the order of a machine. AgentError `disk-chain-damaged`. */
export async function chainsOf(chains: Chains, instance: InstanceUuid): Promise<readonly SeenChain[]> {
  const seen: SeenChain[] = [];
  for (const role of await chains.roles(instance)) {
    const chain = chains.chain(instance, role);
    const view = await chain.look();
    if (view !== undefined) seen.push({ instance, role, chain, view });
  }
  return seen;
}

/** The disks of all instances. AgentError `disk-chain-damaged` for the first that cannot be read. */
export async function* eachChain(deps: Pick<ChainsDeps, 'host'>, chains: Chains): AsyncGenerator<SeenChain, void, void> {
  for (const instance of await instancesOf(deps, chains)) yield* await chainsOf(chains, instance);
}

/** The same for work that the others need as well: an instance whose disks cannot be read is logged and passed over. */
export async function* eachGoodChain(deps: Pick<ChainsDeps, 'host' | 'log'>, chains: Chains): AsyncGenerator<SeenChain, void, void> {
  for (const instance of await instancesOf(deps, chains)) {
    yield* await chainsOf(chains, instance).catch((err: unknown) => {
      deps.log.warn({ err, instance }, 'disks of an instance cannot be read; they are left as they are');
      return [];
    });
  }
}
