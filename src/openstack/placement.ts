/**
 * Placement, with the configured identity. Each call names the microversion that nova-contract section 8 gives for it. GET `/` comes
 * first: a Placement that is too old is refused with a clear word instead of odd answers later.
 */
import { z } from 'zod';
import { AgentError } from '../lib/errors.js';
import type { Clock } from '../lib/clock.js';
import { failFrom, faultTypeOfError, isSuccess } from './failure.js';
import type { HttpAnswer, HttpMethod, Query } from './http.js';
import { createConsumerCalls } from './placement-consumers.js';
import type { EndpointOptions, Session } from './session.js';
import type { Inventory, PlacementClient, ResourceProvider } from './types.js';

export interface PlacementOptions {
  /** [placement] */
  readonly session: Session;
  readonly endpoint: Omit<EndpointOptions, 'serviceType'> & { readonly serviceType?: string };
  readonly clock: Clock;
  readonly random?: () => number;
}

/** The newest microversion that is asked for below. */
const neededMinor = 28;

export type PlacementCall = (method: HttpMethod, path: string, options: { version: string; query?: Query; body?: unknown; notFoundIsFine?: boolean }) => Promise<HttpAnswer>;

const Root = z.object({ versions: z.array(z.object({ max_version: z.string() })).min(1) });
const Provider = z.object({ uuid: z.string(), name: z.string(), generation: z.number() });
const InventoryBody = z.object({ total: z.number(), reserved: z.number(), min_unit: z.number(), max_unit: z.number(), step_size: z.number(), allocation_ratio: z.number() });
const Generation = z.object({ resource_provider_generation: z.number() });
const Inventories = Generation.extend({ inventories: z.record(z.string(), InventoryBody) });
const Traits = Generation.extend({ traits: z.array(z.string()) });

/**
 * Errors: `http-…`; `placement-generation-conflict` (read again and redo), `placement-inventory-in-use`, `placement-name-clash` (another
 * provider has our name: an operator must look), `placement-too-old`, `placement-strange`.
 */
export function createPlacementClient(options: PlacementOptions): PlacementClient {
  const call = createCall(options);
  return { ...providerCalls(call), ...associationCalls(call), ...createConsumerCalls(call, options.clock, options.random ?? Math.random) };
}

function createCall(options: PlacementOptions): PlacementCall {
  const endpoint = { serviceType: 'placement', ...options.endpoint };
  let isNewEnough: Promise<void> | undefined;
  const checkVersion = async (): Promise<void> => {
    const answer = await options.session.send({ method: 'GET', path: '/' }, endpoint);
    if (!isSuccess(answer)) throw failFrom({ service: 'placement', method: 'GET', path: '/' }, answer);
    const [, minor = '0'] = (parsed(Root, answer.body).versions[0]?.max_version ?? '').split('.');
    if (Number(minor) >= neededMinor) return;
    throw new AgentError('placement-too-old', `Placement knows microversion 1.${minor}, but 1.${neededMinor} is needed: upgrade Placement`, { retry: 'later' });
  };
  return async (method, path, { version, query, body, notFoundIsFine }) => {
    isNewEnough ??= checkVersion().catch((error: unknown) => {
      isNewEnough = undefined;
      throw error;
    });
    await isNewEnough;
    const headers = { 'OpenStack-API-Version': `placement ${version}` };
    const answer = await options.session.send({ method, path, query, body, headers }, endpoint);
    if (isSuccess(answer) || (notFoundIsFine === true && answer.status === 404)) return answer;
    throw failFrom({ service: 'placement', method, path }, answer);
  };
}

type ProviderCalls = Pick<PlacementClient, 'providersInTree' | 'providerByName' | 'createProvider' | 'deleteProvider'>;
type AssociationCalls = Pick<PlacementClient, 'inventories' | 'putInventories' | 'traits' | 'putTraits' | 'knownTraits' | 'createCustomTrait' | 'createResourceClass'>;

function providerCalls(call: PlacementCall): ProviderCalls {
  const list = async (query: Query): Promise<ResourceProvider[]> =>
    parsed(z.object({ resource_providers: z.array(Provider) }), (await call('GET', '/resource_providers', { version: '1.14', query })).body).resource_providers;
  const calls: ProviderCalls = {
    providersInTree: (uuid) => list({ in_tree: uuid }),
    providerByName: async (name) => (await list({ name }))[0] ?? null,
    createProvider: async (uuid, name) => {
      try {
        return parsed(Provider, (await call('POST', '/resource_providers', { version: '1.20', body: { uuid, name } })).body);
      } catch (error) {
        if (!isConflict(error)) throw error;
        const existing = (await calls.providersInTree(uuid)).find((one) => one.uuid === uuid);
        if (existing !== undefined) return existing;
        throw new AgentError('placement-name-clash', 'another resource provider has this node name: delete it, or give the node another name', {
          cause: error, details: { name, uuid, other: (await calls.providerByName(name))?.uuid ?? null } });
      }
    },
    deleteProvider: async (uuid) => {
      await call('DELETE', `/resource_providers/${uuid}`, { version: '1.20', notFoundIsFine: true });
    },
  };
  return calls;
}

function associationCalls(call: PlacementCall): AssociationCalls {
  const of = (uuid: string, what: string): string => `/resource_providers/${uuid}/${what}`;
  return {
    inventories: async (uuid) => {
      const body = parsed(Inventories, (await call('GET', of(uuid, 'inventories'), { version: '1.26' })).body);
      return { generation: body.resource_provider_generation, inventories: body.inventories };
    },
    putInventories: async (uuid, generation, inventories: Readonly<Record<string, Inventory>>) => {
      const body = { resource_provider_generation: generation, inventories };
      return parsed(Generation, (await put(call, of(uuid, 'inventories'), '1.26', body)).body).resource_provider_generation;
    },
    traits: async (uuid) => {
      const body = parsed(Traits, (await call('GET', of(uuid, 'traits'), { version: '1.6' })).body);
      return { generation: body.resource_provider_generation, traits: body.traits };
    },
    putTraits: async (uuid, generation, traits) => {
      const body = { resource_provider_generation: generation, traits };
      return parsed(Generation, (await put(call, of(uuid, 'traits'), '1.6', body)).body).resource_provider_generation;
    },
    knownTraits: async (names) => {
      const known = new Set<string>();
      for (let start = 0; start < names.length; start += traitsPerQuery) {
        const query = { name: `in:${names.slice(start, start + traitsPerQuery).join(',')}` };
        const { traits } = parsed(z.object({ traits: z.array(z.string()) }), (await call('GET', '/traits', { version: '1.6', query })).body);
        for (const trait of traits) known.add(trait);
      }
      return known;
    },
    createCustomTrait: async (name) => {
      await call('PUT', `/traits/${encodeURIComponent(name)}`, { version: '1.6' });
    },
    createResourceClass: async (name) => {
      await call('PUT', `/resource_classes/${encodeURIComponent(name)}`, { version: '1.7' });
    },
  };
}

/** Keeps the query well below the 8 KiB that web servers allow for a request line. */
const traitsPerQuery = 60;

const isConflict = (error: unknown): boolean => error instanceof AgentError && error.code === 'http-conflict';

async function put(call: PlacementCall, path: string, version: string, body: unknown): Promise<HttpAnswer> {
  try {
    return await call('PUT', path, { version, body });
  } catch (error) {
    if (!isConflict(error)) throw error;
    // Before 1.23 answers have no error code; there the only conflict is the generation.
    if (faultTypeOfError(error) === 'placement.inventory.inuse') {
      throw new AgentError('placement-inventory-in-use', 'a resource class that has allocations cannot be removed or shrunk away', { cause: error, details: { path } });
    }
    throw new AgentError('placement-generation-conflict', 'somebody else changed the resource provider', { retry: 'later', cause: error, details: { path } });
  }
}

/** AgentError `placement-strange` when the body is not what the API promises. */
export function parsed<Schema extends z.ZodType>(schema: Schema, body: unknown): z.infer<Schema> {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  throw new AgentError('placement-strange', 'Placement answered with something that was not expected', { retry: 'later', details: { where: result.error.issues[0]?.path.join('.') ?? '' } });
}
