import { beforeEach, expect, test } from 'vitest';
import { KeyedMutex } from '../../../../src/lib/keyed-mutex.js';
import type { InstanceUuid } from '../../../../src/lib/ids.js';
import { adoptGuests } from '../../../../src/virt/bhyve/adopt.js';
import { readBootId } from '../../../../src/virt/bhyve/boot-id.js';
import { probeCapabilities } from '../../../../src/virt/bhyve/capabilities.js';
import { defineGuest } from '../../../../src/virt/bhyve/define-guest.js';
import { createGuestFiles } from '../../../../src/virt/bhyve/guest-files.js';
import { startGuest, type LifecycleDeps } from '../../../../src/virt/bhyve/lifecycle.js';
import { createTakenNumbers } from '../../../../src/virt/bhyve/taken-numbers.js';
import { createWatch, type Watch } from '../../../../src/virt/bhyve/watch.js';
import type { GuestEvent } from '../../../../src/virt/index.js';
import { createBhyveHost, type BhyveHost } from '../../../fakes/bhyve-host.js';
import { guestDefinition, instanceA, instanceB } from '../../../fakes/guest-definition.js';
import { noMetrics, recordingLog, type RecordingLog } from '../../../fakes/recording-log.js';
import { createVirtualClock } from '../../../fakes/virtual-clock.js';

let host: BhyveHost;
let lifecycle: LifecycleDeps;
let mutex: KeyedMutex<InstanceUuid>;
let watch: Watch;
let events: GuestEvent[];
let log: RecordingLog;

beforeEach(async () => {
  const clock = createVirtualClock();
  host = createBhyveHost(clock);
  log = recordingLog();
  const capabilities = await probeCapabilities(host, { firmwareDirs: ['/usr/local/share/edk2-bhyve'], bootMessagesPath: '/var/run/dmesg.boot' });
  lifecycle = {
    host, clock, log: log.log, files: createGuestFiles(host, '/var/db/nova-bhyve'), capabilities: () => capabilities, vnc: null, closeScreen: async () => undefined,
    boot: () => readBootId(host), allocations: new KeyedMutex(), taken: createTakenNumbers(createGuestFiles(host, '/var/db/nova-bhyve'), log.log),
    listening: async () => new Set(), startTimeoutMs: 30_000, consoleLogMaxBytes: 8_388_608, isTrial: false,
  };
  mutex = new KeyedMutex();
  watch = createWatch({ lifecycle, clock, log: log.log, metrics: noMetrics, mutex });
  events = [];
  watch.onEvent((event) => events.push(event));
  for (const instance of [instanceA, instanceB]) {
    await defineGuest(lifecycle, guestDefinition({ instance }));
    const { process } = await startGuest(lifecycle, instance);
    watch.note(instance, { kind: 'running', pid: process.pid, isSupervised: true });
  }
  await watch.tick(true);
});

test('our own starts are no events', () => {
  expect(events).toEqual([]);
});

test('what a supervisor says of a start of ours is believed without a process list', async () => {
  let looks = 0;
  const real = { ...host.processes };
  host.processes.list = () => { looks += 1; return real.list(); };
  host.processes.find = (pid) => { looks += 1; return real.find(pid); };
  host.outside.put(`/var/db/nova-bhyve/events/${instanceA}`, '');
  await watch.tick(false);
  expect([events, looks]).toEqual([[], 0]);
});

test('a sweep over guests that are well reads none of their files', async () => {
  const reads: string[] = [];
  const real = { ...host.files };
  host.files.readText = (path) => { reads.push(path); return real.readText(path); };
  await watch.tick(true);
  expect(reads).toEqual([]);
});

test('a guest that powers itself off is seen at the next tick, without a process list', async () => {
  host.exit(instanceA, 1);
  host.processes.list = () => Promise.reject(new Error('a tick must not list processes'));
  await watch.tick(false);
  expect(events).toMatchObject([{ instance: instanceA, kind: 'stopped', verdict: { kind: 'powered-off' } }]);
  await watch.tick(false);
  expect(events).toHaveLength(1);
});

test('a crash is seen at the next tick with its signal', async () => {
  host.exit(instanceA, 139);
  await watch.tick(false);
  expect(events).toMatchObject([{ instance: instanceA, kind: 'stopped', verdict: { kind: 'crashed', signal: 'SIGSEGV' } }]);
});

test('a guest that reboots itself is rebooted, never stopped', async () => {
  host.exit(instanceA, 0);
  await watch.tick(true);
  expect(events).toMatchObject([{ instance: instanceA, kind: 'rebooted' }]);
});

test('a change during an operation of ours waits until the operation is over', async () => {
  await mutex.run(instanceA, async () => {
    host.exit(instanceA, 1);
    await watch.tick(true);
    expect(events).toEqual([]);
  });
  await watch.tick(false);
  expect(events).toMatchObject([{ kind: 'stopped' }]);
});

test('a guest whose supervisor is killed is warned of once, and its end is found by the sweep and cleaned up', async () => {
  host.killSupervisor(instanceA);
  await watch.tick(true);
  await watch.tick(true);
  expect(log.lines().filter(({ msg }) => typeof msg === 'string' && msg.includes('lost its supervisor'))).toHaveLength(1);
  host.exit(instanceA, 1);
  await watch.tick(false);
  expect(events).toEqual([]);
  await watch.tick(true);
  expect(events).toMatchObject([{ instance: instanceA, kind: 'stopped', verdict: { kind: 'crashed' } }]);
  expect(await host.files.list('/dev/vmm')).toEqual([instanceB]);
});

test('a listener that throws does not keep the others from hearing', async () => {
  const second: GuestEvent[] = [];
  watch = createWatch({ lifecycle, clock: lifecycle.clock, log: log.log, metrics: noMetrics, mutex });
  await adoptGuests(lifecycle, watch);
  watch.onEvent(() => { throw new Error('bad listener'); });
  watch.onEvent((event) => second.push(event));
  host.exit(instanceA, 1);
  await watch.tick(false);
  expect(second).toHaveLength(1);
});

test('names in the events folder that are no guests are left alone', async () => {
  host.outside.put('/var/db/nova-bhyve/events/notes', 'x');
  await watch.tick(true);
  expect(host.outside.text('/var/db/nova-bhyve/events/notes')).toBe('x');
});
