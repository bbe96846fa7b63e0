/** Pausing by SIGSTOP and SIGCONT, with everything that a paused guest can meet; and the NMI. */
import { beforeEach, expect, test } from 'vitest';
import { createBhyveDriver, powerStates, type HypervisorDriver } from '../../../../src/virt/index.js';
import { createBhyveHost, type BhyveHost } from '../../../fakes/bhyve-host.js';
import { guestDefinition, instanceA } from '../../../fakes/guest-definition.js';
import { noMetrics, recordingLog } from '../../../fakes/recording-log.js';
import { createVirtualClock, type VirtualClock } from '../../../fakes/virtual-clock.js';

let clock: VirtualClock;
let host: BhyveHost;
let driver: HypervisorDriver;

async function newDriver(): Promise<HypervisorDriver> {
  const made = createBhyveDriver({
    host, statePath: '/var/db/nova-bhyve', firmwareDirs: ['/usr/local/share/edk2-bhyve'], clock, log: recordingLog().log, metrics: noMetrics,
    vnc: { address: '127.0.0.1', portRange: { first: 5900, last: 5902 } },
  });
  await made.prepare();
  return made;
}

beforeEach(async () => {
  clock = createVirtualClock();
  host = createBhyveHost(clock);
  driver = await newDriver();
  await driver.define(guestDefinition({ nics: [] }));
  await driver.start(instanceA);
});

const signals = (): string[] => host.calls.filter((call) => call.startsWith('kill'));
const pid = (): number | undefined => host.guest(instanceA)?.pid;

test('a paused guest keeps its process, says paused, and goes on as the same one', async () => {
  const before = pid();
  await driver.pause(instanceA);
  expect(await driver.powerState(instanceA)).toBe(powerStates.paused);
  expect((await driver.diagnostics(instanceA)).state).toBe('paused');
  await driver.unpause(instanceA);
  expect(await driver.powerState(instanceA)).toBe(powerStates.running);
  expect(pid()).toBe(before);
  expect(signals()).toEqual([`kill SIGSTOP bhyve: ${instanceA}`, `kill SIGCONT bhyve: ${instanceA}`]);
});

test('pausing and unpausing twice sends nothing the second time', async () => {
  await driver.pause(instanceA);
  await driver.pause(instanceA);
  await driver.unpause(instanceA);
  await driver.unpause(instanceA);
  expect(signals()).toHaveLength(2);
});

test('after a restart of the agent it is still paused, and can be told to go on', async () => {
  await driver.pause(instanceA);
  await driver.close();
  driver = await newDriver();
  await driver.adopt();
  expect(await driver.state(instanceA)).toMatchObject({ kind: 'running', isPaused: true });
  await driver.unpause(instanceA);
  expect(await driver.powerState(instanceA)).toBe(powerStates.running);
  await driver.close();
});

test('it shows no screen while it is paused, because nobody would answer there', async () => {
  expect(await driver.vncEndpoint(instanceA)).toEqual({ host: '127.0.0.1', port: 5900 });
  await driver.pause(instanceA);
  expect(await driver.vncEndpoint(instanceA)).toBeNull();
  await driver.unpause(instanceA);
  expect(await driver.vncEndpoint(instanceA)).toEqual({ host: '127.0.0.1', port: 5900 });
});

test('a stop with a grace does not wait for a guest that cannot hear: it is killed, and counts as powered off', async () => {
  await driver.pause(instanceA);
  const before = clock.monotonicMs();
  expect(await driver.stop(instanceA, { graceMs: 60_000, retryMs: 10_000 })).toMatchObject({ kind: 'powered-off' });
  expect(clock.monotonicMs() - before).toBeLessThan(5000);
  expect(signals()).toEqual([`kill SIGSTOP bhyve: ${instanceA}`, `kill SIGKILL bhyve: ${instanceA}`]);
  expect(await driver.powerState(instanceA)).toBe(powerStates.shutdown);
  expect(await host.files.list('/dev/vmm')).toEqual([]);
});

test('a soft reboot of it is left to the hard one, and removing it leaves nothing', async () => {
  await driver.pause(instanceA);
  expect(await driver.softReboot(instanceA, { graceMs: 60_000, retryMs: 10_000 })).toBe(false);
  await driver.destroy(instanceA);
  expect(await driver.list()).toEqual([]);
  expect(await host.files.list('/dev/vmm')).toEqual([]);
});

test('a guest that does not stop is told to go on, and the request fails', async () => {
  const signal = host.processes.signal.bind(host.processes);
  Object.assign(host.processes, { signal: async (proof: Parameters<typeof signal>[0], name: NodeJS.Signals) => (name === 'SIGSTOP' ? true : signal(proof, name)) });
  await expect(driver.pause(instanceA)).rejects.toMatchObject({ code: 'guest-pause-failed' });
  expect(await driver.powerState(instanceA)).toBe(powerStates.running);
});

test('a guest that is off can neither be paused nor be given an NMI, and nothing is signalled', async () => {
  await driver.stop(instanceA, { graceMs: 0, retryMs: 0 });
  host.calls.splice(0);
  for (const ask of [driver.pause(instanceA), driver.unpause(instanceA), driver.injectNmi(instanceA)]) {
    await expect(ask).rejects.toMatchObject({ code: 'guest-not-running', wire: { className: 'InstanceNotRunning' } });
  }
  expect(host.calls.filter((call) => call.startsWith('kill') || call.includes('inject'))).toEqual([]);
});

test('an NMI goes to the first processor of the guest, once', async () => {
  await driver.injectNmi(instanceA);
  expect(host.guest(instanceA)?.nmis).toBe(1);
  expect(host.calls.filter((call) => call.includes('nmi'))).toEqual([`bhyvectl --vm=${instanceA} --inject-nmi`]);
});

test('a process that somebody else named like our guest is never paused', async () => {
  host.exit(instanceA, 1);
  host.addProcess(`bhyve: ${instanceA}`);
  await expect(driver.pause(instanceA)).rejects.toMatchObject({ code: 'guest-not-running' });
  expect(signals()).toEqual([]);
});
