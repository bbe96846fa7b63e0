/** The self-test against hosts that can do more or less than they say. */
import { beforeEach, describe, expect, test } from 'vitest';
import { AgentError } from '../../../../../src/lib/errors.js';
import { runSelfTest, type SelfTestReport } from '../../../../../src/virt/index.js';
import { parseSelfTest, selfTestPath } from '../../../../../src/virt/bhyve/save-capability.js';
import { createBhyveHost, type BhyveHost } from '../../../../fakes/bhyve-host.js';
import { noMetrics, recordingLog } from '../../../../fakes/recording-log.js';
import { createVirtualClock, type VirtualClock } from '../../../../fakes/virtual-clock.js';

const statePath = '/var/db/nova-bhyve';
let clock: VirtualClock;
let host: BhyveHost;
let claims: string[];

beforeEach(() => {
  clock = createVirtualClock();
  host = createBhyveHost(clock);
  host.counts = true;
  host.answers.set('bhyvectl ', { code: 1, stdout: '', stderr: 'Usage: bhyvectl --vm=<vmname>\n       [--suspend=<filename>]\n' });
  claims = [];
});

const run = (signal = new AbortController().signal): Promise<SelfTestReport> => runSelfTest({
  host, statePath, firmwareDirs: [], clock, log: recordingLog().log, metrics: noMetrics, vnc: { address: '127.0.0.1', portRange: { first: 5900, last: 5902 } }, note: () => undefined, signal,
  claim: async (folder) => {
    claims.push(`claimed ${folder}`);
    return { release: async () => void claims.push('released') };
  },
});

const outcomes = ({ trials }: SelfTestReport): Record<string, string> => Object.fromEntries(trials.map(({ title, outcome }) => [title, outcome]));
const stored = (): ReturnType<typeof parseSelfTest> => parseSelfTest(host.outside.text(selfTestPath(statePath)) ?? '');
const taps = async (): Promise<string> => (await host.run('ifconfig', ['-a'])).stdout;

async function expectNothingLeft(before: string): Promise<void> {
  expect(host.outside.paths().filter((path) => path.startsWith(`${statePath}/selftest/`) && path !== selfTestPath(statePath))).toEqual([]);
  expect(await taps()).toBe(before);
  expect([...host.processTable.values()].filter(({ command }) => command.startsWith('bhyve'))).toEqual([]);
  expect(claims).toEqual([`claimed ${statePath}/selftest`, 'released']);
}

test('a host that saves everything passes, with every model of device and two of one; nothing is left but the result', async () => {
  const before = await taps();
  const report = await run();
  expect(new Set(Object.values(outcomes(report)))).toEqual(new Set(['passed']));
  expect(report.result).toMatchObject({ isGood: true, reason: '', family: 'kern-structs' });
  expect([...report.result.models].sort()).toEqual(['ahci', 'e1000', 'fbuf', 'hostbridge', 'lpc', 'nvme', 'virtio-blk', 'virtio-net', 'virtio-rnd', 'xhci']);
  expect(stored()).toEqual([report.result]);
  await expectNothingLeft(before);
});

test('a model that bhyve cannot save is no reason to do without the others', async () => {
  host.saves.withoutCode.add('nvme');
  const report = await run();
  expect(outcomes(report)).toMatchObject({ nvme: 'failed', ahci: 'passed', 'all of them together': 'passed' });
  expect(report.result.isGood).toBe(true);
  expect(report.result.models).not.toContain('nvme');
});

test.each(['kern-structs', 'structs'] as const)('an NVMe disk of which nothing comes back is not one that this host can save (%s)', async (family) => {
  Object.assign(host.saves, { family, savesBareNvme: true });
  const report = await run();
  expect(outcomes(report)).toMatchObject({ nvme: 'failed', 'all of them together': 'passed' });
  expect(report.result.isGood).toBe(true);
  expect(report.result.models).not.toContain('nvme');
  expect(report.trials.find(({ title }) => title === 'nvme')?.reason).toMatch(family === 'structs' ? /there is nothing of nvme/ : /no more than its PCI part/);
});

test('where bhyve saves beside the first disk only, every guest of the self-test has one', async () => {
  host.outside.put('/usr/sbin/bhyve', 'ELF cap_enter');
  Object.assign(host.saves, { family: 'structs', exit: 0, isConfined: true });
  const before = await taps();
  const report = await run();
  expect(outcomes(report)).toMatchObject({ 'no device, with a disk': 'passed', ahci: 'passed', 'virtio-net, with a disk': 'passed', 'all of them together': 'passed' });
  expect(report.result.isGood).toBe(true);
  await expectNothingLeft(before);
});

test('where bhyve saves only the first device of a model, two of one are not tried, and the result says so', async () => {
  Object.assign(host.saves, { family: 'structs', exit: 0 });
  const report = await run();
  expect(outcomes(report)).toMatchObject({ 'two virtio-blk': 'not tried', 'two virtio-net': 'not tried', 'all of them together': 'passed' });
  expect(report.result).toMatchObject({ isGood: true, family: 'structs' });
});

describe('a host on which no guest comes back is not good', () => {
  test.each([
    ['bhyve refuses the save', { restore: 'refused' }, /did not take the save back/],
    ['the guest dies at once', { restore: 'crashes' }, /did not take the save back|ended/],
    ['the guest comes back without its memory', { restore: 'cold' }, /began anew/],
    ['a save fails', { outcome: 'fails' }, /could not save it/],
  ] as const)('%s', async (_name, saves, reason) => {
    Object.assign(host.saves, saves);
    const before = await taps();
    const { result, trials } = await run();
    expect(result.isGood).toBe(false);
    expect(result.reason).toMatch(reason);
    expect(trials).toHaveLength(1);
    expect(stored()[0]).toEqual(result);
    await expectNothingLeft(before);
  });
});

test('a bhyve that knows nothing of saving is refused before anything is made', async () => {
  host.answers.delete('bhyvectl ');
  await expect(run()).rejects.toMatchObject({ code: 'host-unusable' });
  expect(host.outside.text(selfTestPath(statePath))).toBeUndefined();
});

test('an interrupted self-test stores nothing and clears up', async () => {
  const before = await taps();
  const controller = new AbortController();
  clock.after(5_000, () => controller.abort(new AgentError('aborted', 'interrupted')));
  await expect(run(controller.signal)).rejects.toMatchObject({ code: 'aborted' });
  expect(host.outside.text(selfTestPath(statePath))).toBeUndefined();
  await expectNothingLeft(before);
});

test('the latest result is kept beside those before, and a file that cannot be read is replaced', async () => {
  host.outside.put(selfTestPath(statePath), 'not JSON');
  host.saves.restore = 'refused'; // the shortest
  const first = (await run()).result;
  const second = (await run()).result;
  expect(stored()).toEqual([second, first]);
});
