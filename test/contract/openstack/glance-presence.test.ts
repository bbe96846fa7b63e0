/** Whether an image is gone, over real connections: what counts as "gone", and what must never be taken for it. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { codeOf } from '../../../src/lib/errors.js';
import { parseImageId } from '../../../src/lib/ids.js';
import { createGlanceClient, createSession, type GlanceClient, type Session } from '../../../src/openstack/index.js';
import { startFakeCloud, type FakeCloud, type FakeReply } from '../../fakes/openstack-http.js';
import { recordingLog } from '../../fakes/recording-log.js';
import { createVirtualClock } from '../../fakes/virtual-clock.js';

const id = parseImageId('0f3c7d2a-5b1e-4c1e-9a57-0c5d7e3f1a21');
const never = new AbortController().signal;
let cloud: FakeCloud;
let session: Session;
beforeEach(async () => {
  cloud = await startFakeCloud();
  cloud.keystone.roles = ['service', 'admin'];
});
afterEach(async () => {
  session.close();
  await cloud.close();
});

const list: FakeReply = { status: 200, body: { images: [] } };

function client(): GlanceClient {
  session = createSession({ section: 'glance', auth: { kind: 'password', authUrl: cloud.url, username: 'nova', password: 'secret-password' }, clock: createVirtualClock(), log: recordingLog().log, retries: 0 });
  return createGlanceClient({ session, serviceUser: null, endpoint: { endpointOverride: cloud.url }, clock: createVirtualClock(), log: recordingLog().log });
}

/** Asks a Glance that answers like this about the image, and about all images. */
function ask(image: FakeReply, all: FakeReply = list): Promise<boolean | null> {
  cloud.services.set('/v2/images', cloud.keystone.guard(() => all));
  cloud.services.set(`/v2/images/${id}`, cloud.keystone.guard(() => image));
  return client().isGone(id, never);
}

test.each([['active', false], ['queued', false], ['deactivated', false], ['pending_delete', true]] as const)('an image that is %s: %s', async (status, isGone) => {
  expect(await ask({ status: 200, body: { id, status } })).toBe(isGone);
});

test('an image that Glance does not have is gone, if the same Glance can list images', async () => {
  expect(await ask({ status: 404 })).toBe(true);
  expect(cloud.requests.map(({ path }) => path)).toEqual(['/v3/auth/tokens', `/v2/images/${id}`, '/v2/images']);
});

test('somebody who does not see every image is not asked', async () => {
  cloud.keystone.roles = ['service', 'member'];
  expect(await ask({ status: 404 })).toBeNull();
  expect(cloud.requests.map(({ path }) => path)).toEqual(['/v3/auth/tokens']);
});

test.each<[string, FakeReply, FakeReply, string]>([
  ['a 404 of something that is no Glance', { status: 404 }, { status: 404 }, 'glance-strange'],
  ['a page of something else', { status: 404 }, { status: 200, body: { hello: 'world' } }, 'glance-strange'],
  ['another image', { status: 200, body: { id: 'x', status: 'deleted' } }, list, 'glance-strange'],
  ['an error', { status: 503 }, list, 'http-server-error'],
  ['a refusal', { status: 403 }, list, 'http-forbidden'],
])('%s says nothing', async (_what, image, all, code) => {
  expect(await ask(image, all).then(String, codeOf)).toBe(code);
});

test('images by property are listed to their last page; not to somebody who does not see every image, nor by something that is no Glance', async () => {
  const ids = Array.from({ length: 201 }, (_, at) => `0f3c7d2a-5b1e-4c1e-9a57-${String(at).padStart(12, '0')}`);
  cloud.services.set('/v2/images', cloud.keystone.guard(({ query }) => {
    const rest = ids.slice(ids.indexOf(query.get('marker') ?? '') + 1);
    const page = query.get('bhyve_checkpoint_host') === 'h' ? rest.slice(0, Number(query.get('limit'))) : [];
    return { status: 200, body: { images: page.map((one) => ({ id: one })), ...(page.length < rest.length ? { next: '/v2/images?marker=x' } : {}) } };
  }));
  expect([...(await client().seen({ bhyve_checkpoint_host: 'h' }, never)) ?? []]).toEqual(ids);
  session.close();
  cloud.services.set('/v2/images', () => ({ status: 404 }));
  expect(await client().seen({}, never).then(String, codeOf)).toBe('glance-strange');
  session.close();
  cloud.keystone.roles = ['member'];
  expect(await client().seen({}, never)).toBeNull();
});

test('hidden images are found, looked at and deleted with a log-in of our own, if that is an administrator\'s', async () => {
  const asked: string[] = [];
  const image = { id, status: 'active', os_hidden: true, bhyve_checkpoint_part_of: 'x' };
  cloud.services.set('/v2/images', cloud.keystone.guard(({ query }) => ({ status: 200, body: { images: query.get('os_hidden') === 'true' && query.get('bhyve_checkpoint_host') === 'h' ? [image] : [] } })));
  cloud.services.set(`/v2/images/${id}`, cloud.keystone.guard(({ method }) => {
    asked.push(method);
    return asked.length > 2 ? { status: 404 } : method === 'DELETE' ? { status: 204 } : { status: 200, body: image };
  }));
  const glance = client();
  expect(await glance.hidden({ bhyve_checkpoint_host: 'h' }, never)).toMatchObject([{ id, status: 'active', properties: { bhyve_checkpoint_part_of: 'x' } }]);
  expect(await glance.look(id, never)).toMatchObject({ id, status: 'active' });
  await glance.discard(id, never);
  await glance.discard(id, never);
  expect([await glance.look(id, never), asked]).toEqual([null, ['GET', 'DELETE', 'DELETE', 'GET']]);
  session.close();
  cloud.keystone.roles = ['member'];
  const other = client();
  expect([await other.hidden({}, never), await other.look(id, never), await other.discard(id, never)]).toEqual([null, null, undefined]);
  expect(asked).toHaveLength(4);
});
