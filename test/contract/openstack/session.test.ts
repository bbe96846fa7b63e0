import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createGlanceClient, createNeutronClient, createPlacementClient, createSession, type Auth, type Session } from '../../../src/openstack/index.js';
import { parseImageId } from '../../../src/lib/ids.js';
import { AgentError, codeOf, wireFaultOf } from '../../../src/lib/errors.js';
import type { RequestContext } from '../../../src/rpc/context.js';
import { startFakeCloud, type FakeCloud } from '../../fakes/openstack-http.js';
import { recordingLog, type RecordingLog } from '../../fakes/recording-log.js';
import { createVirtualClock, type VirtualClock } from '../../fakes/virtual-clock.js';

let cloud: FakeCloud;
let clock: VirtualClock;
let log: RecordingLog;
let sessions: Session[];
const image = parseImageId('0f3c7d2a-5b1e-4c1e-9a57-0c5d7e3f1a21');
const context: RequestContext = {
  requestId: 'req-6a7c52ae-0f6e-4d1c-9e0e-0d6b8b1f2a3c', globalRequestId: null, userId: 'u', projectId: 'p', isAdmin: false, roles: [], authToken: 'user-token', readDeleted: 'no', wire: {},
};

beforeEach(async () => {
  cloud = await startFakeCloud();
  clock = createVirtualClock();
  log = recordingLog();
  sessions = [];
});
afterEach(async () => {
  sessions.forEach((session) => session.close());
  await cloud.close();
});

const password = (changes: Partial<Auth> = {}): Auth => ({ kind: 'password', authUrl: `${cloud.url}/`, username: 'neutron', password: cloud.keystone.password, userDomainName: 'Default',
  projectName: 'service', projectDomainId: 'default', ...changes } as Auth);
function session(auth: Auth = password(), extra: Partial<Parameters<typeof createSession>[0]> = {}): Session {
  const made = createSession({ section: 'neutron', auth, clock, log: log.log, ...extra });
  sessions.push(made);
  return made;
}
const network = { serviceType: 'network', regionName: 'RegionOne' };
const errorOf = async (work: Promise<unknown>): Promise<AgentError> => {
  const error = await work.then(() => undefined, (reason: unknown) => reason);
  expect(error).toBeInstanceOf(AgentError);
  return error as AgentError;
};

describe('a login', () => {
  test('says who we are and for which project', async () => {
    await session().token();
    expect(cloud.keystone.logins).toEqual([{
      identity: { methods: ['password'], password: { user: { name: 'neutron', domain: { name: 'Default' }, password: 'secret-password' } } },
      scope: { project: { name: 'service', domain: { id: 'default' } } } }]);
  });

  test('by application credential names no project', async () => {
    await session({ kind: 'application-credential', authUrl: `${cloud.url}/v3/`, id: 'credential', secret: cloud.keystone.password }).token();
    expect(cloud.keystone.logins).toEqual([{ identity: { methods: ['application_credential'], application_credential: { id: 'credential', secret: 'secret-password' } } }]);
  });

  test('is shared by those who ask at the same time', async () => {
    const one = session();
    expect(new Set(await Promise.all([one.token(), one.token(), one.token()])).size).toBe(1);
    expect(cloud.keystone.logins).toHaveLength(1);
  });

  test('goes on when the caller who began it gives up', async () => {
    const one = session();
    const controller = new AbortController();
    const first = one.token(controller.signal);
    const second = one.token();
    controller.abort(new AgentError('aborted', 'enough'));
    await expect(first).rejects.toMatchObject({ code: 'aborted' });
    expect(await second).toBe('token-1');
  });

  test('is renewed before the token ends, whatever the wall clock says', async () => {
    const one = session();
    expect(await one.token()).toBe('token-1');
    clock.advance(3_600_000 - 61_000);
    expect(await one.token()).toBe('token-1');
    clock.advance(2_000);
    expect(await one.token()).toBe('token-2');
  });

  test('that is refused says which section to look at, and no password', async () => {
    const error = await errorOf(session(password({ password: 'wrong-password' })).token());
    expect(error.code).toBe('keystone-refused');
    expect(error.message).toContain('[neutron]');
    expect(JSON.stringify([error.message, error.details, String(error.cause)])).not.toContain('wrong-password');
  });

  test('that failed is tried again by the next caller', async () => {
    const one = session();
    cloud.keystone.password = 'changed';
    await errorOf(one.token());
    cloud.keystone.password = 'secret-password';
    expect(await one.token()).toBe('token-1');
  });
});

describe('the catalogue', () => {
  test('gives the endpoint of the region, internal before public, without version and slash', async () => {
    expect(await session().endpoint(network)).toBe(`${cloud.url}/internal/network`);
    expect(await session().endpoint({ ...network, validInterfaces: ['admin', 'public'] })).toBe(`${cloud.url}/admin/network`);
    expect(await session().endpoint({ serviceType: 'network' })).toBe(`${cloud.url}/internal/two`);
  });

  test('is not asked when the endpoint is configured', async () => {
    expect(await session().endpoint({ ...network, endpointOverride: 'http://neutron:9696/v2.0' })).toBe('http://neutron:9696');
    expect(cloud.keystone.logins).toEqual([]);
  });

  test('that lacks a service is read again the next time', async () => {
    const one = session();
    const whole = cloud.keystone.catalog;
    cloud.keystone.catalog = [];
    expect((await errorOf(one.endpoint(network))).code).toBe('endpoint-not-found');
    cloud.keystone.catalog = whole;
    expect(await one.endpoint(network)).toContain('/internal/network');
  });
});

describe('a request', () => {
  const serve = (handler: Parameters<FakeCloud['services']['set']>[1]): void => void cloud.services.set('/internal/network', cloud.keystone.guard(handler));

  test('with a token that was revoked is repeated once with a new one', async () => {
    serve(() => ({ status: 200, body: { fine: true } }));
    const one = session();
    await one.token();
    cloud.keystone.tokens.clear();
    expect((await one.send({ method: 'POST', path: '/v2.0/ports', body: {} }, network)).status).toBe(200);
    expect(cloud.keystone.logins).toHaveLength(2);
  });

  test('that is refused twice is not repeated for ever', async () => {
    cloud.services.set('/internal/network', () => ({ status: 401 }));
    expect((await session().send({ method: 'GET', path: '/v2.0/ports' }, network)).status).toBe(401);
    expect(cloud.requests.filter((one) => one.path.endsWith('/ports'))).toHaveLength(2);
  });

  test.each(['GET', 'PUT', 'DELETE'] as const)('%s survives a server that drops kept connections', async (method) => {
    serve((request) => (request.earlierOnConnection > 0 ? 'reset' : { status: 200, body: {} }));
    const one = session();
    for (let round = 0; round < 4; round += 1) expect((await one.send({ method, path: '/v2.0/ports' }, network)).status).toBe(200);
  });

  test('POST takes a fresh connection, and is not repeated when that breaks', async () => {
    let posts = 0;
    serve((request) => {
      if (request.method !== 'POST') return { status: 200, body: {} };
      posts += 1;
      expect(request.earlierOnConnection).toBe(0);
      return posts === 1 ? { status: 201, body: {} } : 'reset';
    });
    const one = session();
    await one.send({ method: 'GET', path: '/v2.0/ports' }, network);
    expect((await one.send({ method: 'POST', path: '/v2.0/ports', body: {} }, network)).status).toBe(201);
    const error = await errorOf(one.send({ method: 'POST', path: '/v2.0/ports', body: {} }, network));
    expect([error.code, error.retry, posts]).toEqual(['http-unreachable', 'later', 2]);
  });

  test('whose answer breaks off in the middle is repeated', async () => {
    let answers = 0;
    serve(() => ({ status: 200, body: { fine: true }, cut: (answers += 1) < 3 }));
    expect((await session().send({ method: 'GET', path: '/v2.0/ports' }, network)).body).toEqual({ fine: true });
    expect(answers).toBe(3);
  });

  test('gives up after a bounded number of resets', async () => {
    serve(() => 'reset');
    expect((await errorOf(session().send({ method: 'GET', path: '/v2.0/ports' }, network))).code).toBe('http-unreachable');
    expect(cloud.requests.filter((one) => one.path.endsWith('/ports'))).toHaveLength(4);
  });

  test('that gets no answer ends at its limit', async () => {
    let hung = (): void => undefined;
    const isHung = new Promise<void>((resolve) => (hung = resolve));
    serve(() => {
      hung();
      return 'hang';
    });
    const work = errorOf(session(password(), { timeoutMs: 5_000 }).send({ method: 'GET', path: '/v2.0/ports' }, network));
    await isHung;
    clock.advance(5_001);
    expect((await work).code).toBe('http-timeout');
  });

  test('with an answer beyond the limit fails', async () => {
    serve(() => ({ status: 200, body: 'x'.repeat(40 * 1024 * 1024) }));
    expect((await errorOf(session().send({ method: 'GET', path: '/v2.0/ports' }, network))).code).toBe('http-answer-too-large');
  });

  test('to a place where nobody listens is an unreachable service', async () => {
    const away = { ...network, endpointOverride: 'http://127.0.0.1:9' };
    expect((await errorOf(session().send({ method: 'GET', path: '/' }, away))).code).toBe('http-unreachable');
  });
});

describe('neutron', () => {
  const client = (serviceUser: Session | null = null): ReturnType<typeof createNeutronClient> =>
    createNeutronClient({ session: session(), serviceUser, endpoint: { regionName: 'RegionOne' }, clock });

  test('hears the user with our service token beside it, or the service, and always the request id', async () => {
    cloud.services.set('/internal/network', () => ({ status: 200, body: {} }));
    const neutron = client(session(password({ username: 'nova' })));
    await neutron.request({ asUser: context }, 'GET', '/v2.0/networks', { query: { id: ['a', 'b'], fields: 'name' } });
    await neutron.request('asService', 'PUT', '/v2.0/ports/x', { context, body: { port: {} } });
    await neutron.request({ asUser: { ...context, isAdmin: true, authToken: null } }, 'GET', '/v2.0/networks');
    const seen = cloud.requests.filter((one) => one.path.startsWith('/internal/network'))
      .map(({ headers }) => [headers['x-auth-token'] === 'user-token', headers['x-service-token']?.startsWith('token-'), headers['x-openstack-request-id']]);
    expect(seen).toEqual([[true, true, context.requestId], [false, true, context.requestId], [false, true, context.requestId]]);
    expect(cloud.requests.find((one) => one.path.endsWith('/networks'))?.query.getAll('id')).toEqual(['a', 'b']);
  });

  test('is not asked for a user without a token', async () => {
    expect((await errorOf(client().request({ asUser: { ...context, authToken: null } }, 'GET', '/v2.0/networks'))).code).toBe('http-unauthorized');
  });

  test.each([[400, 'http-bad-request'], [401, 'http-unauthorized'], [403, 'http-forbidden'], [404, 'http-not-found'], [409, 'http-conflict'], [429, 'http-server-error'], [503, 'http-server-error']])(
    'says %i: %s, by its own name for it and nothing of the body', async (status, code) => {
      cloud.services.set('/internal/network', () => ({ status, headers: { 'x-openstack-request-id': context.requestId },
        body: { NeutronError: { type: 'IpAddressInUse', message: 'secret words', detail: '' } } }));
      const error = await errorOf(client().request({ asUser: context }, 'GET', '/v2.0/ports', { query: { name: 'secret words' } }));
      expect(error.code).toBe(code);
      expect(error.details).toEqual({ service: 'network', method: 'GET', path: '/v2.0/ports', status, requestId: context.requestId, faultType: 'IpAddressInUse' });
      expect(JSON.stringify([error.message, error.details, error.stack])).not.toMatch(/secret words|user-token|token-1/);
    });

  test('is asked for its extensions once in a while, and again after a failure', async () => {
    let answers = 0;
    cloud.services.set('/internal/network/v2.0/extensions', () => ((answers += 1) === 1 ? { status: 503 } : { status: 200, body: { extensions: [{ alias: 'dns-integration' }] } }));
    const neutron = client();
    await errorOf(neutron.extensions());
    expect(await neutron.extensions()).toEqual(new Set(['dns-integration']));
    await neutron.extensions();
    expect(answers).toBe(2);
    clock.advance(600_001);
    await neutron.extensions();
    expect(answers).toBe(3);
  });
});

describe('glance', () => {
  const octets = Buffer.alloc(300_000, 7);
  const client = (extra: object = {}): ReturnType<typeof createGlanceClient> =>
    createGlanceClient({ session: session(), serviceUser: null, endpoint: { regionName: 'RegionOne' }, clock, log: log.log, ...extra });
  const serveFile = (handler: Parameters<FakeCloud['services']['set']>[1]): void => void cloud.services.set(`/internal/image/v2/images/${image}/file`, handler);
  const fetchAll = async (): Promise<Buffer> => {
    const parts: Uint8Array[] = [];
    for await (const part of await client().download(context, image, new AbortController().signal)) parts.push(part);
    return Buffer.concat(parts);
  };

  test('shows an image with its properties as text and without the attributes of the API', async () => {
    cloud.services.set(`/internal/image/v2/images/${image}`, () => ({ status: 200, body: {
      id: image, name: 'cirros', status: 'active', disk_format: 'raw', container_format: 'bare', size: 4194304, min_disk: 1, min_ram: 32, checksum: 'c', os_hash_algo: 'sha512', os_hash_value: 'h',
      visibility: 'public', owner: 'o', tags: [], self: '/v2', file: '/f', schema: '/s', os_hidden: false, virtual_size: null, hw_disk_bus: 'virtio', img_config_drive: 'mandatory', stores: 'a' } }));
    expect(await client().show(context, image)).toEqual({ id: image, name: 'cirros', status: 'active', diskFormat: 'raw', containerFormat: 'bare', sizeBytes: 4194304n, minDiskGiB: 1, minRamMiB: 32,
      checksum: 'c', hashAlgorithm: 'sha512', hashValue: 'h', properties: { hw_disk_bus: 'virtio', img_config_drive: 'mandatory' } });
  });

  test.each([[404, 'ImageNotFound'], [403, 'ImageNotAuthorized'], [204, 'ImageNotActive']])('answers %i to a download: %s', async (status, className) => {
    serveFile(() => ({ status }));
    expect(wireFaultOf(await errorOf(fetchAll()))?.className).toBe(className);
  });

  test('is downloaded whole', async () => {
    serveFile(() => ({ status: 200, octets, headers: { 'content-type': 'application/octet-stream' } }));
    expect((await fetchAll()).equals(octets)).toBe(true);
  });

  test('is tried again before the first octet, on the next server', async () => {
    let tries = 0;
    serveFile(() => ((tries += 1) < 3 ? { status: 503 } : { status: 200, octets }));
    expect((await fetchAll()).length).toBe(octets.length);
    cloud.services.set(`/second/v2/images/${image}/file`, () => ({ status: 200, octets }));
    const servers = { apiServers: ['http://127.0.0.1:9', `${cloud.url}/second/v2`], random: () => 0 };
    let bytes = 0;
    for await (const part of await client(servers).download(context, image, new AbortController().signal)) bytes += part.byteLength;
    expect(bytes).toBe(octets.length);
  });

  test('is not tried again after the first octet: what broke off is an error', async () => {
    let tries = 0;
    serveFile(() => {
      tries += 1;
      return { status: 200, octets, cut: true };
    });
    expect((await errorOf(fetchAll())).code).toBe('http-unreachable');
    expect(tries).toBe(1);
  });

  test('that stops in the middle ends at the stall limit', async () => {
    serveFile(() => ({ status: 200, octets: octets.subarray(0, 10), headers: { 'content-length': '20' } }));
    const reader = (await client().download(context, image, new AbortController().signal))[Symbol.asyncIterator]();
    await reader.next();
    const work = errorOf(reader.next());
    clock.advance(60_001);
    expect((await work).code).toBe('http-timeout');
  });

  test('that is cancelled ends at once', async () => {
    serveFile(() => ({ status: 200, octets: octets.subarray(0, 10), headers: { 'content-length': '20' } }));
    const controller = new AbortController();
    const reader = (await client().download(context, image, controller.signal))[Symbol.asyncIterator]();
    await reader.next();
    const work = errorOf(reader.next());
    controller.abort(new AgentError('aborted', 'deleted meanwhile'));
    expect((await work).code).toBe('aborted');
  });

  test('forgives the removal of an image that is gone', async () => {
    cloud.services.set(`/internal/image/v2/images/${image}`, () => ({ status: 404 }));
    await client().remove(context, image);
    expect(cloud.requests.at(-1)?.method).toBe('DELETE');
  });
});

describe('placement', () => {
  const consumer = '69e439e8-259a-443a-876b-62979aca17c9';
  const serve = (path: string, handler: Parameters<FakeCloud['services']['set']>[1]): void => void cloud.services.set(`/internal/placement${path}`, handler);
  const client = (): ReturnType<typeof createPlacementClient> => {
    serve('', (request) => (request.path === '/internal/placement/' ? { status: 200, body: { versions: [{ max_version: '1.39' }] } } : { status: 404 }));
    return createPlacementClient({ session: session(), endpoint: { regionName: 'RegionOne' }, clock, random: () => 0.5 });
  };
  const conflict = { status: 409, body: { errors: [{ code: 'placement.concurrent_update' }] } };

  test('is asked for its versions first, once, and each call names its microversion', async () => {
    const placement = client();
    serve('/traits', () => ({ status: 200, body: { traits: ['COMPUTE_NODE'] } }));
    await placement.knownTraits(['COMPUTE_NODE', 'CUSTOM_X']);
    await placement.knownTraits(['COMPUTE_NODE']);
    const calls = cloud.requests.filter((one) => one.path.startsWith('/internal/placement'));
    expect(calls.map((one) => [one.path, one.headers['openstack-api-version']])).toEqual([['/internal/placement/', undefined], ['/internal/placement/traits', 'placement 1.6'],
      ['/internal/placement/traits', 'placement 1.6']]);
  });

  test('that is too old is refused with what to do', async () => {
    const placement = client();
    serve('', () => ({ status: 200, body: { versions: [{ max_version: '1.17' }] } }));
    expect((await errorOf(placement.inventories(consumer))).code).toBe('placement-too-old');
  });

  test('tells a lost race from an inventory in use', async () => {
    const placement = client();
    serve('/resource_providers', () => conflict);
    expect((await errorOf(placement.putInventories(consumer, 1, {}))).code).toBe('placement-generation-conflict');
    serve('/resource_providers', () => ({ status: 409, body: { errors: [{ code: 'placement.inventory.inuse' }] } }));
    expect((await errorOf(placement.putInventories(consumer, 1, {}))).code).toBe('placement-inventory-in-use');
  });

  test('repeats a write of allocations that lost a race about a provider, not one about the consumer', async () => {
    const placement = client();
    let generation = 3;
    let puts = 0;
    serve('/allocations', (request) => {
      if (request.method === 'GET') return { status: 200, body: { allocations: { [consumer]: { resources: { VCPU: 1 }, generation: 9 } }, project_id: 'p', user_id: 'u', consumer_generation: generation } };
      puts += 1;
      return puts < 3 ? conflict : { status: 204 };
    });
    expect(await placement.removeAllocations(consumer)).toBe(true);
    expect([puts, clock.sleptMs]).toEqual([3, 3_000]);
    expect(cloud.requests.at(-1)?.body).toEqual({ allocations: {}, project_id: 'p', user_id: 'u', consumer_generation: 3 });
    puts = 0;
    generation = 4;
    const stale = { allocations: {}, projectId: 'p', userId: 'u', consumerGeneration: 3 };
    expect(codeOf(await errorOf(placement.putAllocations(consumer, stale)))).toBe('placement-generation-conflict');
    expect(puts).toBe(1);
  });

  test('moves what a migration holds to the instance in one request, and one provider can be taken out', async () => {
    const placement = client();
    const [a, b, migration] = ['aa', 'bb', 'mm'].map((head) => `${head}e439e8-259a-443a-876b-62979aca17c9`) as [string, string, string];
    const held: Record<string, unknown> = { [migration]: { allocations: { [a]: { resources: { VCPU: 1 } }, [b]: { resources: { VCPU: 2 } } }, project_id: 'p', user_id: 'u', consumer_generation: 5 },
      [consumer]: { allocations: {}, consumer_generation: 7 } };
    serve('/allocations', (request) => (request.method === 'GET' ? { status: 200, body: held[request.path.split('/').at(-1) ?? ''] ?? { allocations: {} } } : { status: 204 }));
    await placement.moveAllocations(migration, consumer);
    expect(cloud.requests.at(-1)?.body).toEqual({
      [migration]: { allocations: {}, project_id: 'p', user_id: 'u', consumer_generation: 5 },
      [consumer]: { allocations: { [a]: { resources: { VCPU: 1 } }, [b]: { resources: { VCPU: 2 } } }, project_id: 'p', user_id: 'u', consumer_generation: 7 } });
    await placement.removeProviderFromAllocations(migration, a);
    expect(cloud.requests.at(-1)?.body).toMatchObject({ allocations: { [b]: { resources: { VCPU: 2 } } } });
    const before = cloud.requests.length;
    await placement.moveAllocations(consumer, migration);
    await placement.removeProviderFromAllocations(migration, consumer);
    expect(cloud.requests.slice(before).every((one) => one.method === 'GET')).toBe(true);
  });
});

test('no token and no password is in any log line', async () => {
  cloud.services.set('/internal/network', () => ({ status: 503 }));
  const neutron = createNeutronClient({ session: session(), serviceUser: session(), endpoint: { regionName: 'RegionOne' }, clock });
  const error = await errorOf(neutron.request({ asUser: context }, 'GET', '/v2.0/ports'));
  log.log.error({ err: error }, 'as an operator would see it');
  const away = await errorOf(session().send({ method: 'GET', path: '/' }, { ...network, endpointOverride: 'http://127.0.0.1:9' }));
  log.log.error({ err: away }, 'as an operator would see it');
  expect(log.lines().length).toBeGreaterThan(3);
  expect(JSON.stringify(log.lines())).not.toMatch(/user-token|token-\d|secret-password/);
});
