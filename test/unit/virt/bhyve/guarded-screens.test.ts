/** The driver's part in guarded screens: passwords of guests, who is led to which port, and what is closed when. Sessions themselves are in test/contract/console. */
import { beforeEach, expect, test } from 'vitest';
import { wireFaultOf } from '../../../../src/lib/errors.js';
import { createBhyveDriver, type GuestEvent, type HypervisorDriver, type VncOptions } from '../../../../src/virt/index.js';
import { renderSelfTest } from '../../../../src/virt/bhyve/save-capability.js';
import { readSaveIdentity } from '../../../../src/virt/bhyve/save-identity.js';
import { createBhyveHost, type BhyveHost } from '../../../fakes/bhyve-host.js';
import { guestDefinition, instanceA, instanceB } from '../../../fakes/guest-definition.js';
import { ownCertificate, ownKey } from '../../../fakes/own-certificate.js';
import { noMetrics, recordingLog, type RecordingLog } from '../../../fakes/recording-log.js';
import { createVirtualClock, type VirtualClock } from '../../../fakes/virtual-clock.js';
import { waitUntil } from '../../../fakes/wait-until.js';

const statePath = '/var/db/nova-bhyve';
const folder = `${statePath}/instances/${instanceA}`;
const address = '192.0.2.7';
const graceful = { graceMs: 60_000, retryMs: 10_000 };
const files = { certificate: '/tls/host.pem', key: '/tls/host.key', clientAuthority: '/tls/ca.pem' };
const portRange = { first: 5900, last: 5902 };
const guarded: VncOptions = { address: '127.0.0.1', portRange, guard: { address, files } };
let clock: VirtualClock;
let host: BhyveHost;
let log: RecordingLog;
let driver: HypervisorDriver;
/** `address:port` of ours, and ports of others at every address. */
let listening: Set<string>;
let taken: Set<number>;

async function newDriver(vnc: VncOptions = guarded): Promise<HypervisorDriver> {
  const made = createBhyveDriver({ host, statePath, firmwareDirs: ['/usr/local/share/edk2-bhyve'], clock, log: log.log, metrics: noMetrics, vnc });
  await made.prepare();
  return made;
}

/** What netstat says: it hears the relay too. */
function hear(): void {
  const ports = [...[...listening].map((one) => one.split(':')[1]!), ...[...taken].map(String)];
  host.answers.set('netstat --libxo json -an -p tcp', { code: 0, stderr: '', stdout: JSON.stringify({ statistics: { socket: ports.map((port) => ({ local: { port }, 'tcp-state': 'LISTEN' })) } }) });
}

beforeEach(async () => {
  clock = createVirtualClock();
  host = createBhyveHost(clock);
  log = recordingLog();
  [listening, taken] = [new Set(), new Set()];
  host.outside.put(files.certificate, ownCertificate);
  host.outside.put(files.clientAuthority, ownCertificate);
  host.outside.put(files.key, ownKey);
  host.listenForSockets = async (at, port) => {
    if (listening.has(`${at}:${port}`) || taken.has(port)) return undefined;
    listening.add(`${at}:${port}`);
    hear();
    return { port, close: async () => { listening.delete(`${at}:${port}`); hear(); } };
  };
  driver = await newDriver();
});

const stored = (instance = instanceA): { address: string; port: number; password?: string } =>
  (JSON.parse(host.outside.text(`${statePath}/instances/${instance}/instance.json`)!) as { vnc: { address: string; port: number; password?: string } }).vnc;
const configured = (path = `${folder}/bhyve.conf`): string | undefined => /^pci\.0\.29\.0\.password=(.*)$/m.exec(host.outside.text(path)!)?.[1];
const running = async (changes = {}): Promise<void> => {
  await driver.define(guestDefinition(changes));
  await driver.start(guestDefinition(changes).instance);
};

test('a guest listens on loopback, and asks for a password of its own that only root may read', async () => {
  await running();
  expect(host.outside.text(`${folder}/bhyve.conf`)).toContain(`pci.0.29.0.device=fbuf\npci.0.29.0.rfb=127.0.0.1:5900\npci.0.29.0.password=${stored().password}\npci.0.30.0.device=xhci\n`);
  expect(stored().password).toMatch(/^[A-Za-z0-9_-]{8}$/);
  expect([`${folder}/bhyve.conf`, `${folder}/instance.json`].map((path) => host.outside.modes.get(path))).toEqual([0o600, 0o600]);
  await driver.define(guestDefinition({ instance: instanceB }));
  expect(stored(instanceB).password).not.toBe(stored().password);
  const { password = '' } = stored();
  expect([JSON.stringify(host.calls), JSON.stringify(log.lines()), JSON.stringify([await driver.vncEndpoint(instanceA), await driver.openVncConsole(instanceA), await driver.definition(instanceA)])].filter((text) => text.includes(password))).toEqual([]);
});

test('without the options there is no password, no listener, and not a word of it in instance.json', async () => {
  driver = await newDriver({ address, portRange });
  await running();
  expect([stored(), configured()]).toEqual([{ address, port: 5900 }, undefined]);
  expect(await driver.openVncConsole(instanceA)).toEqual({ host: address, port: 5900 });
  expect(listening).toEqual(new Set());
});

test('a password lives as long as its guest is up: over reboots of the guest and restarts of the agent, not over a stop', async () => {
  await running();
  const first = stored().password;
  expect(configured()).toBe(first);
  host.exit(instanceA, 0);
  await driver.close();
  driver = await newDriver();
  await driver.adopt();
  await driver.close();
  expect([stored().password, configured()]).toEqual([first, first]);
  await driver.stop(instanceA, { graceMs: 0, retryMs: 1 });
  await driver.start(instanceA);
  expect(stored().password).not.toBe(first);
  expect(configured()).toBe(stored().password);
});

test('a guest that is started after the options were taken away has no password any more, and the other way round', async () => {
  await running();
  await driver.stop(instanceA, { graceMs: 0, retryMs: 1 });
  driver = await newDriver({ address, portRange });
  await driver.start(instanceA);
  expect([stored(), configured()]).toEqual([{ address, port: 5900 }, undefined]);
  await driver.stop(instanceA, { graceMs: 0, retryMs: 1 });
  driver = await newDriver();
  await driver.start(instanceA);
  expect([stored().address, configured()]).toEqual(['127.0.0.1', stored().password]);
});

test('proxies are led to a port of the agent’s once somebody asks for the console, also after a restart', async () => {
  await driver.define(guestDefinition());
  expect([await driver.openVncConsole(instanceA), listening.size]).toEqual([null, 0]);
  await driver.start(instanceA);
  expect([await driver.vncEndpoint(instanceA), listening.size]).toEqual([{ host: '127.0.0.1', port: 5900 }, 0]);
  expect(await Promise.all([driver.openVncConsole(instanceA), driver.openVncConsole(instanceA)])).toEqual([{ host: address, port: 5900 }, { host: address, port: 5900 }]);
  expect(listening).toEqual(new Set([`${address}:5900`]));
  await driver.close();
  expect(listening).toEqual(new Set());
  driver = await newDriver();
  expect([await driver.openVncConsole(instanceA), listening.size]).toEqual([{ host: address, port: 5900 }, 1]);
  await driver.pause(instanceA);
  expect(await driver.openVncConsole(instanceA)).toBeNull();
});

test.each<[string, () => Promise<unknown>]>([
  ['is stopped', () => driver.stop(instanceA, graceful)], ['is destroyed', () => driver.destroy(instanceA)],
])('the port is closed when the guest %s', async (_what, end) => {
  await running();
  await driver.openVncConsole(instanceA);
  await end();
  expect(listening).toEqual(new Set());
});

test('the port is closed when the guest ends by itself', async () => {
  const events: GuestEvent[] = [];
  const ticks: (() => void)[] = [];
  clock.sleep = (_ms, signal) => new Promise((resolve, reject) => {
    ticks.push(resolve);
    signal?.addEventListener('abort', () => reject(new Error('closed')));
  });
  driver.onEvent((event) => events.push(event));
  await running();
  await driver.adopt();
  await driver.openVncConsole(instanceA);
  host.exit(instanceA, 1);
  await waitUntil(() => {
    ticks.splice(0).forEach((tick) => tick());
    return events.length > 0 && listening.size === 0;
  }, 'it is seen');
  await driver.close();
});

test('our own listener does not move a guest to another port when it is rebooted softly or defined anew', async () => {
  await running();
  await driver.openVncConsole(instanceA);
  expect(await driver.softReboot(instanceA, graceful)).toBe(true);
  expect([stored().port, listening.size]).toEqual([5900, 0]);
  await driver.openVncConsole(instanceA);
  host.exit(instanceA, 1); // nobody has looked since
  clock.advance(60_000); // what netstat said is old
  await driver.define(guestDefinition({ memoryMiB: 1024 }));
  await driver.start(instanceA);
  expect([stored().port, listening.size]).toEqual([5900, 0]);
});

test('a guest that runs since before the options is led to as it is: over the relay if that can have its port, else where it listens itself', async () => {
  driver = await newDriver({ address: '127.0.0.1', portRange });
  await running();
  driver = await newDriver();
  expect([await driver.openVncConsole(instanceA), listening.size]).toEqual([{ host: address, port: 5900 }, 1]);
  await driver.destroy(instanceA);
  driver = await newDriver({ address, portRange });
  await running();
  taken.add(5900); // its own bhyve
  driver = await newDriver();
  expect([await driver.openVncConsole(instanceA), listening.size]).toEqual([{ host: address, port: 5900 }, 0]);
});

test('a console whose port another program has, or whose TLS files are broken, is refused as not ready', async () => {
  await running();
  taken.add(5900);
  const refusal = async (): Promise<unknown> => driver.openVncConsole(instanceA).catch((error: unknown) => [(error as { code: string }).code, (error as { retry: string }).retry, wireFaultOf(error)?.className]);
  expect(await refusal()).toEqual(['no-console-port', 'later', 'InstanceNotReady']);
  taken.clear();
  expect(await refusal()).toEqual({ host: address, port: 5900 });
  host.outside.drop(files.key);
  driver = await newDriver();
  expect(await refusal()).toEqual(['no-console-port', 'later', 'InstanceNotReady']);
});

test('a save has no password in it, since it may leave the host; who resumes gets a new one', async () => {
  host.answers.set('bhyvectl ', { code: 1, stdout: '', stderr: 'Usage: bhyvectl --vm=<vmname>\n       [--suspend=<filename>]\n' });
  const identity = await readSaveIdentity(host, { cpuModel: 'AMD EPYC Processor', cpuVendor: 'AMD', release: '13.2-RELEASE' });
  const models = ['hostbridge', 'lpc', 'virtio-blk', 'virtio-net', 'ahci', 'fbuf', 'xhci'];
  host.outside.put(`${statePath}/selftest/save-restore.json`, renderSelfTest([{ at: '2026-11-23T03:00:00.000Z', host: identity, family: host.saves.family, models, isGood: true, reason: '' }]));
  driver = await newDriver();
  await running({ memoryMiB: 1 });
  await driver.openVncConsole(instanceA);
  const before = stored().password!;
  const disks = { root: 'as it was' };
  await driver.suspend(instanceA, { holdDisks: async () => disks, signal: new AbortController().signal });
  expect(listening.size).toBe(0);
  expect(host.outside.text(`${folder}/suspended/bhyve.conf`)).toContain('pci.0.29.0.rfb=127.0.0.1:5900\n');
  expect(host.outside.paths().filter((path) => path.startsWith(`${folder}/suspended`) && host.outside.text(path)!.includes(before))).toEqual([]);
  await driver.resume(instanceA, { disks, signal: new AbortController().signal });
  expect(stored().password).not.toBe(before);
  expect(host.outside.text(`${folder}/bhyve.conf`)).toContain(`pci.0.29.0.rfb=127.0.0.1:5900\npci.0.29.0.password=${stored().password}\n`);
  expect(host.outside.text(`${folder}/bhyve.conf`)!.match(/password=/g)).toHaveLength(1);
});
