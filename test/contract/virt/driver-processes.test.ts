/**
 * The driver on real processes and files: real ps, sh, signals and renames; bhyve and daemon are small scripts. What only a guest can show (ACPI,
 * consoles, screens) is in test/lab.
 */
import { randomUUID } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createHost, type Host } from '../../../src/host/index.js';
import { systemClock } from '../../../src/lib/clock.js';
import { createBhyveDriver, powerStates, type GuestEvent, type HypervisorDriver } from '../../../src/virt/index.js';
import { parseInstanceUuid, type InstanceUuid } from '../../../src/lib/ids.js';
import { guestDefinition } from '../../fakes/guest-definition.js';
import { noMetrics, recordingLog } from '../../fakes/recording-log.js';
import { waitUntil } from '../../fakes/wait-until.js';

const sysctls: Readonly<Record<string, string>> = {
  'hw.machine_arch': 'amd64', 'kern.osrelease': '13.2-RELEASE', 'kern.osreldate': '1302001', 'hw.model': 'AMD EPYC Processor', 'hw.vmm.svm.features': '1', 'hw.vmm.maxcpu': '2',
  'kern.boottime': '{ sec = 1795410225, usec = 57793 } Mon Nov 23 05:03:45 2026',
};
/** SIGTERM is the power button (exit 1), SIGUSR1 a reboot (0), SIGUSR2 a crash. `deaf` in the folder: no button. */
const bhyve = String.raw`#!/usr/bin/perl
if ($ARGV[0] eq '-s') { print "hostbridge\nvirtio-blk\nvirtio-net\nahci\nlpc\n"; exit 0; }
if ($ARGV[0] eq '-l') { print "lpc.bootrom=/nonexistent\n"; exit 1; }
if (-e 'refuse') { print "open of tap device /dev/tap0 failed\n"; exit 4; }
open(my $node, '>', 'DEV/vmm/' . $ARGV[2]); close $node;
$SIG{TERM} = sub { exit 1 unless -e 'deaf' };
$SIG{USR1} = sub { exit 0 };
$SIG{USR2} = sub { kill 'ABRT', $$ };
$0 = "bhyve: $ARGV[2]";
sleep 1 while 1;
`;
const bhyvectl = String.raw`#!/bin/sh
case "$*" in
*--destroy) rm -f "DEV/vmm/$(echo "$1" | cut -c6-)" ;;
*--force-poweroff) pkill -KILL -xf "bhyve: $(echo "$1" | cut -c6-)" ;;
'') echo 'Usage: bhyvectl' >&2; exit 1 ;;
esac
`;
const daemon = `#!/bin/sh
shift 2
setsid "$@" </dev/null >/dev/null 2>&1 &
`;
// `-n NAME`, or `-i -e NAME …` without a word about unknown names.
const sysctl = `#!/bin/sh
value() {
case "$1" in
${Object.entries(sysctls).map(([name, value]) => `${name}) echo '${value}' ;;`).join('\n')}
*) return 1 ;;
esac
}
if [ "$1" = -n ]; then
  value "$2" && exit 0
  echo "sysctl: unknown oid '$2'" >&2
  exit 1
fi
shift 2
for name; do if text=$(value "$name"); then echo "$name=$text"; fi; done
`;

/** New for each test: process titles are seen by every run on this machine. */
let instanceA: InstanceUuid;
let instanceB: InstanceUuid;
let root: string;
let statePath: string;
let host: Host;
let driver: HypervisorDriver;
let events: GuestEvent[];

const newDriver = async (): Promise<void> => {
  driver = createBhyveDriver({ host, statePath, firmwareDirs: [join(root, 'firmware')], clock: systemClock, log: recordingLog().log, metrics: noMetrics, vnc: null });
  events = [];
  driver.onEvent((event) => events.push(event));
  await driver.prepare();
  await driver.adopt();
};

beforeEach(async () => {
  instanceA = parseInstanceUuid(randomUUID());
  instanceB = parseInstanceUuid(randomUUID());
  root = mkdtempSync(join(tmpdir(), 'driver-'));
  statePath = join(root, 'state');
  for (const folder of ['bin', 'dev/vmm', 'firmware', 'state']) mkdirSync(join(root, folder), { recursive: true });
  for (const part of ['CODE', 'VARS']) writeFileSync(join(root, `firmware/BHYVE_UEFI_${part}.fd`), part);
  const tools = { bhyve, bhyvectl, daemon, sysctl, kldstat: '#!/bin/sh\n', kldload: '#!/bin/sh\n', ifconfig: '#!/bin/sh\n', 'freebsd-version': '#!/bin/sh\necho 13.2-RELEASE\n' };
  for (const [tool, text] of Object.entries(tools)) {
    writeFileSync(join(root, 'bin', tool), text.replaceAll('DEV', join(root, 'dev')));
    chmodSync(join(root, 'bin', tool), 0o755);
  }
  host = createHost({ deviceRoot: join(root, 'dev'), path: `${join(root, 'bin')}:/usr/bin:/bin:/usr/sbin:/sbin`, clock: systemClock, log: recordingLog().log, metrics: noMetrics });
  await newDriver();
});

/** What runs out of the test's folder. */
const ours = async () => (await host.processes.list()).filter(({ command }) => command.includes(`${statePath}/`) || command === `bhyve: ${instanceA}` || command === `bhyve: ${instanceB}`);

afterEach(async () => {
  await driver.close();
  for (const { pid } of await ours()) process.kill(pid, 'SIGKILL');
  rmSync(root, { recursive: true, force: true });
});

const pidOf = async (instance = instanceA): Promise<number> => {
  const state = await driver.state(instance);
  return state.kind === 'running' ? state.pid : -1;
};
const startA = async (): Promise<number> => {
  await driver.define(guestDefinition({ instance: instanceA, vcpus: 1 }));
  await driver.start(instanceA);
  return pidOf();
};

test('a guest is started, pressed off, started again and removed, and nothing is left', async () => {
  const first = await startA();
  expect(first).toBeGreaterThan(1);
  expect(await driver.stop(instanceA, { graceMs: 10_000, retryMs: 1000 })).toMatchObject({ kind: 'powered-off' });
  expect(await driver.powerState(instanceA)).toBe(powerStates.shutdown);
  await driver.start(instanceA);
  expect(await pidOf()).not.toBe(first);
  await driver.destroy(instanceA);
  expect(readdirSync(join(root, 'dev/vmm'))).toEqual([]);
  expect(readdirSync(join(statePath, 'instances'))).toEqual([]);
  await waitUntil(async () => (await ours()).length === 0, 'no process is left');
  expect(events).toEqual([]);
});

test('a guest survives the agent, and its crash is seen by the next one within two seconds', async () => {
  const pid = await startA();
  await driver.close();
  await newDriver();
  expect(await pidOf()).toBe(pid);
  process.kill(pid, 'SIGUSR2');
  await waitUntil(() => events.length > 0, 'the crash is seen');
  expect(events).toMatchObject([{ instance: instanceA, kind: 'stopped', verdict: { kind: 'crashed', signal: 'SIGABRT' } }]);
  expect(await driver.powerState(instanceA)).toBe(powerStates.crashed);
});

test('a guest that reboots itself comes back with another pid and is reported as rebooted only', async () => {
  const pid = await startA();
  process.kill(pid, 'SIGUSR1');
  await waitUntil(() => events.length > 0, 'the reboot is seen');
  expect(events).toMatchObject([{ instance: instanceA, kind: 'rebooted' }]);
  expect(await pidOf()).not.toBe(pid);
});

test('a guest that does not listen is forced off after its grace', async () => {
  await startA();
  writeFileSync(join(statePath, 'instances', instanceA, 'deaf'), '');
  expect(await driver.stop(instanceA, { graceMs: 1500, retryMs: 1000 })).toMatchObject({ kind: 'powered-off' });
  expect(await ours()).toEqual([]);
});

test('a soft reboot gives a new process; a deaf guest stays as it is', async () => {
  const pid = await startA();
  expect(await driver.softReboot(instanceA, { graceMs: 10_000, retryMs: 1000 })).toBe(true);
  const second = await pidOf();
  expect(second).not.toBe(pid);
  writeFileSync(join(statePath, 'instances', instanceA, 'deaf'), '');
  expect(await driver.softReboot(instanceA, { graceMs: 1500, retryMs: 1000 })).toBe(false);
  expect(await pidOf()).toBe(second);
});

test('a start that bhyve refuses says so in bhyve’s words and leaves no process', async () => {
  await driver.define(guestDefinition({ instance: instanceA, vcpus: 1 }));
  writeFileSync(join(statePath, 'instances', instanceA, 'refuse'), '');
  await expect(driver.start(instanceA)).rejects.toThrow(/open of tap device \/dev\/tap0 failed/);
  await waitUntil(async () => (await ours()).length === 0, 'no process is left');
});

test('with supervisor and reader killed the guest lives on, is adopted, and its end is cleaned up', async () => {
  const pid = await startA();
  for (const process_ of await ours()) if (process_.pid !== pid) process.kill(process_.pid, 'SIGKILL');
  await driver.close();
  await newDriver();
  expect(await pidOf()).toBe(pid);
  process.kill(pid, 'SIGKILL');
  await waitUntil(() => events.length > 0, 'the end is seen', 4000);
  expect(events).toMatchObject([{ kind: 'stopped', verdict: { kind: 'crashed' } }]);
  expect(readdirSync(join(root, 'dev/vmm'))).toEqual([]);
  await driver.start(instanceA);
  expect(await driver.powerState(instanceA)).toBe(powerStates.running);
});

test('two guests do not hear each other’s ends', async () => {
  await startA();
  await driver.define(guestDefinition({ instance: instanceB, vcpus: 1 }));
  await driver.start(instanceB);
  process.kill(await pidOf(instanceB), 'SIGTERM');
  await waitUntil(() => events.length > 0, 'the end is seen', 4000);
  expect(events).toMatchObject([{ instance: instanceB, kind: 'stopped', verdict: { kind: 'powered-off' } }]);
  expect(await driver.powerState(instanceA)).toBe(powerStates.running);
});

test('the supervisor in the guest’s folder is readable by root alone and replaced whole', async () => {
  await startA();
  const file = join(statePath, 'instances', instanceA, 'supervisor.sh');
  expect(existsSync(file)).toBe(true);
  expect(readFileSync(file, 'utf8')).toMatch(/^#!\/bin\/sh\n/);
});
