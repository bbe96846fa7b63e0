/** What keeps bhyve from the rest of the host, and saves of a bhyve that reaches the folder of the guest's first disk only. */
import { beforeEach, describe, expect, test } from 'vitest';
import { AgentError } from '../../../../src/lib/errors.js';
import { createBhyveDriver, powerStates, type BhyveDriverOptions, type GuestDefinition, type HypervisorDriver } from '../../../../src/virt/index.js';
import { renderSelfTest } from '../../../../src/virt/bhyve/save-capability.js';
import { readSaveIdentity } from '../../../../src/virt/bhyve/save-identity.js';
import { createBhyveHost, type BhyveHost } from '../../../fakes/bhyve-host.js';
import { guestDefinition, instanceA } from '../../../fakes/guest-definition.js';
import { noMetrics, recordingLog } from '../../../fakes/recording-log.js';
import { createVirtualClock, type VirtualClock } from '../../../fakes/virtual-clock.js';

const statePath = '/var/db/nova-bhyve';
const folder = `${statePath}/instances/${instanceA}`;
const place = `/tank/disks/${instanceA}.saving`;
const disks = { root: 'as it was' };
const signal = new AbortController().signal;
const programs = { none: 'ELF cap_rights_limit', folder: 'ELF cap_enter fddir', 'first-disk': 'ELF cap_enter' } as const;
let clock: VirtualClock;
let host: BhyveHost;
let driver: HypervisorDriver;

async function newDriver(options: Partial<BhyveDriverOptions> = {}): Promise<HypervisorDriver> {
  const made = createBhyveDriver({ host, statePath, firmwareDirs: ['/usr/local/share/edk2-bhyve'], clock, log: recordingLog().log, metrics: noMetrics, vnc: null, ...options });
  await made.prepare();
  return made;
}

/** A host whose bhyve holds these words, and has passed its self-test. */
async function be(program: keyof typeof programs, options: Partial<BhyveDriverOptions> = {}): Promise<void> {
  host.outside.put('/usr/sbin/bhyve', programs[program]);
  host.saves.isConfined = program === 'first-disk';
  const identity = await readSaveIdentity(host, { cpuModel: 'AMD EPYC Processor', cpuVendor: 'AMD', release: '13.2-RELEASE' });
  const result = { at: '2026-11-23T03:00:00.000Z', host: identity, family: host.saves.family, models: ['hostbridge', 'lpc', 'virtio-blk', 'virtio-net', 'ahci'], isGood: true, reason: '' };
  host.outside.put(`${statePath}/selftest/save-restore.json`, renderSelfTest([result]));
  driver = await newDriver(options);
}

async function running(changes: Partial<GuestDefinition> = {}): Promise<void> {
  await driver.define(guestDefinition({ memoryMiB: 1, ...changes }));
  await driver.start(instanceA);
}

const onFile: Partial<GuestDefinition> = { disks: [{ role: 'root', path: '/tank/disks/root.qcow2', serial: 'a', bus: 'sata', kind: 'disk' }], configDrive: null };
const suspend = (): Promise<void> => driver.suspend(instanceA, { holdDisks: async () => disks, signal });
const resume = (): Promise<void> => driver.resume(instanceA, { disks, signal });
const besideDisk = (): string[] => host.outside.paths().filter((path) => path.startsWith(place));
const requests = (): string[] => host.calls.filter((call) => call.includes('--suspend='));

beforeEach(() => {
  clock = createVirtualClock();
  host = createBhyveHost(clock);
  host.answers.set('bhyvectl ', { code: 1, stdout: '', stderr: 'Usage: bhyvectl --vm=<vmname>\n       [--suspend=<filename>]\n' });
});

describe('the sandbox of bhyve', () => {
  test.each([['none', false, /root on this host/], ['folder', true, /^Capsicum$/], ['first-disk', false, /beside its first disk only/]] as const)('is told by its program and shown to the operator: %s', async (sandbox, isOk, answer) => {
    await be(sandbox);
    expect(driver.capabilities.sandbox).toBe(sandbox);
    expect(driver.capabilities.findings.find(({ probe }) => probe === 'sandbox of bhyve')).toMatchObject({ isOk, answer: expect.stringMatching(answer) as unknown });
  });

  test('is no question to a bhyve that cannot save guests, whose program is not read for it', async () => {
    host.answers.delete('bhyvectl ');
    await be('none');
    expect([driver.capabilities.sandbox, driver.capabilities.findings.some(({ probe }) => probe === 'sandbox of bhyve')]).toEqual(['unknown', false]);
  });

  test('is demanded by save_restore = sandboxed, and then nothing is saved without one', async () => {
    await be('none', { needsSandbox: true });
    expect(driver.capabilities.saveRestore).toMatchObject({ status: 'impossible', reason: 'this bhyve has no sandbox, and [bhyve] save_restore = sandboxed' });
    await running();
    await expect(suspend()).rejects.toMatchObject({ code: 'guest-not-savable' });
    expect([requests(), (await driver.inventory()).traits.filter((trait) => trait.startsWith('CUSTOM_BHYVE_SAVE'))]).toEqual([[], []]);
    await be('folder', { needsSandbox: true });
    expect(driver.capabilities.saveRestore.status).toBe('ready');
  });
});

test('the folder of a save is absolute, our own, and nobody else may look into it', async () => {
  await be('folder');
  await running();
  await suspend();
  expect(requests()).toEqual([`bhyvectl --vm=${instanceA} --suspend=${folder}/suspended.partial/ram`]);
  expect(host.outside.modes.get(`${folder}/suspended.partial`)).toBe(0o700);
});

describe('a bhyve that reaches the folder of the first disk only', () => {
  beforeEach(() => be('first-disk'));

  test('does not save a guest on a volume of ZFS: it is refused with the reason before anything is sent, and no flavor is led here', async () => {
    await running();
    expect(await driver.whyNoSuspend(instanceA)).toMatch(/reaches only the folder of a guest's first disk, and its root disk is a volume of ZFS \(\/dev\/zvol\//);
    await expect(suspend()).rejects.toMatchObject({ code: 'guest-not-savable', wire: { className: 'InstanceSuspendFailure' } });
    expect([requests(), await driver.powerState(instanceA)]).toEqual([[], powerStates.running]);
    expect((await driver.inventory()).traits.filter((trait) => trait.startsWith('CUSTOM_BHYVE_SAVE'))).toEqual([]);
  });

  test('saves a guest on a file beside it, in a folder of ours that is gone afterwards, and the guest comes back', async () => {
    await running(onFile);
    const memory = host.guest(instanceA)?.memory;
    await suspend();
    expect(requests()).toEqual([`bhyvectl --vm=${instanceA} --suspend=${place}/ram`]);
    expect([host.outside.modes.get(place), besideDisk(), await host.files.exists(place)]).toEqual([0o700, [], false]);
    expect(host.outside.paths().filter((path) => path.startsWith(`${folder}/susp`)).map((path) => path.slice(folder.length)).sort()).toEqual(
      ['/suspended/bhyve.conf', '/suspended/manifest.json', '/suspended/nvram.fd', '/suspended/ram', '/suspended/ram.kern', '/suspended/ram.meta']);
    await resume();
    expect(host.guest(instanceA)?.memory).toBe(memory);
  });

  test('needs room beside the disk as well as in the state folder, before anything is sent', async () => {
    await running(onFile);
    const MiB = 1024n * 1024n;
    const free = { '/tank/disks': 65n * MiB - 1n, [folder]: 65n * MiB } as Record<string, bigint>;
    host.files.freeBytes = async (path) => free[path] ?? 0n;
    expect(await driver.whyNoSuspend(instanceA)).toBe('saving it takes 65 MiB beside its first disk, and 64 MiB are free');
    await expect(suspend()).rejects.toMatchObject({ code: 'guest-not-savable' });
    expect(requests()).toEqual([]);
    free['/tank/disks'] = 65n * MiB;
    expect(await driver.whyNoSuspend(instanceA)).toBeNull();
  });

  test.each([['fails', powerStates.running], ['cut', powerStates.crashed]] as const)('leaves nothing beside the disk when the save %s', async (outcome, power) => {
    await running(onFile);
    host.saves.outcome = outcome;
    await expect(suspend()).rejects.toMatchObject({ code: 'guest-suspend-failed' });
    expect([await driver.powerState(instanceA), besideDisk(), await host.files.exists(place), await driver.isSaving(instanceA)]).toEqual([power, [], false, false]);
  });

  test('an agent that is killed while it gathers the files goes on with them, at any of them', async () => {
    for (const cut of [1, 2, 3]) {
      await running(onFile);
      const memory = host.guest(instanceA)?.memory;
      const copy = host.files.copy.bind(host.files);
      let copies = 0;
      host.files.copy = async (from, to, mode) => {
        if (from.startsWith(place) && (copies += 1) === cut) throw new AgentError('aborted', 'killed');
        await copy(from, to, mode);
      };
      await expect(suspend()).rejects.toMatchObject({ code: 'aborted' });
      expect(await driver.isSaving(instanceA)).toBe(true);
      host.files.copy = copy;
      driver = await newDriver();
      await suspend();
      expect(besideDisk()).toEqual([]);
      await resume();
      expect(host.guest(instanceA)?.memory, `cut at file ${cut}`).toBe(memory);
      await driver.stop(instanceA, { graceMs: 0, retryMs: 0 });
    }
  });

  test('whatever is left beside the disk goes with a cold start and with the guest', async () => {
    for (const end of ['start', 'destroy'] as const) {
      await running(onFile);
      const copy = host.files.copy.bind(host.files);
      host.files.copy = async (from, to, mode) => (from.startsWith(place) ? Promise.reject(new AgentError('aborted', 'killed')) : copy(from, to, mode));
      await expect(suspend()).rejects.toMatchObject({ code: 'aborted' });
      host.files.copy = copy;
      expect(besideDisk()).not.toEqual([]);
      await driver[end](instanceA);
      expect([end, besideDisk(), await host.files.exists(place)]).toEqual([end, [], false]);
      await driver.stop(instanceA, { graceMs: 0, retryMs: 0 }).catch(() => undefined);
    }
  });

  test('is believed to be another by the word of the operator', async () => {
    driver = await newDriver({ saveLocation: 'state' });
    expect(driver.capabilities.sandbox).toBe('folder');
    host.outside.put('/usr/sbin/bhyve', programs.folder);
    expect((await newDriver({ saveLocation: 'disk' })).capabilities.sandbox).toBe('first-disk');
  });
});
