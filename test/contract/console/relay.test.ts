/** The relay on real sockets and with real certificates (openssl), before a fake of bhyve's VNC server. */
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createRelay, readTlsFiles, type Relay, type Screen } from '../../../src/console/index.js';
import { readExactly } from '../../../src/console/read-exactly.js';
import { createHost, type Host } from '../../../src/host/index.js';
import { systemClock } from '../../../src/lib/clock.js';
import { instanceA, instanceB } from '../../fakes/guest-definition.js';
import { makeCertificates, type CertificateName, type Certificates } from '../../fakes/certificates.js';
import { askAtOnce, askForTls, secureAs } from '../../fakes/console-proxy.js';
import { noMetrics, recordingLog, type RecordingLog } from '../../fakes/recording-log.js';
import { serverInit, startScreen, type ScreenServer } from '../../fakes/screen-server.js';
import { createVirtualClock, type VirtualClock } from '../../fakes/virtual-clock.js';
import { waitUntil } from '../../fakes/wait-until.js';

const address = '127.0.0.2';
const password = 'Sesame-1';
let folder: string;
let certificates: Certificates;
let host: Host;
let log: RecordingLog;
let clock: VirtualClock;
let screen: ScreenServer;
let shown: Screen | null;
let relay: Relay;
const sockets: Socket[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'relay-'));
  certificates = await makeCertificates(folder);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const files = () => ({ certificate: certificates.file('host', 'pem'), key: certificates.file('host', 'key'), clientAuthority: certificates.file('ca', 'pem') });
const newRelay = (paths = files()): Relay => createRelay({ host, clock, log: log.log, screenOf: async () => shown }, { address, files: paths });

async function show(secret: string | null = password, serve?: (viewer: Socket) => void): Promise<void> {
  await screen?.close();
  screen = await startScreen(secret ?? undefined, serve);
  shown = { host: '127.0.0.1', port: screen.port, password: secret ?? undefined };
  expect(await relay.open(instanceA, screen.port)).toBe(true);
}

beforeEach(async () => {
  log = recordingLog();
  clock = createVirtualClock();
  host = createHost({ deviceRoot: '/dev', path: '/bin:/usr/bin', clock: systemClock, log: recordingLog().log, metrics: noMetrics });
  relay = newRelay();
  await show();
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await relay.closeAll();
  await screen.close();
});

function dial(port = screen.port): Socket {
  const socket = connect({ host: address, port });
  socket.on('error', () => socket.destroy());
  sockets.push(socket);
  return socket;
}

async function knock(): Promise<Socket> {
  const socket = dial();
  await askForTls(socket);
  return socket;
}

async function secure(name: CertificateName | null, options: { maxVersion?: 'TLSv1.1' } = {}, port = screen.port): Promise<TLSSocket> {
  const tls = await secureAs(dial(port), certificates, name, { ...options, ...(options.maxVersion === undefined ? {} : { minVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' }) });
  sockets.push(tls);
  return tls;
}

/** A session with what bhyve says first. */
async function enter(): Promise<TLSSocket> {
  const tls = await secure('proxy');
  expect((await readExactly(tls, 4)).toString('hex')).toBe('00000000');
  tls.write(Buffer.from([1]));
  expect(await readExactly(tls, serverInit.length)).toEqual(serverInit);
  return tls;
}

const ended = async (socket: Socket): Promise<void> => {
  socket.resume();
  await waitUntil(() => socket.closed, 'it is hung up');
};
const messages = (level: number): unknown[] => log.lines().filter((line) => line['level'] === level).map((line) => line['msg']);

test('a proxy with a certificate gets the screen of a guest whose password it does not know', async () => {
  const tls = await enter();
  expect(screen.viewers).toHaveLength(1);
  screen.viewers[0]!.write('picture');
  expect((await readExactly(tls, 7)).toString()).toBe('picture');
  tls.write('key');
  expect((await readExactly(screen.viewers[0]!, 3)).toString()).toBe('key');
  expect(tls.getProtocol()).toBe('TLSv1.3');
  expect(messages(30)).toEqual(['VNC console entered']);
  expect(JSON.stringify(log.lines())).not.toContain(password);
});

test('a client that does not wait for its turn is let in as well', async () => {
  const tls = await secureAs(dial(), certificates, 'proxy', {}, askAtOnce);
  sockets.push(tls);
  expect((await readExactly(tls, 4)).readUInt32BE()).toBe(0);
});

const hasIPv6 = Object.values(networkInterfaces()).some((all) => all?.some((one) => one.address === '::1') === true);
test.skipIf(!hasIPv6)('proxies may come by IPv6 (skipped where this machine has none)', async () => {
  const other = createRelay({ host, clock, log: log.log, screenOf: async () => shown }, { address: '::1', files: files() });
  expect(await other.open(instanceA, screen.port)).toBe(true);
  const socket = connect({ host: '::1', port: screen.port });
  const tls = await secureAs(socket, certificates, 'proxy');
  sockets.push(socket, tls);
  expect((await readExactly(tls, 4)).readUInt32BE()).toBe(0);
  await other.closeAll();
  await ended(tls);
});

test('either side that leaves takes the other with it', async () => {
  const first = await enter();
  first.destroy();
  await waitUntil(() => screen.seen.ended === 1, 'bhyve has no viewer any more');
  const second = await enter();
  screen.viewers[1]!.end('last words');
  expect((await readExactly(second, 10)).toString()).toBe('last words');
  await ended(second);
  await waitUntil(() => messages(30).filter((one) => one === 'VNC console left').length === 2, 'both are noted');
});

test('a guest without password is shown by TLS all the same', async () => {
  await show(null);
  await enter();
});

describe('bhyve is not even called for a client', () => {
  test.each<[string, CertificateName | null, { maxVersion?: 'TLSv1.1' }]>([
    ['without a certificate', null, {}], ['with a certificate of somebody else', 'other-proxy', {}], ['with a certificate that it made itself', 'other-ca', {}], ['with TLS 1.1', 'proxy', { maxVersion: 'TLSv1.1' }],
  ])('%s', async (_what, name, options) => {
    await ended(await secure(name, options));
    await waitUntil(() => messages(30).includes('VNC console refused'), 'it is noted');
    expect(screen.seen.connections).toBe(0);
    await enter();
  });

  test('that sends something else than TLS', async () => {
    const socket = await knock();
    socket.write(Buffer.alloc(100_000));
    await ended(socket);
    expect(screen.seen.connections).toBe(0);
  });

  test('that sends a lot instead of RFB', async () => {
    const socket = dial();
    for (let piece = 0; piece < 64; piece += 1) socket.write(Buffer.alloc(65_536, 'GET '));
    await ended(socket);
    expect(screen.seen.connections).toBe(0);
  });

  const half = async (): Promise<Socket> => {
    const socket = dial();
    socket.write('RFB 00');
    return socket;
  };
  test.each([['says nothing', async () => dial()], ['stops in the middle of a word', half], ['stops before TLS', knock]])('that %s, and it is hung up on after ten seconds', async (_what, come) => {
    const socket = await come();
    await waitUntil(() => socket.bytesRead > 0, 'it has been greeted');
    await enter(); // others are served meanwhile
    const { connections } = screen.seen;
    clock.advance(9_000);
    expect(socket.closed).toBe(false);
    clock.advance(1_000);
    await ended(socket);
    await waitUntil(() => messages(30).includes('VNC console refused'), 'it is noted');
    expect(screen.seen.connections).toBe(connections);
  });
});

test('a flood of those who are not let in is told of once', async () => {
  for (let one = 0; one < 5; one += 1) await ended(await secure(null));
  await waitUntil(() => messages(20).length === 4, 'the others are for who looks closely');
  expect(messages(30)).toEqual(['VNC console refused']);
});

test('there is room for eight at a time; who comes then is hung up on', async () => {
  const first = [...Array(8).keys()].map(() => dial());
  await waitUntil(() => first.every((socket) => socket.bytesRead === 12), 'eight are greeted');
  const late = dial();
  await ended(late);
  expect(late.bytesRead).toBe(0);
  first[0]!.destroy();
  await waitUntil(async () => {
    const next = dial();
    await waitUntil(() => next.closed || next.bytesRead > 0, 'an answer');
    return next.bytesRead > 0;
  }, 'there is room again');
});

test('a password that bhyve does not take ends in a SecurityResult that says so, without a reason', async () => {
  screen.password = 'another';
  const tls = await secure('proxy');
  const result = await readExactly(tls, 8);
  expect(result.readUInt32BE()).toBe(1);
  expect((await readExactly(tls, result.readUInt32BE(4))).toString()).toBe('the console of this server cannot be opened');
  await ended(tls);
  expect(JSON.stringify(log.lines())).toContain('screen-refused');
});

test('a bhyve that serves somebody else keeps the next one waiting for ten seconds at most', async () => {
  const waiting: Socket[] = [];
  const busy = createServer((socket) => waiting.push(socket));
  await new Promise<void>((resolve) => busy.listen(0, '127.0.0.1', resolve));
  const { port } = busy.address() as AddressInfo;
  shown = { host: '127.0.0.1', port, password };
  expect(await relay.open(instanceB, port)).toBe(true);
  const tls = await secure('proxy', {}, port);
  await waitUntil(() => waiting.length === 1, 'it stands in the queue of bhyve');
  clock.advance(10_000);
  await ended(tls);
  waiting[0]!.resume();
  await waitUntil(() => waiting[0]!.closed, 'it has left the queue');
  busy.close();
});

test('the newest viewer takes over from one that may be dead', async () => {
  const first = await enter();
  const second = await enter();
  await ended(first);
  expect(second.closed).toBe(false);
  screen.viewers[1]!.write('x');
  expect((await readExactly(second, 1)).toString()).toBe('x');
});

test.each<[string, Screen | null]>([['has ended', null], ['shows its screen elsewhere', { host: '127.0.0.1', port: 1, password }]])('a port whose guest %s is closed by the next who comes', async (_what, now) => {
  shown = now;
  const tls = await secure('proxy');
  expect((await readExactly(tls, 4)).readUInt32BE()).toBe(1);
  await ended(tls);
  await waitUntil(async () => {
    const socket = dial();
    await waitUntil(() => socket.closed || socket.bytesRead > 0, 'an answer');
    return socket.bytesRead === 0;
  }, 'nobody listens');
  expect(screen.seen.connections).toBe(0);
});

test('closing ends sessions and handshakes and frees the port; opening again is fine', async () => {
  const [session, waiting] = [await enter(), dial()];
  await waitUntil(() => waiting.bytesRead > 0, 'greeted');
  await relay.closeAll();
  await Promise.all([ended(session), ended(waiting)]);
  await waitUntil(() => screen.seen.ended === 1, 'bhyve has no viewer');
  const own = await host.listenForSockets(address, screen.port, 1, (socket) => socket.destroy());
  expect(own).toBeDefined();
  expect(await relay.open(instanceA, screen.port)).toBe(false);
  await own!.close();
  expect([await relay.open(instanceA, screen.port), await relay.open(instanceA, screen.port)]).toEqual([true, true]);
  await enter();
});

test('a viewer that does not read stops bhyve instead of filling memory, and gets all of it in the end', async () => {
  const total = 64 * 1024 * 1024;
  let sent = 0;
  await show(password, (viewer) => {
    const more = (): void => {
      while (sent < total) {
        sent += 65_536;
        if (!viewer.write(Buffer.alloc(65_536, 7))) return void viewer.once('drain', more);
      }
      viewer.end();
    };
    more();
  });
  const tls = await secure('proxy');
  await readExactly(tls, 4);
  let [before, still] = [-1, 0];
  await waitUntil(() => {
    still = sent === before ? still + 1 : 0;
    before = sent;
    return still === 30;
  }, 'nothing moves any more');
  expect(sent).toBeLessThan(total / 2);
  let got = 0;
  for await (const chunk of tls) got += (chunk as Buffer).length;
  expect(got).toBe(total);
});

describe('TLS files', () => {
  const read = (changes: Partial<ReturnType<typeof files>>): Promise<unknown> => readTlsFiles(host.files, { ...files(), ...changes });

  test.each<[string, () => Partial<ReturnType<typeof files>>, string, RegExp]>([
    ['a file that is not there', () => ({ certificate: join(folder, 'none') }), 'tls-file-unreadable', /\[vnc\] tls_cert_file: there is no file .*none/],
    ['a folder', () => ({ key: folder }), 'tls-file-unreadable', /\[vnc\] tls_key_file: .* cannot be read/],
    ['a key as certificate', () => ({ certificate: certificates.file('host', 'key') }), 'tls-file-invalid', /\[vnc\] tls_cert_file: .* is not a certificate/],
    ['the key of another', () => ({ key: certificates.file('proxy', 'key') }), 'tls-file-invalid', /\[vnc\] tls_key_file: .* is not the key/],
    ['an authority that is none', () => ({ clientAuthority: certificates.file('ca', 'key') }), 'tls-file-invalid', /\[vnc\] tls_client_ca_file: .* is not a certificate/],
  ])('%s is named with its option', async (_what, changes, code, message) => {
    await expect(read(changes())).rejects.toMatchObject({ code, message: expect.stringMatching(message) as string });
  });

  test('renewed ones are taken up when a console is next asked for; broken ones are not, and the last good ones stay', async () => {
    const paths = { certificate: join(folder, 'now.pem'), key: join(folder, 'now.key'), clientAuthority: certificates.file('ca', 'pem') };
    const renew = (name: CertificateName): void => {
      copyFileSync(certificates.file(name, 'pem'), paths.certificate);
      copyFileSync(certificates.file(name, 'key'), paths.key);
    };
    renew('host');
    await relay.closeAll();
    relay = newRelay(paths);
    expect(await relay.open(instanceA, screen.port)).toBe(true);
    const subject = async (): Promise<unknown> => {
      const tls = await enter();
      return tls.getPeerCertificate().subject.CN;
    };
    expect(await subject()).toBe('host');
    writeFileSync(paths.key, 'half a file');
    expect(await relay.open(instanceA, screen.port)).toBe(true);
    expect([await subject(), messages(40)]).toEqual(['host', ['TLS files of consoles cannot be used; those from before are']]);
    renew('next-host');
    expect(await relay.open(instanceA, screen.port)).toBe(true);
    expect(await subject()).toBe('next-host');
  });

  test('a relay without any good ones opens nothing', async () => {
    await relay.closeAll();
    relay = newRelay({ ...files(), key: join(folder, 'none') });
    await expect(relay.open(instanceA, screen.port)).rejects.toMatchObject({ code: 'tls-file-unreadable' });
  });
});
