/** Dynamic vendor data, over HTTP on the loopback: the request as nova/api/metadata/vendordata_dynamic.py makes it, and every answer that is none. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../../src/lib/clock.js';
import { createSession, createVendorDataClient, type Session, type VendorDataClient } from '../../../src/openstack/index.js';
import { fakeInstance } from '../../fakes/conductor-rows.js';
import { startFakeCloud, type FakeCloud, type FakeReply } from '../../fakes/openstack-http.js';
import { recordingLog, type RecordingLog } from '../../fakes/recording-log.js';

const uuid = '11111111-1111-4111-8111-111111111111';
const instance = fakeInstance(uuid, { image_ref: 'image-1', user_data: 'I2Nsb3VkLWNvbmZpZwo=', metadata: { role: 'web' }, system_metadata: { boot_roles: 'member,reader', other: 'x' } });
let cloud: FakeCloud;
let log: RecordingLog;
beforeAll(async () => { cloud = await startFakeCloud(); });
afterAll(() => cloud.close());
beforeEach(() => {
  cloud.requests.length = 0;
  for (const prefix of [...cloud.services.keys()].filter((one) => one.startsWith('/say'))) cloud.services.delete(prefix);
  log = recordingLog();
});

function session(): Session {
  return createSession({
    section: 'vendordata_dynamic_auth', clock: systemClock, log: log.log,
    auth: { kind: 'password', authUrl: cloud.url, username: 'nova', password: cloud.keystone.password, userDomainName: 'Default', projectName: 'service', projectDomainName: 'Default' },
  });
}
const client = (targets: readonly string[], more: { session?: Session; isFailureFatal?: boolean; timeoutMs?: number } = {}): VendorDataClient =>
  createVendorDataClient({ targets, session: null, caFile: null, timeoutMs: 5000, isFailureFatal: false, clock: systemClock, log: log.log, ...more });
const asked = () => cloud.requests.filter(({ path }) => path.startsWith('/say'));
const warnings = (): string[] => log.lines().filter(({ level }) => Number(level) === 40).map(({ msg }) => String(msg));

test('each target is asked who the guest is, with a token, and its answer goes under its name', async () => {
  cloud.services.set('/say', cloud.keystone.guard(({ path }) => ({ status: 200, body: { from: path } })));
  const login = session();
  expect(await client([`one@${cloud.url}/say/v1?x=a@b`, `two@${cloud.url}/say/2`], { session: login }).fetch(instance)).toEqual({ one: { from: '/say/v1' }, two: { from: '/say/2' } });
  login.close();
  expect(asked().map(({ method, path, query }) => [method, path, query.get('x')])).toEqual([['POST', '/say/v1', 'a@b'], ['POST', '/say/2', null]]);
  expect(asked()[0]).toMatchObject({
    headers: { 'content-type': 'application/json', accept: 'application/json', 'user-agent': 'openstack-nova-vendordata' },
    body: { 'project-id': 'project', 'instance-id': uuid, 'image-id': 'image-1', 'user-data': 'I2Nsb3VkLWNvbmZpZwo=', hostname: 'web-1', metadata: { role: 'web' }, 'boot-roles': 'member,reader' },
  });
  expect(Object.keys(asked()[0]?.body as object)).toHaveLength(7);
  expect(warnings()).toEqual([]);
});

test('a token that is not good any more is taken anew, once', async () => {
  cloud.services.set('/say', cloud.keystone.guard(() => ({ status: 200, body: { a: 1 } })));
  const login = session();
  await login.token();
  cloud.keystone.tokens.clear();
  expect(await client([`one@${cloud.url}/say`], { session: login }).fetch(instance)).toEqual({ one: { a: 1 } });
  login.close();
  expect(asked()).toHaveLength(2);
});

test('without a log-in the request carries no token, and that is said once', async () => {
  cloud.services.set('/say', () => ({ status: 200, body: [1, 2] }));
  const one = client([`one@${cloud.url}/say`]);
  expect([await one.fetch(instance), await one.fetch(instance)]).toEqual([{ one: [1, 2] }, { one: [1, 2] }]);
  expect(asked()[0]?.headers['x-auth-token']).toBeUndefined();
  expect(warnings()).toEqual(['dynamic vendor data are asked for without a token: [vendordata_dynamic_auth] has no log-in']);
});

test.each<[string, FakeReply]>([
  ['refuses', { status: 403, body: { error: { message: 'no' } } }], ['is broken', { status: 500 }], ['says what is not JSON', { status: 200, octets: Buffer.from('<html>') }], ['breaks off', 'reset'], ['hangs', 'hang'],
])('a target that %s leaves an empty object beside the others, or fails the drive when that is fatal', async (_what, reply) => {
  cloud.services.set('/say/bad', () => reply);
  cloud.services.set('/say/good', () => ({ status: 200, body: { a: 1 } }));
  const targets = [`bad@${cloud.url}/say/bad`, `good@${cloud.url}/say/good`];
  expect(await client(targets, { timeoutMs: 300 }).fetch(instance)).toEqual({ bad: {}, good: { a: 1 } });
  expect(asked().filter(({ path }) => path === '/say/bad')).toHaveLength(1);
  expect(warnings()).toContain('dynamic vendor data not fetched; the guest gets none of this target');
  await expect(client(targets, { timeoutMs: 300, isFailureFatal: true }).fetch(instance)).rejects.toMatchObject({ code: 'vendor-data-unavailable', details: { target: 'bad' } });
});

test('an empty answer is an empty object, and no failure', async () => {
  cloud.services.set('/say', () => ({ status: 204 }));
  expect(await client([`one@${cloud.url}/say`], { isFailureFatal: true }).fetch(instance)).toEqual({ one: {} });
});

test('a target without a name and a second one of a name are left out, and no line shows a URL: it may hold a password', async () => {
  cloud.services.set('/say', ({ path }) => ({ status: 200, body: { path } }));
  const withPassword = cloud.url.replace('http://', 'http://user:hunter2@');
  expect(await client([`${cloud.url}/say/none`, `one@${cloud.url}/say/1`, `one@${withPassword}/say/2`, 'two@http://user:hunter2@127.0.0.1:1/']).fetch(instance)).toEqual({ one: { path: '/say/1' }, two: {} });
  expect(JSON.stringify(log.lines())).not.toMatch(/hunter2|secret-password/);
  expect(warnings()).toHaveLength(4);
});
