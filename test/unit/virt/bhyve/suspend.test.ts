/** Saving and restoring guests, with a bhyve that says nothing about how it went. */
import { beforeEach, describe, expect, test } from 'vitest';
import { createBhyveDriver, powerStates, type GuestDefinition, type HypervisorDriver } from '../../../../src/virt/index.js';
import { renderSelfTest, type SelfTestResult } from '../../../../src/virt/bhyve/save-capability.js';
import { readSaveIdentity } from '../../../../src/virt/bhyve/save-identity.js';
import { createBhyveHost, type BhyveHost } from '../../../fakes/bhyve-host.js';
import { guestDefinition, instanceA, instanceB } from '../../../fakes/guest-definition.js';
import { noMetrics, recordingLog } from '../../../fakes/recording-log.js';
import { createVirtualClock, type VirtualClock } from '../../../fakes/virtual-clock.js';

const statePath = '/var/db/nova-bhyve';
const folder = `${statePath}/instances/${instanceA}`;
const models = ['hostbridge', 'lpc', 'virtio-blk', 'virtio-net', 'ahci', 'fbuf', 'xhci', 'nvme'];
const disks = { root: 'disk 1 as in snapshot 2' };
const quiet = new AbortController().signal;
const holdDisks = async (): Promise<typeof disks> => disks;
let clock: VirtualClock;
let host: BhyveHost;
let driver: HypervisorDriver;

const snapshotUsage = { code: 1, stdout: '', stderr: 'Usage: bhyvectl --vm=<vmname>\n       [--suspend=<filename>]\n' };

async function newDriver(options: { mayRestore?: boolean } = {}): Promise<HypervisorDriver> {
  const made = createBhyveDriver({
    host, statePath, firmwareDirs: ['/usr/local/share/edk2-bhyve'], clock, log: recordingLog().log, metrics: noMetrics, vnc: { address: '127.0.0.1', portRange: { first: 5900, last: 5902 } }, ...options,
  });
  await made.prepare();
  return made;
}

async function passSelfTest(over: Partial<SelfTestResult> = {}): Promise<void> {
  const identity = await readSaveIdentity(host, { cpuModel: 'AMD EPYC Processor', cpuVendor: 'AMD', release: '13.2-RELEASE' });
  const result = { at: '2026-11-23T03:00:00.000Z', host: identity, family: host.saves.family, models, isGood: true, reason: '', ...over };
  host.outside.put(`${statePath}/selftest/save-restore.json`, renderSelfTest([result]));
}

async function running(changes: Partial<GuestDefinition> = {}): Promise<void> {
  await driver.define(guestDefinition({ memoryMiB: 1, ...changes }));
  await driver.start(instanceA);
}

beforeEach(async () => {
  clock = createVirtualClock();
  host = createBhyveHost(clock);
  host.answers.set('bhyvectl ', snapshotUsage);
  await passSelfTest();
  driver = await newDriver();
  await running();
});

const suspend = (): Promise<void> => driver.suspend(instanceA, { holdDisks, signal: quiet });
const resume = (now: Readonly<Record<string, string>> = disks): Promise<void> => driver.resume(instanceA, { disks: now, signal: quiet });
const left = (): string[] => host.outside.paths().filter((path) => path.startsWith(`${folder}/susp`) || path === `${folder}/restore`);
const requests = (): string[] => host.calls.filter((call) => call.includes('--suspend='));
const expectGoesOn = async (memory: string | undefined): Promise<void> => {
  expect(await driver.powerState(instanceA)).toBe(powerStates.running);
  expect(host.guest(instanceA)?.memory).toBe(memory);
  expect(left()).toEqual([]);
  host.exit(instanceA, 0);
  expect(await driver.powerState(instanceA), 'a reboot of its own does not end it').toBe(powerStates.running);
};

describe('a save', () => {
  test.each([['kern-structs', 5], ['kern-structs', 0], ['structs', 0]] as const)('in files of %s that ends with %i brings the guest back with its memory, and is gone then', async (family, exit) => {
    Object.assign(host.saves, { family, exit });
    await passSelfTest();
    const memory = host.guest(instanceA)?.memory;
    await suspend();
    expect(await driver.powerState(instanceA)).toBe(powerStates.suspended);
    expect(host.guest(instanceA)).toBeUndefined();
    expect(left().map((path) => path.slice(folder.length))).toEqual(['/suspended/bhyve.conf', '/suspended/ram.kern', '/suspended/ram', '/suspended/ram.meta', '/suspended/nvram.fd', '/suspended/manifest.json']);
    expect(requests()).toEqual([`bhyvectl --vm=${instanceA} --suspend=${folder}/suspended.partial/ram`]);
    await resume();
    expect(host.calls.filter((call) => call.startsWith('bhyve -k'))).toEqual([`bhyve -k bhyve.conf -r ${folder}/suspended/ram ${instanceA}`]);
    await expectGoesOn(memory);
    expect(host.guest(instanceA)?.memory, 'the reboot was a cold start').not.toBe(memory);
  });

  test.each([0, 1, 64])('is none because bhyvectl ended with %i, nor any the less one', async (code) => {
    host.saves.requestCode = code;
    host.saves.outcome = 'refused';
    await expect(suspend()).rejects.toMatchObject({ code: 'guest-suspend-failed' });
    expect([await driver.powerState(instanceA), await driver.hasSave(instanceA)]).toEqual([powerStates.running, false]);
    host.saves.outcome = 'complete';
    await suspend();
    expect([await driver.powerState(instanceA), await driver.hasSave(instanceA)]).toEqual([powerStates.suspended, true]);
  });

  test('is marked before bhyve is asked, and the disks are held after the guest has ended', async () => {
    const order: string[] = [];
    const run = host.run.bind(host);
    host.run = async (tool, args, options) => {
      if (args.some((arg) => arg.startsWith('--suspend='))) order.push(`asked, marked: ${host.outside.text(`${folder}/suspending`) !== undefined}`);
      return run(tool, args, options);
    };
    driver = await newDriver();
    await driver.suspend(instanceA, { signal: quiet, holdDisks: async () => { order.push(`held, running: ${host.guest(instanceA) !== undefined}`); return disks; } });
    expect(order).toEqual(['asked, marked: true', 'held, running: false']);
    expect(JSON.parse(host.outside.text(`${folder}/suspended/manifest.json`) ?? '')).toMatchObject({
      version: 1, instance: instanceA, family: 'kern-structs', memoryMiB: 1, disks, host: { cpuModel: 'AMD EPYC Processor', release: '13.2-RELEASE' }, files: { ram: { bytes: 1024 * 1024 } },
    });
  });

  test('is found again by another agent and after a reset of the host', async () => {
    await suspend();
    host.reboot();
    driver = await newDriver();
    await driver.adopt();
    await driver.close();
    expect([await driver.powerState(instanceA), await driver.hasSave(instanceA)]).toEqual([powerStates.suspended, true]);
  });

  test('that is there is not made again', async () => {
    await suspend();
    await suspend();
    expect(requests()).toHaveLength(1);
  });

  test('a cold start leaves it for the caller to drop, and a removal takes it along', async () => {
    await suspend();
    await driver.start(instanceA);
    expect([await driver.powerState(instanceA), await driver.hasSave(instanceA)]).toEqual([powerStates.running, true]);
    await driver.dropSave(instanceA);
    expect(left()).toEqual([]);
    await suspend();
    await driver.destroy(instanceA);
    expect(host.outside.paths().filter((path) => path.startsWith(folder))).toEqual([]);
  });
});

describe('a save that fails', () => {
  test.each(['refused', 'fails'] as const)('because bhyve %s it lets the guest go on as it was', async (outcome) => {
    host.saves.outcome = outcome;
    const memory = host.guest(instanceA)?.memory;
    await expect(suspend()).rejects.toMatchObject({ code: 'guest-suspend-failed', wire: { className: 'InstanceSuspendFailure' } });
    await expectGoesOn(memory);
  });

  test.each(['cut', 'short', 'dies'] as const)('with the end of the guest (%s) is a crash with a reason, and no part of it stays', async (outcome) => {
    host.saves.outcome = outcome;
    await expect(suspend()).rejects.toMatchObject({ code: 'guest-suspend-failed', wire: { message: expect.stringContaining('not complete') as unknown } });
    expect(await driver.state(instanceA)).toMatchObject({ kind: 'stopped', verdict: { kind: 'crashed' } });
    expect([await driver.powerState(instanceA), left(), await driver.hasSave(instanceA)]).toEqual([powerStates.crashed, [], false]);
  });

  test('a reboot of the guest in that moment is no save', async () => {
    host.saves.tookMs = 4000;
    clock.after(1500, () => host.exit(instanceA, 0));
    await expect(suspend()).rejects.toMatchObject({ code: 'guest-suspend-failed' });
    expect(await driver.powerState(instanceA)).toBe(powerStates.crashed);
  });

  test('a reset of the host before the files were on its disk is the end of it', async () => {
    await expect(driver.suspend(instanceA, { signal: quiet, holdDisks: () => Promise.reject(new Error('the agent was killed')) })).rejects.toThrow('killed');
    host.reboot();
    driver = await newDriver();
    await driver.adopt();
    await driver.close();
    await expect(suspend()).rejects.toMatchObject({ code: 'guest-suspend-failed', message: expect.stringContaining('the host was reset') as unknown });
    expect([await driver.powerState(instanceA), left()]).toEqual([powerStates.crashed, []]);
  });

  test('that neither ends nor fails is left alone after its time, marked as it is', async () => {
    host.saves.outcome = 'stuck';
    await expect(suspend()).rejects.toMatchObject({ code: 'guest-suspend-unfinished' });
    expect(clock.monotonicMs()).toBeGreaterThan(90_000);
    expect(left()).toContain(`${folder}/suspending`);
    await driver.stop(instanceA, { graceMs: 0, retryMs: 0 });
    await driver.start(instanceA);
    expect(left()).toEqual([]);
  });
});

describe('a mark that an agent left when it was killed', () => {
  test('is taken away at the next start if bhyve was never asked, so that a reboot of the guest is no end of it', async () => {
    host.outside.put(`${folder}/suspending`, 'boottime-1');
    driver = await newDriver();
    await driver.adopt();
    await driver.close();
    await expectGoesOn(host.guest(instanceA)?.memory);
  });

  test('stays while bhyve saves, and the save is completed by whoever asks again', async () => {
    host.saves.tookMs = 60_000;
    const gone = new AbortController();
    clock.after(5000, () => gone.abort(new Error('the agent was killed')));
    const memory = host.guest(instanceA)?.memory;
    await expect(driver.suspend(instanceA, { holdDisks, signal: gone.signal })).rejects.toThrow('killed');
    driver = await newDriver();
    await driver.adopt();
    await driver.close();
    expect(left()).toContain(`${folder}/suspending`);
    host.freeBytes = 0n; // it takes the room itself
    expect(await driver.whyNoSuspend(instanceA)).toBeNull();
    await suspend();
    expect([requests().length, await driver.powerState(instanceA)]).toEqual([1, powerStates.suspended]);
    await resume();
    await expectGoesOn(memory);
  });
});

describe('before the guest is touched', () => {
  const expectRefused = async (why: RegExp): Promise<void> => {
    expect(await driver.whyNoSuspend(instanceA)).toMatch(why);
    await expect(suspend()).rejects.toMatchObject({ code: 'guest-not-savable', wire: { className: 'InstanceSuspendFailure', message: expect.stringMatching(why) as unknown } });
    expect(requests()).toEqual([]);
    expect(left()).toEqual([]);
    expect(await driver.state(instanceA)).toMatchObject({ kind: 'running' });
  };

  describe('an NVMe disk', () => {
    const nvmeDisks = { disks: (['root', 'eph0'] as const).map((role) => ({ role, path: `/dev/zvol/${role}`, serial: role, bus: role === 'root' ? 'virtio' as const : 'nvme' as const, kind: 'disk' as const })), configDrive: null };
    beforeEach(async () => {
      await driver.stop(instanceA, { graceMs: 0, retryMs: 0 });
      await running(nvmeDisks);
    });

    test.each(['kern-structs', 'structs'] as const)('is refused by its role with the way out where no self-test brought one back (%s)', async (family) => {
      host.saves.family = family;
      await passSelfTest({ models: models.filter((model) => model !== 'nvme') });
      await expectRefused(/its eph0 disk \(nvme in slot \d+\) would not come back: .*bhyve_disk_bus=virtio.*CUSTOM_BHYVE_SAVE_NVME/);
      expect((await driver.inventory()).traits).not.toContain('CUSTOM_BHYVE_SAVE_NVME');
    });

    test('is saved and comes back where the self-test had one; Placement is told', async () => {
      expect((await driver.inventory()).traits).toEqual(expect.arrayContaining(['CUSTOM_BHYVE_SAVE_RESTORE', 'CUSTOM_BHYVE_SAVE_NVME']));
      const memory = host.guest(instanceA)?.memory;
      await suspend();
      expect(host.outside.text(`${folder}/suspended/ram.meta`)).toMatch(/"nvme@pci\.0\.\d+\.0",\s+"size": 1024/);
      await resume();
      await expectGoesOn(memory);
    });

    test('of which only the PCI part was saved makes the save none, whatever the self-test had said', async () => {
      host.saves.savesBareNvme = true;
      await expect(suspend()).rejects.toMatchObject({ code: 'guest-suspend-failed', message: expect.stringMatching(/nvme@pci\.0\.\d+\.0 has 64 bytes, no more than its PCI part/) as unknown });
      expect([await driver.powerState(instanceA), await driver.hasSave(instanceA), left()]).toEqual([powerStates.crashed, false, []]);
    });
  });

  test('the operator is told of NVMe disks apart from all others', async () => {
    const answer = async (): Promise<unknown> => (await newDriver()).capabilities.findings.find(({ probe }) => probe === 'NVMe disks in a save');
    expect(await answer()).toMatchObject({ isOk: true, answer: 'came back in the self-test' });
    await passSelfTest({ models: models.filter((model) => model !== 'nvme') });
    expect(await answer()).toMatchObject({ isOk: false, advice: expect.stringContaining('bhyve_disk_bus=nvme') as unknown });
    await passSelfTest({ isGood: false });
    expect(await answer()).toBeUndefined();
  });

  test('a second disk is refused where bhyve saves one of a type, and saved where it saves all', async () => {
    const two = { configDrive: null, disks: (['root', 'swap'] as const).map((role) => ({ role, path: `/dev/zvol/${role}`, serial: role, bus: 'virtio' as const, kind: 'disk' as const })) };
    await driver.stop(instanceA, { graceMs: 0, retryMs: 0 });
    await running(two);
    host.saves.family = 'structs';
    await passSelfTest();
    await expectRefused(/virtio-blk in slot 5 would be lost: bhyve saves only the first virtio-blk/);
    host.saves.family = 'kern-structs';
    await passSelfTest();
    await suspend();
    await resume();
    expect(await driver.powerState(instanceA)).toBe(powerStates.running);
  });

  test('a second network card is refused by its slot where bhyve saves one of a type, and comes back where it saves all', async () => {
    const nics = ['1', '2'].map((digit) => ({ port: `1a2b3c4d-5e6f-4a1b-8c9d-0e1f2a3b4c5${digit}`, tapName: `tap1a2b3c4d-5${digit}`, mac: `fa:16:3e:aa:bb:0${digit}`, mtu: 1500, model: 'virtio' as const }));
    await driver.stop(instanceA, { graceMs: 0, retryMs: 0 });
    await running({ nics });
    host.saves.family = 'structs';
    await passSelfTest();
    await expectRefused(/virtio-net in slot \d+ would be lost: bhyve saves only the first virtio-net/);
    expect((await driver.inventory()).traits).not.toContain('CUSTOM_BHYVE_SAVE_MULTI');
    host.saves.family = 'kern-structs';
    await passSelfTest();
    await suspend();
    expect(host.outside.text(`${folder}/suspended/ram.meta`)?.match(/virtio-net@pci\.0\.\d+\.0/g)).toHaveLength(2);
    await resume();
    expect(await driver.powerState(instanceA)).toBe(powerStates.running);
  });

  test('a device that no self-test had is refused', async () => {
    await passSelfTest({ models: models.filter((model) => model !== 'fbuf') });
    await expectRefused(/fbuf in slot 29 was in no self-test/);
  });

  test('a paused guest is refused', async () => {
    await driver.pause(instanceA);
    await expectRefused(/unpause it first/);
  });

  test('too little room is told in numbers', async () => {
    host.freeBytes = 65n * 1024n * 1024n - 1n;
    await expectRefused(/takes 65 MiB below state_path, and 64 MiB are free/);
    host.freeBytes = 65n * 1024n * 1024n;
    expect(await driver.whyNoSuspend(instanceA)).toBeNull();
  });

  test('without a self-test of this very bhyve nothing is saved, and what is written by one that passes later counts at once', async () => {
    host.outside.put('/usr/sbin/bhyve', 'another program');
    await expectRefused(/this host cannot save guests: no self-test has restored a guest here.*; the last self-test was with something else: the bhyve program/);
    expect((await driver.inventory()).traits).not.toContain('CUSTOM_BHYVE_SAVE_RESTORE');
    await passSelfTest();
    expect(await driver.whyNoSuspend(instanceA)).toBeNull();
    expect((await driver.inventory()).traits).toEqual(expect.arrayContaining(['CUSTOM_BHYVE_SAVE_RESTORE', 'CUSTOM_BHYVE_SAVE_MULTI']));
  });

  test('a path that bhyve would cut is refused', async () => {
    const long = `/${'x'.repeat(181)}`;
    driver = createBhyveDriver({ host, statePath: long, firmwareDirs: ['/usr/local/share/edk2-bhyve'], clock, log: recordingLog().log, metrics: noMetrics, vnc: null });
    host.outside.put(`${long}/selftest/save-restore.json`, host.outside.text(`${statePath}/selftest/save-restore.json`) ?? '');
    await driver.prepare();
    await driver.define(guestDefinition({ memoryMiB: 1, instance: instanceB }));
    await driver.start(instanceB);
    expect(await driver.whyNoSuspend(instanceB)).toMatch(/longer than the 255 characters/);
  });

  test('a guest that is off is not saved', async () => {
    await driver.stop(instanceA, { graceMs: 0, retryMs: 0 });
    await expect(suspend()).rejects.toMatchObject({ code: 'guest-not-running' });
    expect(requests()).toEqual([]);
  });
});

describe('a restore', () => {
  beforeEach(suspend);
  const expectRefused = async (code: string, why: RegExp, now?: Readonly<Record<string, string>>): Promise<void> => {
    await expect(resume(now)).rejects.toMatchObject({ code, wire: { className: 'InstanceResumeFailure', message: expect.stringMatching(why) as unknown } });
    expect([await driver.powerState(instanceA), await driver.hasSave(instanceA)]).toEqual([powerStates.suspended, true]);
    expect(host.calls.filter((call) => call.includes(' -r '))).toEqual([]);
  };

  test('onto a disk that was written is refused by its role', async () => {
    await expectRefused('save-mismatch', /its root disk is not as it was/, { root: 'disk 1, written since' });
    await expectRefused('save-mismatch', /its swap disk/, { ...disks, swap: 'disk 3 as in snapshot 4' });
  });

  test('by another bhyve or on another processor is refused by its name', async () => {
    host.outside.put('/usr/sbin/bhyve', 'another program');
    await expectRefused('save-mismatch', /something else: the bhyve program/);
    host.outside.put('/usr/sbin/bhyve', 'the program');
    host.sysctls.set('kern.version', 'FreeBSD 13.2-RELEASE-p12');
    await expectRefused('save-mismatch', /something else: the kernel/);
    host.sysctls.delete('kern.version');
    host.sysctls.set('hw.model', 'AMD EPYC 2');
    driver = await newDriver();
    await expectRefused('save-mismatch', /the processor \(then AMD EPYC Processor, now AMD EPYC 2\)/);
  });

  test("on another maker's processor is refused, whatever else is the same, and the manifest says on which it was made", async () => {
    expect(JSON.parse(host.outside.text(`${folder}/suspended/manifest.json`) ?? '')).toMatchObject({ host: { cpuVendor: 'AMD' } });
    host.sysctls.set('hw.model', 'Intel(R) Xeon(R) Gold 6130');
    driver = await newDriver();
    expect(driver.capabilities.saveRestore).toMatchObject({ status: 'untested', reason: expect.stringContaining('now Intel') as unknown });
    await expectRefused('save-mismatch', /the processor's maker \(then AMD, now Intel\)/);
  });

  test.each(['ram', 'ram.kern', 'ram.meta', 'bhyve.conf', 'nvram.fd'])('of a save whose %s is not what was written is refused', async (name) => {
    host.outside.append(`${folder}/suspended/${name}`, ' ');
    await expectRefused('save-damaged', /its save is damaged/);
    await expect(resume()).rejects.toMatchObject({ cause: { message: expect.stringMatching(/octets, and had|describ|JSON/i) as unknown } });
  });

  test('of a save that is not of the server as it is defined now is refused', async () => {
    await driver.define(guestDefinition({ memoryMiB: 2 }));
    await expectRefused('save-mismatch', /does not fit the server: it has 1048576 bytes of memory/);
  });

  test('that was cut before it began is still a save; and what a cut one left makes no start a restore', async () => {
    host.outside.drop(`${folder}/verdict`);
    expect(await driver.powerState(instanceA)).toBe(powerStates.suspended);
    host.outside.put(`${folder}/restore`, `${folder}/suspended/ram`);
    await driver.start(instanceA);
    expect(host.guest(instanceA)?.memory).toMatch(/^cold start/);
    expect(host.calls.filter((call) => call.includes(' -r '))).toEqual([]);
  });

  test('of a save whose memory has another octet of the same size is refused', async () => {
    host.outside.put(`${folder}/suspended/ram`, 'X'.repeat(1024 * 1024));
    await expectRefused('save-damaged', /its save is damaged/);
  });

  test('of a save with a damaged manifest is refused, and so is one of a newer agent', async () => {
    const path = `${folder}/suspended/manifest.json`;
    const text = host.outside.text(path) ?? '';
    host.outside.put(path, text.slice(0, 40));
    await expectRefused('save-damaged', /its save is damaged/);
    host.outside.put(path, text.replace('"version": 1', '"version": 2'));
    await expect(resume()).rejects.toMatchObject({ code: 'layout-too-new' });
  });

  test.each(['refused', 'crashes'] as const)('that bhyve %s leaves the guest off and keeps the save; a cold start follows', async (outcome) => {
    host.saves.restore = outcome;
    await expect(resume()).rejects.toMatchObject({ code: 'guest-resume-failed', wire: { className: 'InstanceResumeFailure' } });
    expect([await driver.powerState(instanceA), await driver.hasSave(instanceA)]).toEqual([powerStates.shutdown, true]);
    expect(host.outside.text(`${folder}/verdict`)).toMatch(/reason=bhyve did not take the save back/);
    expect(await host.files.list('/dev/vmm')).toEqual([]);
    const before = host.calls.filter((call) => call.includes(' -r ')).length;
    await driver.start(instanceA);
    expect(host.guest(instanceA)?.memory).toMatch(/^cold start/);
    expect(host.calls.filter((call) => call.includes(' -r '))).toHaveLength(before);
  });

  test('moves the screen when its port is taken, and changes nothing else of the configuration', async () => {
    const saved = host.outside.text(`${folder}/suspended/bhyve.conf`) ?? '';
    host.answers.set('netstat --libxo json -an -p tcp', { code: 0, stderr: '', stdout: JSON.stringify({ statistics: { socket: [{ local: { port: '5900' }, 'tcp-state': 'LISTEN' }] } }) });
    await resume();
    expect(host.outside.text(`${folder}/bhyve.conf`)).toBe(saved.replace('rfb=127.0.0.1:5900', 'rfb=127.0.0.1:5901'));
    expect(await driver.vncEndpoint(instanceA)).toEqual({ host: '127.0.0.1', port: 5901 });
  });

  test('brings back the variables of the saved run', async () => {
    host.outside.put(`${folder}/nvram.fd`, 'of another run');
    await resume();
    expect(host.outside.text(`${folder}/nvram.fd`)).toBe('VARS');
  });

  test('of a guest that runs already only gives the save up', async () => {
    await driver.start(instanceA);
    await resume();
    expect([host.guest(instanceA)?.run, left()]).toEqual([1, []]);
  });
});

test('what is switched off by the operator is impossible, whatever the self-test says', async () => {
  driver = await newDriver({ mayRestore: false });
  expect(driver.capabilities.saveRestore).toMatchObject({ status: 'impossible', reason: 'switched off by [bhyve] save_restore' });
  expect(driver.capabilities.findings.at(-1)).toMatchObject({ probe: 'suspend and resume', isOk: false });
});
