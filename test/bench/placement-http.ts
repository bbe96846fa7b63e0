/** The fake Placement over HTTP, as far as the agent asks it. */
import type { FakePlacement } from '../fakes/placement.js';
import type { FakeHandler, FakeReply, FakeRequest } from '../fakes/openstack-http.js';
import { codeOf } from '../../src/lib/errors.js';

type Allocations = Parameters<FakePlacement['putAllocations']>[1];

interface AllocationsBody {
  readonly allocations: Allocations['allocations'];
  readonly consumer_generation: number | null;
  readonly project_id: string;
  readonly user_id: string;
}

const ok = (body: unknown, status = 200): FakeReply => ({ status, body });
const statusOf: Readonly<Record<string, number>> = { 'http-not-found': 404, 'placement-generation-conflict': 409, 'placement-name-clash': 409, 'placement-inventory-in-use': 409, 'http-bad-request': 400 };

export const placementOver = (placement: FakePlacement): FakeHandler => async (request) => {
  placement.requests.length = 0; // it remembers what it was asked, for tests
  try {
    return await answer(placement, request);
  } catch (error) {
    const status = statusOf[codeOf(error) ?? ''];
    if (status === undefined) throw error;
    return ok({ errors: [{ status, detail: (error as Error).message }] }, status);
  }
};

async function answer(placement: FakePlacement, request: FakeRequest): Promise<FakeReply> {
  const [, , what = '', key = '', part = ''] = request.path.split('/');
  switch (`${request.method} /${what}${key === '' ? '' : '/KEY'}${part === '' ? '' : `/${part}`}`) {
    case 'GET /': return ok({ versions: [{ id: 'v1.0', max_version: '1.39', min_version: '1.0' }] });
    case 'GET /resource_providers': return ok({ resource_providers: await providers(placement, request) });
    case 'POST /resource_providers': {
      const { uuid, name } = request.body as { uuid: string; name: string };
      return ok(await placement.createProvider(uuid, name));
    }
    case 'DELETE /resource_providers/KEY': return ok(await placement.deleteProvider(key), 204);
    case 'GET /traits': return ok({ traits: [...await placement.knownTraits((request.query.get('name') ?? '').replace(/^in:/, '').split(','))] });
    case 'PUT /traits/KEY': return ok(await placement.createCustomTrait(decodeURIComponent(key)), 201);
    case 'GET /allocations/KEY': {
      const { allocations, projectId, userId, consumerGeneration } = await placement.allocationsOf(key);
      return ok({ allocations, ...(projectId === null ? {} : { project_id: projectId, user_id: userId, consumer_generation: consumerGeneration }) });
    }
    case 'PUT /allocations/KEY': {
      const { allocations, consumer_generation: consumerGeneration, project_id: projectId, user_id: userId } = request.body as AllocationsBody;
      return ok(await placement.putAllocations(key, { allocations, consumerGeneration, projectId, userId }), 204);
    }
    case 'DELETE /allocations/KEY': return ok(await placement.deleteAllocations(key), 204);
    default: return ofProvider(placement, request, key, part);
  }
}

async function providers(placement: FakePlacement, { query }: FakeRequest): Promise<unknown[]> {
  const name = query.get('name');
  if (name === null) return placement.providersInTree(query.get('in_tree') ?? '');
  const found = await placement.providerByName(name);
  return found === null ? [] : [found];
}

async function ofProvider(placement: FakePlacement, { method, path, body }: FakeRequest, uuid: string, part: string): Promise<FakeReply> {
  const { resource_provider_generation: given, inventories, traits } = (body ?? {}) as { resource_provider_generation: number; inventories: never; traits: string[] };
  switch (`${method} ${part}`) {
    case 'GET inventories': {
      const { generation, inventories: have } = await placement.inventories(uuid);
      return ok({ resource_provider_generation: generation, inventories: have });
    }
    case 'PUT inventories': return ok({ resource_provider_generation: await placement.putInventories(uuid, given, inventories) });
    case 'GET traits': {
      const { generation, traits: have } = await placement.traits(uuid);
      return ok({ resource_provider_generation: generation, traits: have });
    }
    case 'PUT traits': return ok({ resource_provider_generation: await placement.putTraits(uuid, given, traits) });
    case 'GET allocations': return ok({ allocations: await placement.allocationsOnProvider(uuid) });
    default: throw new Error(`the stand-in Placement does not know ${method} ${path}`);
  }
}
