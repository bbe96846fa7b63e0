/** The self-test on hosts that save guests well, half, and not at all: what `nova-bhyve selftest save-restore` finds there. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { claimFolder } from '../../../src/host/index.js';
import { systemClock } from '../../../src/lib/clock.js';
import { runSelfTest, type SelfTestReport } from '../../../src/virt/index.js';
import { noMetrics } from '../../fakes/recording-log.js';
import { waitClean } from '../leaks.js';
import { createLabHost, type LabHost } from './lab-guest.js';
import type { Profile } from '../node.js';

let lab: LabHost | undefined;

afterEach(async () => {
  await lab?.close();
  await lab?.node.destroy();
  lab = undefined;
});

async function selfTestOn(profile: Profile): Promise<SelfTestReport & { host: LabHost }> {
  lab = await createLabHost('selftest', profile);
  const { node, host, log } = lab;
  const report = await runSelfTest({
    host, statePath: node.statePath, firmwareDirs: [node.firmwareDir], bootMessagesPath: node.bootMessagesPath, clock: systemClock, log: log.log, metrics: noMetrics,
    vnc: { address: '127.0.0.1', portRange: { first: 5980, last: 5999 } }, note: () => undefined, signal: new AbortController().signal, claim: claimFolder,
  });
  return { ...report, host: lab };
}

const problemsOf = ({ trials }: SelfTestReport): string[] => trials.filter(({ outcome }) => outcome !== 'passed').map(({ title, reason }) => `${title}: ${reason}`);

test('on 15 every device comes back but nvme, two of one model as well, and nothing is left on the host', async () => {
  const { host, ...report } = await selfTestOn('snapshot-15');
  expect(problemsOf(report)).toEqual([expect.stringMatching(/^nvme: .*nvme@pci/)]);
  expect(report.trials.map(({ title }) => title)).toEqual([
    'no device', 'virtio-blk', 'virtio-net', 'ahci', 'e1000', 'virtio-rnd', 'fbuf', 'xhci', 'nvme', 'two virtio-blk', 'two virtio-net', 'all of them together',
  ]);
  expect(report.result).toMatchObject({ isGood: true, family: 'kern-structs' });
  expect(readdirSync(join(host.node.statePath, 'selftest'))).toEqual(['save-restore.json']);
  await waitClean(host.node);
  expect((await host.newDriver()).driver.capabilities.saveRestore).toMatchObject({ status: 'ready', family: 'kern-structs' });
}, 900_000);

test('on a 15 with code for NVMe all of them come back, and that one is a capability of its own', async () => {
  const { host, ...report } = await selfTestOn('snapshot-15-nvme');
  expect(problemsOf(report)).toEqual([]);
  const { driver } = await host.newDriver();
  expect(driver.capabilities.saveRestore.models).toContain('nvme');
  expect((await driver.inventory()).traits).toEqual(expect.arrayContaining(['CUSTOM_BHYVE_SAVE_RESTORE', 'CUSTOM_BHYVE_SAVE_MULTI', 'CUSTOM_BHYVE_SAVE_NVME']));
  expect(await host.node.leaks()).toEqual([]);
}, 900_000);

test('on a host whose bhyve writes beside the first disk only it passes with a disk in each guest, and NVMe is lost as on 13', async () => {
  const { host, ...report } = await selfTestOn('upb-capsicum');
  expect(problemsOf(report)).toEqual([expect.stringMatching(/^nvme: .*there is nothing of nvme/), expect.stringMatching(/^two virtio-blk/), expect.stringMatching(/^two virtio-net/)]);
  expect(report.result).toMatchObject({ isGood: true, family: 'structs' });
  expect(readdirSync(join(host.node.statePath, 'selftest'))).toEqual(['save-restore.json']);
}, 900_000);

test('on a stock 13.2, which saves and cannot restore, it says so and why', async () => {
  const { host, ...report } = await selfTestOn('snapshot-13.2-stock');
  expect(problemsOf(report)).toEqual([expect.stringMatching(/^no device: .*vmx/)]);
  expect(report.trials).toHaveLength(1);
  expect(report.result).toMatchObject({ isGood: false, reason: expect.stringMatching(/vmx/) as string });
  expect(existsSync(join(host.node.statePath, 'selftest/guests'))).toBe(false);
  await waitClean(host.node);
  expect((await host.newDriver()).driver.capabilities.saveRestore.status).toBe('impossible');
}, 200_000);
