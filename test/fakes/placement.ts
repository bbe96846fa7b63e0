/**
 * Placement in memory, behind the client interface: provider generations, classes in use, unknown traits, consumers with generations.
 * It refuses what the real one refuses (placement 8.0, microversion 1.36), with the client's error codes.
 */
import { AgentError } from '../../src/lib/errors.js';
import type { Allocations, Inventory, PlacementClient, ResourceProvider } from '../../src/openstack/index.js';

interface Provider { readonly uuid: string; name: string; generation: number; inventories: Readonly<Record<string, Inventory>>; traits: readonly string[] }
type Resources = Readonly<Record<string, { readonly resources: Readonly<Record<string, number>> }>>;

const conflict = (): AgentError => new AgentError('placement-generation-conflict', 'somebody else changed the resource provider', { retry: 'later' });
const bad = (why: string): AgentError => new AgentError('http-bad-request', why);

export class FakePlacement implements PlacementClient {
  readonly providers = new Map<string, Provider>();
  readonly consumers = new Map<string, { allocations: Resources; generation: number; projectId: string; userId: string }>();
  /** Standard traits of this Placement; custom ones are added by createCustomTrait. */
  readonly knownTraitNames = new Set<string>();
  /** Every request, as `method argument…`. */
  readonly requests: string[] = [];
  /** Called before a request; may throw, or change things as somebody else would. */
  before: (request: string) => void = () => undefined;

  writes(): string[] {
    return this.requests.filter((request) => /^(create|delete|put|remove|move)/.test(request));
  }

  /** Somebody else writes to the provider. */
  touch(uuid: string, change: Partial<Pick<Provider, 'inventories' | 'traits'>> = {}): void {
    Object.assign(this.#provider(uuid), change);
    this.#provider(uuid).generation += 1;
  }

  allocate(consumer: string, allocations: Resources): void {
    this.consumers.set(consumer, { allocations, generation: 1, projectId: 'p1', userId: 'u1' });
  }

  async providersInTree(uuid: string): Promise<ResourceProvider[]> {
    this.#note(`providersInTree ${uuid}`);
    const provider = this.providers.get(uuid);
    return provider === undefined ? [] : [{ uuid: provider.uuid, name: provider.name, generation: provider.generation }];
  }

  async providerByName(name: string): Promise<ResourceProvider | null> {
    this.#note(`providerByName ${name}`);
    return [...this.providers.values()].find((provider) => provider.name === name) ?? null;
  }

  async createProvider(uuid: string, name: string): Promise<ResourceProvider> {
    this.#note(`createProvider ${uuid} ${name}`);
    const existing = this.providers.get(uuid);
    if (existing !== undefined) return existing;
    if ([...this.providers.values()].some((provider) => provider.name === name)) throw new AgentError('placement-name-clash', 'another provider has this name');
    const provider: Provider = { uuid, name, generation: 0, inventories: {}, traits: [] };
    this.providers.set(uuid, provider);
    return { ...provider };
  }

  async deleteProvider(uuid: string): Promise<void> {
    this.#note(`deleteProvider ${uuid}`);
    if (Object.keys(this.#allocationsOn(uuid)).length > 0) throw new AgentError('http-conflict', 'the provider has allocations');
    this.providers.delete(uuid);
  }

  async inventories(uuid: string): Promise<{ generation: number; inventories: Readonly<Record<string, Inventory>> }> {
    this.#note(`inventories ${uuid}`);
    const { generation, inventories } = this.#provider(uuid);
    return { generation, inventories };
  }

  async putInventories(uuid: string, generation: number, inventories: Readonly<Record<string, Inventory>>): Promise<number> {
    this.#note(`putInventories ${uuid}`);
    const provider = this.#provider(uuid);
    if (provider.generation !== generation) throw conflict();
    for (const [name, { total, reserved, max_unit: maxUnit, allocation_ratio: ratio }] of Object.entries(inventories)) {
      if (total < 1 || reserved > total || maxUnit < 1 || ratio <= 0) throw bad(`impossible inventory of ${name}`);
    }
    for (const { resources } of Object.values(this.#allocationsOn(uuid))) {
      if (Object.keys(resources).some((name) => !(name in inventories))) throw new AgentError('placement-inventory-in-use', 'in use');
    }
    provider.inventories = inventories;
    provider.generation += 1;
    return provider.generation;
  }

  async traits(uuid: string): Promise<{ generation: number; traits: readonly string[] }> {
    this.#note(`traits ${uuid}`);
    const { generation, traits } = this.#provider(uuid);
    return { generation, traits };
  }

  async putTraits(uuid: string, generation: number, traits: readonly string[]): Promise<number> {
    this.#note(`putTraits ${uuid}`);
    const provider = this.#provider(uuid);
    if (provider.generation !== generation) throw conflict();
    const unknown = traits.filter((trait) => !this.knownTraitNames.has(trait));
    if (unknown.length > 0) throw bad(`no such trait: ${unknown.join(', ')}`);
    provider.traits = [...traits];
    provider.generation += 1;
    return provider.generation;
  }

  async knownTraits(names: readonly string[]): Promise<ReadonlySet<string>> {
    this.#note(`knownTraits ${names.join(',')}`);
    return new Set(names.filter((name) => this.knownTraitNames.has(name)));
  }

  async createResourceClass(name: string): Promise<void> {
    this.#note(`createResourceClass ${name}`);
  }

  async createCustomTrait(name: string): Promise<void> {
    this.#note(`createCustomTrait ${name}`);
    if (!name.startsWith('CUSTOM_')) throw bad('only CUSTOM_ traits can be made');
    this.knownTraitNames.add(name);
  }

  async allocationsOf(consumer: string): Promise<Allocations> {
    this.#note(`allocationsOf ${consumer}`);
    const found = this.consumers.get(consumer);
    if (found === undefined) return { allocations: {}, projectId: null, userId: null, consumerGeneration: null };
    return { allocations: found.allocations, projectId: found.projectId, userId: found.userId, consumerGeneration: found.generation };
  }

  async allocationsOnProvider(uuid: string): Promise<Resources> {
    this.#note(`allocationsOnProvider ${uuid}`);
    this.#provider(uuid);
    return this.#allocationsOn(uuid);
  }

  async removeAllocations(consumer: string): Promise<boolean> {
    this.#note(`removeAllocations ${consumer}`);
    return this.consumers.delete(consumer);
  }

  async deleteAllocations(consumer: string): Promise<void> {
    this.#note(`deleteAllocations ${consumer}`);
    this.consumers.delete(consumer);
  }

  async putAllocations(consumer: string, { allocations, consumerGeneration, projectId, userId }: Allocations): Promise<void> {
    this.#note(`putAllocations ${consumer}`);
    const found = this.consumers.get(consumer);
    if ((found?.generation ?? null) !== consumerGeneration) throw conflict();
    if (Object.keys(allocations).length === 0) this.consumers.delete(consumer);
    else this.consumers.set(consumer, { allocations, generation: (found?.generation ?? 0) + 1, projectId: projectId ?? '', userId: userId ?? '' });
  }

  async moveAllocations(from: string, to: string): Promise<void> {
    this.#note(`moveAllocations ${from} ${to}`);
    const found = this.consumers.get(from);
    if (found === undefined) return;
    this.consumers.set(to, { ...found, generation: (this.consumers.get(to)?.generation ?? 0) + 1 });
    this.consumers.delete(from);
  }

  async removeProviderFromAllocations(consumer: string, provider: string): Promise<void> {
    this.#note(`removeProviderFromAllocations ${consumer} ${provider}`);
    const found = this.consumers.get(consumer);
    if (found === undefined) return;
    const left = Object.fromEntries(Object.entries(found.allocations).filter(([uuid]) => uuid !== provider));
    if (Object.keys(left).length === 0) this.consumers.delete(consumer);
    else this.consumers.set(consumer, { ...found, allocations: left, generation: found.generation + 1 });
  }

  #note(request: string): void {
    this.requests.push(request);
    this.before(request);
  }

  #provider(uuid: string): Provider {
    const provider = this.providers.get(uuid);
    if (provider === undefined) throw new AgentError('http-not-found', 'no such resource provider');
    return provider;
  }

  #allocationsOn(uuid: string): Resources {
    return Object.fromEntries([...this.consumers].flatMap(([consumer, { allocations }]) => {
      const here = allocations[uuid];
      return here === undefined ? [] : [[consumer, here]];
    }));
  }
}
