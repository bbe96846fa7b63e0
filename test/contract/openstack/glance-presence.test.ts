/** Whether an image is gone, over real connections: what counts as "gone", and what must never be taken for it. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { codeOf } from '../../../src/lib/errors.js';
import { parseImageId } from '../../../src/lib/ids.js';
import { createGlanceClient, createSession, type Session } from '../../../src/openstack/index.js';
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

/** Asks a Glance that answers like this about the image, and about all images. */
function ask(image: FakeReply, all: FakeReply = list): Promise<boolean | null> {
  cloud.services.set('/v2/images', cloud.keystone.guard(() => all));
  cloud.services.set(`/v2/images/${id}`, cloud.keystone.guard(() => image));
  session = createSession({ section: 'glance', auth: { kind: 'password', authUrl: cloud.url, username: 'nova', password: 'secret-password' }, clock: createVirtualClock(), log: recordingLog().log, retries: 0 });
  return createGlanceClient({ session, serviceUser: null, endpoint: { endpointOverride: cloud.url }, clock: createVirtualClock(), log: recordingLog().log }).isGone(id, never);
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
