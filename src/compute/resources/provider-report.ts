/**
 * Our resource provider in Placement. The copy of what Placement holds is kept for `[compute]resource_provider_association_refresh`
 * and dropped at every sign that it is wrong: a generation conflict, a provider that vanished. Then everything is read again and done
 * over, four times in all; the next audit tries again after that.
 */
import type { Clock } from '../../lib/clock.js';
import { AgentError, codeOf } from '../../lib/errors.js';
import type { Logger } from '../../observe/index.js';
import type { PlacementClient } from '../../openstack/index.js';
import { sameInventories, wantedInventories, type Inventories, type InventoryWish } from './inventories.js';
import { isCustom, ownTraits, sameTraits, wantedTraits, withDisabledTrait, type TraitWish } from './traits.js';

export interface ProviderReportDeps {
  readonly placement: PlacementClient;
  readonly clock: Clock;
  readonly log: Logger;
  /** Provider uuid = ComputeNode uuid; name = hypervisor_hostname. */
  readonly uuid: string;
  readonly name: string;
  /** 0: what was read is trusted until a conflict. */
  readonly refreshMs: number;
}

export interface ProviderReport {
  /** Makes provider, inventories and traits what they should be; no request that changes nothing. */
  report(wish: { readonly inventory: InventoryWish; readonly traits: TraitWish }): Promise<void>;
  /** Sets or removes COMPUTE_STATUS_DISABLED at once. */
  setEnabled(isEnabled: boolean): Promise<void>;
}

interface Stored {
  readonly generation: number;
  readonly inventories: Inventories;
  readonly traits: readonly string[];
  readonly readAtMs: number;
}

const ATTEMPTS = 4;
/** After these a fresh look may help: somebody wrote at the same time, or deleted the provider. */
const worthAnotherLook = new Set<string | undefined>(['placement-generation-conflict', 'http-not-found']);

export function createProviderReport(deps: ProviderReportDeps): ProviderReport {
  const { placement, uuid, log } = deps;
  let stored: Stored | undefined;
  /** Traits that we asked about since the provider was last read: true if this Placement has them. */
  let asked = new Map<string, boolean>();

  async function current(): Promise<Stored> {
    const isFresh = stored !== undefined && (deps.refreshMs === 0 || deps.clock.monotonicMs() - stored.readAtMs < deps.refreshMs);
    if (isFresh && stored !== undefined) return stored;
    stored = await readProvider(deps);
    asked = new Map();
    return stored;
  }

  async function retrying(work: () => Promise<void>): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await work();
      } catch (error) {
        stored = undefined;
        if (!worthAnotherLook.has(codeOf(error)) || attempt >= ATTEMPTS) throw error;
        log.info({ attempt, code: codeOf(error) }, 'the resource provider changed under us; reading it again');
      }
    }
  }

  async function reportInventories(wish: InventoryWish): Promise<void> {
    const before = await current();
    const wanted = wantedInventories(wish, before.inventories);
    if (sameInventories(wanted, before.inventories)) return;
    for (const name of Object.keys(wish.additional ?? {})) if (before.inventories[name] === undefined) await placement.createResourceClass(name);
    if (wish.reserved.memoryMiB >= wish.totals.memoryMiB) log.error({ reserved: wish.reserved.memoryMiB, total: wish.totals.memoryMiB }, 'all memory is reserved; no server fits here');
    try {
      stored = { ...before, inventories: wanted, generation: await placement.putInventories(uuid, before.generation, wanted) };
    } catch (error) {
      if (codeOf(error) !== 'placement-inventory-in-use') throw error;
      // Servers hold something of a class that we no longer have: keep its entry, tell, and let an operator move them away.
      const kept = { ...before.inventories, ...wanted };
      log.warn({ classes: Object.keys(kept).filter((name) => !(name in wanted)) }, 'resource classes in use were kept in Placement');
      if (sameInventories(kept, before.inventories)) return;
      stored = { ...before, inventories: kept, generation: await placement.putInventories(uuid, before.generation, kept) };
    }
    log.info({ inventories: wanted }, 'inventory reported');
  }

  async function reportTraits(wish: TraitWish): Promise<void> {
    const before = await current();
    await askForTraits(deps, ownTraits(wish), asked);
    const wanted = wantedTraits(wish, before.traits, new Set([...asked.keys()].filter((trait) => asked.get(trait))));
    if (sameTraits(wanted, before.traits)) return;
    stored = { ...before, traits: wanted, generation: await placement.putTraits(uuid, before.generation, wanted) };
    log.info({ added: wanted.filter((trait) => !before.traits.includes(trait)), removed: before.traits.filter((trait) => !wanted.includes(trait)) }, 'traits reported');
  }

  return {
    report: ({ inventory, traits }) => retrying(async () => {
      await reportInventories(inventory);
      await reportTraits(traits);
    }),
    setEnabled: (isEnabled) => retrying(async () => {
      stored = undefined; // an operator's command is answered from what is there now
      const before = await current();
      const wanted = withDisabledTrait(before.traits, !isEnabled);
      if (sameTraits(wanted, before.traits)) return;
      stored = { ...before, traits: wanted, generation: await placement.putTraits(uuid, before.generation, wanted) };
    }),
  };
}

async function readProvider({ placement, uuid, name, clock, log }: ProviderReportDeps): Promise<Stored> {
  const known = (await placement.providersInTree(uuid)).find((provider) => provider.uuid === uuid);
  if (known === undefined) {
    await placement.createProvider(uuid, name);
    log.info({ provider: uuid, name }, 'resource provider created');
  } else if (known.name !== name) {
    throw new AgentError('placement-name-clash', `the resource provider of this node is called ${known.name}, not ${name}: was the node renamed? Set its old name again`, { details: { uuid } });
  }
  const { generation, inventories } = await placement.inventories(uuid);
  const traits = await placement.traits(uuid);
  // Of two readings the older generation counts: if somebody wrote between them, our write must fail.
  return { generation: Math.min(generation, traits.generation), inventories, traits: traits.traits, readAtMs: clock.monotonicMs() };
}

/** Asks once for each trait; makes our own custom ones; one that Placement is too old for is left out. */
async function askForTraits({ placement, log }: ProviderReportDeps, wanted: readonly string[], asked: Map<string, boolean>): Promise<void> {
  const unasked = wanted.filter((trait) => !asked.has(trait));
  if (unasked.length === 0) return;
  const known = await placement.knownTraits(unasked);
  for (const trait of unasked) {
    if (!known.has(trait) && isCustom(trait)) await placement.createCustomTrait(trait);
    else if (!known.has(trait)) log.debug({ trait }, 'Placement does not know this trait; left out');
    asked.set(trait, known.has(trait) || isCustom(trait));
  }
}
