/** The agent dies before and after each thing it does to the machine; a new agent adopts, does the operation again, and the machine is right. */
import { expect, test } from 'vitest';
import { createBhyveDriver, powerStates, type HypervisorDriver } from '../../../../src/virt/index.js';
import { renderSelfTest } from '../../../../src/virt/bhyve/save-capability.js';
import { readSaveIdentity } from '../../../../src/virt/bhyve/save-identity.js';
import type { Host } from '../../../../src/host/index.js';
import { createBhyveHost, type BhyveHost } from '../../../fakes/bhyve-host.js';
import { guestDefinition, instanceA } from '../../../fakes/guest-definition.js';
import { noMetrics, recordingLog } from '../../../fakes/recording-log.js';
import { createVirtualClock, type VirtualClock } from '../../../fakes/virtual-clock.js';

const statePath = '/var/db/nova-bhyve';
const killed = new Error('the agent was killed');

/** The host as seen by an agent that is killed at its `dieAt`-th effect: before it, or (odd numbers) right after it. From then on nothing works. */
function mortal(host: BhyveHost, dieAt: number): { host: Host; isDead: () => boolean } {
  let effects = 0;
  let isDead = false;
  const effect = <Args extends unknown[], T>(call: (...args: Args) => Promise<T>) => async (...args: Args): Promise<T> => {
    if (isDead) throw killed;
    effects += 1;
    isDead ||= effects === dieAt;
    if (isDead) throw killed;
    const result = await call(...args);
    effects += 1;
    isDead ||= effects === dieAt;
    if (isDead) throw killed;
    return result;
  };
  const look = <Args extends unknown[], T>(call: (...args: Args) => Promise<T>) => async (...args: Args): Promise<T> => {
    if (isDead) throw killed;
    return call(...args);
  };
  const { files, processes } = host;
  return {
    isDead: () => isDead,
    host: {
      ...host, run: effect((...args: Parameters<Host['run']>) => host.run(...args)), sysctl: look((name: string) => host.sysctl(name)),
      processes: { ...processes, list: look(() => processes.list()), find: look((pid: number) => processes.find(pid)), signal: effect((...args: Parameters<typeof processes.signal>) => processes.signal(...args)) },
      files: {
        ...files,
        readText: look((...args: Parameters<typeof files.readText>) => files.readText(...args)), exists: look((path: string) => files.exists(path)), list: look((path: string) => files.list(path)),
        writeAtomic: effect((...args: Parameters<typeof files.writeAtomic>) => files.writeAtomic(...args)), copy: effect((...args: Parameters<typeof files.copy>) => files.copy(...args)),
        rename: effect((...args: Parameters<typeof files.rename>) => files.rename(...args)), remove: effect((...args: Parameters<typeof files.remove>) => files.remove(...args)),
        makeDirectory: effect((...args: Parameters<typeof files.makeDirectory>) => files.makeDirectory(...args)),
      },
    },
  };
}

const driverOn = (host: Host, clock: VirtualClock): HypervisorDriver => createBhyveDriver({
  host, statePath, firmwareDirs: ['/usr/local/share/edk2-bhyve'], clock, log: recordingLog().log, metrics: noMetrics, vnc: { address: '127.0.0.1', portRange: { first: 5900, last: 5910 } },
});

interface Story {
  readonly before: (driver: HypervisorDriver, host: BhyveHost) => Promise<void>;
  readonly act: (driver: HypervisorDriver) => Promise<unknown>;
  readonly after: (driver: HypervisorDriver, host: BhyveHost) => Promise<void>;
}

const startedGuest = async (driver: HypervisorDriver): Promise<void> => {
  await driver.define(guestDefinition());
  await driver.start(instanceA);
};
const isRunningOnce = async (driver: HypervisorDriver, host: BhyveHost): Promise<void> => {
  expect(await driver.powerState(instanceA)).toBe(powerStates.running);
  expect([...host.processTable.values()].filter(({ command }) => command === `bhyve: ${instanceA}`)).toHaveLength(1);
  expect(await host.files.list('/dev/vmm')).toEqual([instanceA]);
  host.exit(instanceA, 0);
  expect(await driver.powerState(instanceA), 'a reboot of its own does not end it').toBe(powerStates.running);
};
const isOff = async (driver: HypervisorDriver, host: BhyveHost): Promise<void> => {
  expect(await driver.powerState(instanceA)).toBe(powerStates.shutdown);
  expect(host.processTable.size).toBe(0);
  expect(await host.files.list('/dev/vmm')).toEqual([]);
  await driver.start(instanceA);
  expect(await driver.powerState(instanceA)).toBe(powerStates.running);
};

/** A guest on a host that has shown that it can save; the story knows what the guest remembers. */
const savableGuest = async (driver: HypervisorDriver, host: BhyveHost, changes: Parameters<typeof guestDefinition>[0] = {}): Promise<void> => {
  host.answers.set('bhyvectl ', { code: 1, stdout: '', stderr: '[--suspend=<filename>]\n' });
  const identity = await readSaveIdentity(host, { cpuModel: 'AMD EPYC Processor', cpuVendor: 'AMD', release: '13.2-RELEASE' });
  const models = ['hostbridge', 'lpc', 'virtio-blk', 'virtio-net', 'ahci', 'fbuf', 'xhci'];
  host.outside.put(`${statePath}/selftest/save-restore.json`, renderSelfTest([{ at: '2026-11-23T03:00:00.000Z', host: identity, family: 'kern-structs', models, isGood: true, reason: '' }]));
  await driver.prepare();
  await driver.define(guestDefinition({ memoryMiB: 1, ...changes }));
  await driver.start(instanceA);
  host.guest(instanceA)!.memory = 'what it counted';
};
const disks = { root: 'disk 1 as in snapshot 2' };
const quiet = new AbortController().signal;
const saved = (driver: HypervisorDriver): Promise<void> => driver.suspend(instanceA, { holdDisks: async () => disks, signal: quiet });
const restored = (driver: HypervisorDriver): Promise<void> => driver.resume(instanceA, { disks, signal: quiet });
const remembers = async (driver: HypervisorDriver, host: BhyveHost): Promise<void> => {
  expect(host.guest(instanceA)?.memory).toBe('what it counted');
  expect(await driver.hasSave(instanceA)).toBe(false);
  expect(host.outside.paths().filter((path) => path.includes('/suspend'))).toEqual([]);
  await isRunningOnce(driver, host);
};
const isSaved = async (driver: HypervisorDriver, host: BhyveHost): Promise<void> => {
  expect(await driver.powerState(instanceA)).toBe(powerStates.suspended);
  expect(host.processTable.size).toBe(0);
  await restored(driver);
  await remembers(driver, host);
};

const stories: Readonly<Record<string, Story>> = {
  define: { before: async () => undefined, act: (driver) => driver.define(guestDefinition()), after: async (driver, host) => { await driver.start(instanceA); await isRunningOnce(driver, host); } },
  start: { before: (driver) => driver.define(guestDefinition()), act: (driver) => driver.start(instanceA), after: isRunningOnce },
  'graceful stop': { before: startedGuest, act: (driver) => driver.stop(instanceA, { graceMs: 10_000, retryMs: 1000 }), after: isOff },
  'stop of a guest that has not switched ACPI on': {
    before: async (driver, host) => { await startedGuest(driver); host.guest(instanceA)!.hasAcpi = false; },
    act: (driver) => driver.stop(instanceA, { graceMs: 10_000, retryMs: 1000 }), after: isOff,
  },
  'forced stop': { before: startedGuest, act: (driver) => driver.stop(instanceA, { graceMs: 0, retryMs: 1000 }), after: isOff },
  'forced stop of a guest without a supervisor': {
    before: async (driver, host) => { await startedGuest(driver); host.killSupervisor(instanceA); },
    act: (driver) => driver.stop(instanceA, { graceMs: 0, retryMs: 1000 }), after: isOff,
  },
  suspend: { before: savableGuest, act: saved, after: isSaved },
  'suspend on a bhyve that ends with 0': { before: async (driver, host) => { host.saves.exit = 0; await savableGuest(driver, host); }, act: saved, after: isSaved },
  'suspend where bhyve writes beside the first disk only': {
    before: async (driver, host) => {
      host.outside.put('/usr/sbin/bhyve', 'ELF cap_enter');
      host.saves.isConfined = true;
      await savableGuest(driver, host, { disks: [{ role: 'root', path: '/tank/disks/root.qcow2', serial: 'a', bus: 'sata', kind: 'disk' }], configDrive: null });
    },
    act: saved,
    after: async (driver, host) => {
      expect(host.outside.paths().filter((path) => path.includes('.saving'))).toEqual([]);
      await isSaved(driver, host);
    },
  },
  'resume after a patch, which the operator has allowed': {
    before: async (driver, host) => {
      await savableGuest(driver, host);
      await saved(driver);
      host.sysctls.set('kern.version', 'patched');
      expect(await driver.allowSave(instanceA)).toBe('the kernel');
    },
    act: restored, after: remembers,
  },
  resume: { before: async (driver, host) => { await savableGuest(driver, host); await saved(driver); }, act: restored, after: remembers },
  destroy: {
    before: startedGuest, act: (driver) => driver.destroy(instanceA),
    after: async (_driver, host) => {
      expect(host.processTable.size).toBe(0);
      expect(await host.files.list('/dev/vmm')).toEqual([]);
      expect(host.outside.paths().filter((path) => path.startsWith(statePath))).toEqual([]);
    },
  },
};

test.each(Object.entries(stories))('%s survives a kill of the agent before and after each of its effects', async (_name, story) => {
  let deaths = 0;
  for (let dieAt = 1; ; dieAt += 1) {
    const clock = createVirtualClock();
    const host = createBhyveHost(clock);
    const first = driverOn(host, clock);
    await first.prepare();
    await story.before(first, host);
    const agent = mortal(host, dieAt);
    const victim = driverOn(agent.host, clock);
    await victim.prepare().catch(() => undefined);
    await story.act(victim).catch(() => undefined);
    if (!agent.isDead()) break;
    deaths += 1;
    const next = driverOn(host, clock);
    await next.prepare();
    await next.adopt();
    await next.close();
    await story.act(next);
    await story.after(next, host);
  }
  expect(deaths).toBeGreaterThan(10);
});
