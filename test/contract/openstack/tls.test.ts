/** TLS options by keystoneauth's names. Needs openssl for a certificate of its own. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createSession, type TlsOptions } from '../../../src/openstack/index.js';
import { startFakeCloud, type FakeCloud } from '../../fakes/openstack-http.js';
import { recordingLog } from '../../fakes/recording-log.js';
import { createVirtualClock } from '../../fakes/virtual-clock.js';

let folder: string;
let cloud: FakeCloud;
const file = (name: string): string => join(folder, name);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tls-'));
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1',
    '-keyout', file('key.pem'), '-out', file('cert.pem')], { stdio: 'pipe' });
  cloud = await startFakeCloud({ key: readFileSync(file('key.pem')), cert: readFileSync(file('cert.pem')), ca: readFileSync(file('cert.pem')), requestCert: true, rejectUnauthorized: true });
});
afterAll(async () => {
  await cloud.close();
  rmSync(folder, { recursive: true });
});

const login = async (tls: TlsOptions): Promise<string> => {
  const session = createSession({ section: 'neutron', tls, retries: 0, clock: createVirtualClock(), log: recordingLog().log,
    auth: { kind: 'password', authUrl: cloud.url, username: 'neutron', password: 'secret-password', projectName: 'service' } });
  try {
    return await session.token();
  } finally {
    session.close();
  }
};

test('a login with cafile, certfile and keyfile is trusted on both sides', async () => {
  expect(await login({ cafile: file('cert.pem'), certfile: file('cert.pem'), keyfile: file('key.pem') })).toMatch(/^token-/);
});

test('a server that nobody vouches for is not spoken to, unless insecure is set', async () => {
  const before = cloud.keystone.logins.length;
  await expect(login({ certfile: file('cert.pem'), keyfile: file('key.pem') })).rejects.toMatchObject({ code: 'http-unreachable' });
  expect(cloud.keystone.logins.length).toBe(before);
  expect(await login({ insecure: true, certfile: file('cert.pem'), keyfile: file('key.pem') })).toMatch(/^token-/);
});

test('a file that cannot be read is named at once', () => {
  expect(() => createSession({ section: 'neutron', tls: { cafile: file('none.pem') }, clock: createVirtualClock(), log: recordingLog().log,
    auth: { kind: 'password', authUrl: cloud.url, username: 'x', password: 'y' } })).toThrow(/cafile .*none\.pem/);
});
