/** An operator's word that a save of another kernel, bhyve or processor may be restored: what it overrides, what it does not, and for how long it holds. */
import { createHash } from 'node:crypto';
import { beforeEach, expect, test } from 'vitest';
import { createBhyveDriver, powerStates, type HypervisorDriver } from '../../../../src/virt/index.js';
import { renderSelfTest } from '../../../../src/virt/bhyve/save-capability.js';
import { readSaveIdentity } from '../../../../src/virt/bhyve/save-identity.js';
import { createBhyveHost, type BhyveHost } from '../../../fakes/bhyve-host.js';
import { guestDefinition, instanceA } from '../../../fakes/guest-definition.js';
import { noMetrics, recordingLog, type RecordingLog } from '../../../fakes/recording-log.js';
import { createVirtualClock, type VirtualClock } from '../../../fakes/virtual-clock.js';

const statePath = '/var/db/nova-bhyve';
const save = `${statePath}/instances/${instanceA}/suspended`;
const disks = { root: 'disk 1 as in snapshot 2' };
const signal = new AbortController().signal;
let clock: VirtualClock;
let host: BhyveHost;
let log: RecordingLog;
let driver: HypervisorDriver;
let memory: string | undefined;

async function newDriver(): Promise<HypervisorDriver> {
  const made = createBhyveDriver({ host, statePath, firmwareDirs: ['/usr/local/share/edk2-bhyve'], clock, log: log.log, metrics: noMetrics, vnc: null });
  await made.prepare();
  return made;
}

const selfTest = async (changes: Readonly<Record<string, string>> = {}): Promise<void> => {
  const identity = await readSaveIdentity(host, { cpuModel: 'AMD EPYC Processor', cpuVendor: 'AMD', release: '13.2-RELEASE' });
  const result = { at: '2026-11-23T03:00:00.000Z', host: { ...identity, ...changes }, family: host.saves.family, models: ['hostbridge', 'lpc', 'virtio-blk', 'virtio-net', 'ahci'], isGood: true, reason: '' };
  host.outside.put(`${statePath}/selftest/save-restore.json`, renderSelfTest([result]));
};

/** FreeBSD is patched and booted again. */
async function patch(version = 'FreeBSD 13.2-RELEASE-p12'): Promise<void> {
  host.sysctls.set('kern.version', version);
  host.reboot();
  driver = await newDriver();
}

beforeEach(async () => {
  clock = createVirtualClock();
  log = recordingLog();
  host = createBhyveHost(clock);
  host.answers.set('bhyvectl ', { code: 1, stdout: '', stderr: 'Usage: bhyvectl --vm=<vmname>\n       [--suspend=<filename>]\n' });
  await selfTest();
  driver = await newDriver();
  await driver.define(guestDefinition({ memoryMiB: 1 }));
  await driver.start(instanceA);
  memory = host.guest(instanceA)?.memory;
  await driver.suspend(instanceA, { holdDisks: async () => disks, signal });
});

const resume = (now: Readonly<Record<string, string>> = disks): Promise<void> => driver.resume(instanceA, { disks: now, signal });
const overridden = (): unknown[] => log.lines().filter(({ msg }) => String(msg).includes('as the operator allowed')).map((line) => line['overridden']);

test('a save of before a patch comes back once it is allowed, with its memory, and the log says what was overridden', async () => {
  await patch();
  await expect(resume()).rejects.toMatchObject({ code: 'save-mismatch', wire: { className: 'InstanceResumeFailure', message: expect.stringContaining('made with something else: the kernel') as unknown } });
  expect(await driver.allowSave(instanceA)).toBe('the kernel');
  expect(overridden()).toEqual([]);
  await resume();
  expect([await driver.powerState(instanceA), host.guest(instanceA)?.memory, await driver.hasSave(instanceA)]).toEqual([powerStates.running, memory, false]);
  expect(overridden()).toEqual(['the kernel']);
  expect(host.outside.paths().filter((path) => path.startsWith(save))).toEqual([]);
});

test('the word is used up by an attempt that bhyve does not take', async () => {
  await patch();
  await driver.allowSave(instanceA);
  host.saves.restore = 'refused';
  await expect(resume()).rejects.toMatchObject({ code: 'guest-resume-failed' });
  host.saves.restore = 'taken';
  await expect(resume()).rejects.toMatchObject({ code: 'save-mismatch' });
  expect(await driver.hasSave(instanceA)).toBe(true);
});

test('the word is for the host as it was when it was given', async () => {
  await patch();
  await driver.allowSave(instanceA);
  await patch('FreeBSD 13.2-RELEASE-p13');
  await expect(resume()).rejects.toMatchObject({ code: 'save-mismatch' });
});

test('the word is for one save, and not for the next of the same guest', async () => {
  await patch();
  await driver.allowSave(instanceA);
  const word = host.outside.text(`${save}/allowed.json`) ?? '';
  host.outside.put(`${save}/allowed.json`, word.replace(/"manifest": "../, '"manifest": "zz'));
  await expect(resume()).rejects.toMatchObject({ code: 'save-mismatch' });
  host.outside.put(`${save}/allowed.json`, word.slice(0, 30));
  await expect(resume(), 'nor is a torn one').rejects.toMatchObject({ code: 'save-mismatch' });
  host.outside.put(`${save}/allowed.json`, word);
  await resume();
});

test('disks that were written, files that are damaged and another shape of the server are refused all the same', async () => {
  await patch();
  await driver.allowSave(instanceA);
  await expect(resume({ root: 'disk 1, written since' })).rejects.toMatchObject({ code: 'save-mismatch', message: expect.stringContaining('root disk is not as it was') as unknown });
  host.outside.append(`${save}/nvram.fd`, ' ');
  await expect(resume()).rejects.toMatchObject({ code: 'save-damaged' });
  await driver.define(guestDefinition({ memoryMiB: 2 }));
  await expect(resume()).rejects.toMatchObject({ code: 'save-mismatch', message: expect.stringContaining('does not fit the server') as unknown });
  expect(host.calls.filter((call) => call.includes(' -r '))).toEqual([]);
});

test("a save of another maker's processor cannot be allowed, nor can a word for it be forged", async () => {
  host.sysctls.set('hw.model', 'Intel(R) Xeon(R) Gold 6130');
  driver = await newDriver();
  await expect(driver.allowSave(instanceA)).rejects.toMatchObject({ code: 'save-mismatch', message: expect.stringContaining('(then AMD, now Intel)') as unknown });
  const now = await readSaveIdentity(host, driver.capabilities);
  const manifest = createHash('sha256').update(host.outside.text(`${save}/manifest.json`) ?? '').digest('hex');
  host.outside.put(`${save}/allowed.json`, JSON.stringify({ version: 1, at: '2026-11-23T03:00:00.000Z', manifest, host: now }));
  await expect(resume()).rejects.toMatchObject({ code: 'save-mismatch', message: expect.stringContaining("the processor's maker (then AMD, now Intel)") as unknown });
});

test('files of another family than this bhyve reads cannot be allowed', async () => {
  await patch();
  host.saves.family = 'structs';
  await selfTest();
  driver = await newDriver();
  await expect(driver.allowSave(instanceA)).rejects.toMatchObject({ code: 'save-mismatch', message: expect.stringMatching(/family kern-structs, and this bhyve reads structs/) as unknown });
});

test('where nothing differs nothing is written, and without a save there is nothing to allow', async () => {
  expect(await driver.allowSave(instanceA)).toBeNull();
  expect(host.outside.text(`${save}/allowed.json`)).toBeUndefined();
  await resume();
  await expect(driver.allowSave(instanceA)).rejects.toMatchObject({ code: 'save-missing' });
});
