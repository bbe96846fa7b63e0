/** nova-novncproxy's own code (Debian's python3-nova) before our relay: what `auth_schemes=vencrypt` in its configuration does with a guarded screen. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createRelay, type Relay } from '../../../src/console/index.js';
import { createHost } from '../../../src/host/index.js';
import { systemClock } from '../../../src/lib/clock.js';
import { instanceA } from '../../fakes/guest-definition.js';
import { makeCertificates, type CertificateName, type Certificates } from '../../fakes/certificates.js';
import { noMetrics, recordingLog } from '../../fakes/recording-log.js';
import { startScreen, type ScreenServer } from '../../fakes/screen-server.js';

const address = '127.0.0.2';
let folder: string;
let certificates: Certificates;
let screen: ScreenServer;
let relay: Relay;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'nova-proxy-'));
  certificates = await makeCertificates(folder);
  screen = await startScreen('aB3-_xyz');
  const host = createHost({ deviceRoot: '/dev', path: '/bin:/usr/bin', clock: systemClock, log: recordingLog().log, metrics: noMetrics });
  const files = { certificate: certificates.file('host', 'pem'), key: certificates.file('host', 'key'), clientAuthority: certificates.file('ca', 'pem') };
  // The time does not matter here, and a machine may be slow: the limits are in relay.test.ts.
  const clock = { ...systemClock, after: (ms: number, run: () => void) => systemClock.after(ms * 10, run) };
  relay = createRelay({ host, clock, log: recordingLog().log, screenOf: async () => ({ host: '127.0.0.1', port: screen.port, password: 'aB3-_xyz' }) }, { address, files });
  expect(await relay.open(instanceA, screen.port)).toBe(true);
});
afterAll(async () => {
  await relay?.closeAll();
  await screen?.close();
  rmSync(folder, { recursive: true, force: true });
});

async function proxy(to: { host: string; port: number }, schemes: readonly string[], name: CertificateName | null): Promise<Record<string, unknown>> {
  const own = name === null ? { cert: null, key: null } : { cert: certificates.file(name, 'pem'), key: certificates.file(name, 'key') };
  const child = spawn('/usr/bin/python3', ['-W', 'ignore', join(import.meta.dirname, '../nova-rfb.py')], { stdio: ['pipe', 'pipe', 'pipe'], env: { PATH: '/usr/bin:/bin', PYTHONWARNINGS: 'ignore' } });
  let [said, complaints] = ['', ''];
  child.stdout.on('data', (data: Buffer) => { said += data.toString(); });
  child.stderr.on('data', (data: Buffer) => { complaints = (complaints + data.toString()).slice(-4000); });
  child.stdin.end(JSON.stringify({ ...to, schemes, ca: certificates.file('ca', 'pem'), ...own }));
  await new Promise((resolve) => child.once('close', resolve));
  if (said === '') throw new Error(`nova-rfb.py said nothing:\n${complaints}`);
  return JSON.parse(said) as Record<string, unknown>;
}

const guarded = (): { host: string; port: number } => ({ host: address, port: screen.port });

test('the proxy reaches the screen of a guest that has a password, and shows it to a tenant who gives none', async () => {
  expect(await proxy(guarded(), ['vencrypt'], 'proxy')).toEqual({ result: 0, size: [1024, 768], name: 'bhyve', tls: 'TLSv1.3' });
  expect(await proxy(guarded(), ['vencrypt', 'none'], 'proxy')).toMatchObject({ result: 0, name: 'bhyve' });
});

test.each<[string, readonly string[], CertificateName | null, RegExp]>([
  ['has no certificate', ['vencrypt'], null, /CERTIFICATE_REQUIRED/],
  ['has the certificate of somebody else', ['vencrypt'], 'other-proxy', /^(EOFError|SSLError|ConnectionResetError)/],
  ['knows no vencrypt', ['none'], 'proxy', /^SecurityProxyNegotiationFailed/],
])('a proxy that %s is not shown it', async (_what, schemes, name, error) => {
  const before = screen.viewers.length;
  expect(await proxy(guarded(), schemes, name)).toEqual({ failed: expect.stringMatching(error) as string });
  expect(screen.viewers).toHaveLength(before);
});

test('without the relay no proxy gets in, because Nova knows no password of VNC', async () => {
  expect(await proxy({ host: '127.0.0.1', port: screen.port }, ['vencrypt', 'none'], 'proxy')).toEqual({ failed: expect.stringMatching(/^SecurityProxyNegotiationFailed/) as string });
});
