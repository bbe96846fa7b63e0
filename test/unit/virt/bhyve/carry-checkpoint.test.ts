/** What is kept for a node, out of the host and back: with the seal of this host, and only what was saved here. */
import { beforeEach, expect, test } from 'vitest';
import { parseCheckpointId } from '../../../../src/lib/ids.js';
import { createBhyveDriver, type HypervisorDriver, type KeptFile } from '../../../../src/virt/index.js';
import type { CheckpointMemory } from '../../../../src/storage/index.js';
import type { BhyveHost } from '../../../fakes/bhyve-host.js';
import { guestDefinition, instanceA } from '../../../fakes/guest-definition.js';
import { createProvenHost } from '../../../fakes/proven-host.js';
import { noMetrics, recordingLog } from '../../../fakes/recording-log.js';
import { createVirtualClock, type VirtualClock } from '../../../fakes/virtual-clock.js';

const statePath = '/var/db/nova-bhyve';
const folder = `${statePath}/instances/${instanceA}`;
const node = parseCheckpointId('cccccccc-0000-4000-8000-000000000001');
const kept = `${folder}/checkpoints/${node}`;
const disks = { root: 'disk 1 as in snapshot 2' };
const signal = new AbortController().signal;
let clock: VirtualClock;
let host: BhyveHost;
let driver: HypervisorDriver;
let memory: CheckpointMemory;

const inFolder = (path: string): string[] => host.outside.paths().filter((one) => one.startsWith(`${path}/`)).map((one) => one.slice(path.length + 1)).sort();

/** A guest whose save was kept for the node, and which runs. */
beforeEach(async () => {
  clock = createVirtualClock();
  host = await createProvenHost(clock, statePath);
  driver = createBhyveDriver({ host, statePath, firmwareDirs: ['/usr/local/share/edk2-bhyve'], clock, log: recordingLog().log, metrics: noMetrics, vnc: { address: '127.0.0.1', portRange: { first: 5900, last: 5902 } } });
  await driver.prepare();
  await driver.define(guestDefinition({ memoryMiB: 1 }));
  await driver.start(instanceA);
  await driver.suspend(instanceA, { holdDisks: async () => disks, signal });
  memory = await driver.keepSave(instanceA, node);
  await driver.resume(instanceA, { disks, signal });
});

/** As it lies elsewhere: read once, and given back from there. */
async function carried(): Promise<KeptFile[]> {
  const files: KeptFile[] = [];
  for (const file of await driver.keptFiles(instanceA, node)) {
    const chunks: Uint8Array[] = [];
    for await (const chunk of file.open()) chunks.push(chunk);
    files.push({ ...file, open: async function* () { yield* chunks; } });
  }
  return files;
}

const fileOf = (name: string, text: string): KeptFile => ({ name, bytes: BigInt(text.length), open: async function* () { yield Buffer.from(text); } });
const back = (files: readonly KeptFile[], of: CheckpointMemory | null = memory): Promise<unknown> => driver.importKept(instanceA, node, files, { memory: of, signal }).then(() => 'kept', (error: unknown) => error);

test('a save that was carried away and back brings the guest back', async () => {
  const files = await carried();
  expect(files.map(({ name }) => name).sort()).toEqual(['bhyve.conf', 'manifest.json', 'nvram.fd', 'ram', 'ram.kern', 'ram.meta']);
  const was = host.guest(instanceA)?.memory;
  await driver.dropKept(instanceA, node);
  expect([await driver.keptFiles(instanceA, node), await driver.whyNoReturn(instanceA, node, memory, signal)]).toEqual([[], 'its memory is not on this host any more']);
  expect(await back(files)).toBe('kept');
  expect(await back(files)).toBe('kept');
  expect(await driver.whyNoReturn(instanceA, node, memory, signal)).toBeNull();
  await driver.stop(instanceA, { graceMs: 0, retryMs: 0 });
  await driver.putBackSave(instanceA, node, disks);
  await driver.resume(instanceA, { disks, signal });
  expect(host.guest(instanceA)?.memory).toBe(was);
});

test('without memory the variables alone come back, and nothing else is read', async () => {
  const files = (await carried()).map((file) => (file.name === 'nvram.fd' ? file : { ...file, open: () => { throw new Error(`${file.name} was read`); } }));
  await driver.dropKept(instanceA, node);
  expect(await back(files, null)).toBe('kept');
  expect(inFolder(kept)).toEqual(['nvram.fd']);
  expect(await back(await carried(), null)).toBe('kept');
  expect(await back([fileOf('../../../../../etc/rc.local', 'x'), fileOf('instance.json', 'x')], null)).toBe('kept');
  expect([inFolder(kept), host.outside.paths().filter((path) => path.includes('rc.local'))]).toEqual([['nvram.fd'], []]);
});

test('variables that are there do not stand in the way of the whole save', async () => {
  const files = await carried();
  await driver.dropKept(instanceA, node);
  await back(files, null);
  expect(await back(files)).toBe('kept');
  expect(await driver.whyNoReturn(instanceA, node, memory, signal)).toBeNull();
});

test.each<[string, (files: KeptFile[]) => KeptFile[], RegExp]>([
  ['whose manifest is another', (files) => [...files.filter(({ name }) => name !== 'manifest.json'), fileOf('manifest.json', '{"version":1}')], /not that which was saved with its disks/],
  ['without a manifest', (files) => files.filter(({ name }) => name !== 'manifest.json'), /the manifest of its memory is missing/],
  ['that has grown', (files) => files.map((file) => (file.name === 'ram' ? { ...file, bytes: file.bytes * 2n } : file)), /larger than it was/],
  ['with a file that is longer than it says', (files) => files.map((file) => (file.name === 'ram.meta' ? { ...file, bytes: 1n } : file)), /ram.meta is longer than it was/],
])('a save %s is not kept', async (_what, change, words) => {
  const files = await carried();
  await driver.dropKept(instanceA, node);
  expect(await back(change(files))).toMatchObject({ code: 'save-damaged', message: expect.stringMatching(words) as string });
  expect(inFolder(kept)).toEqual([]);
});

test('a save with a file that has become another is kept, and refused before the guest is touched', async () => {
  const files = await carried();
  await driver.dropKept(instanceA, node);
  expect(await back(files.map((file) => (file.name === 'bhyve.conf' ? fileOf('bhyve.conf', 'x'.repeat(Number(file.bytes))) : file)))).toBe('kept');
  expect(await driver.whyNoReturn(instanceA, node, memory, signal)).not.toBeNull();
});

test('the seal is of this host, this server, this node and this memory, and outlives the agent', async () => {
  const other = parseCheckpointId('cccccccc-0000-4000-8000-000000000002');
  const seal = await driver.seal(instanceA, node, memory);
  expect(await driver.seal(instanceA, node, memory)).toBe(seal);
  expect(await driver.seal(instanceA, other, memory)).not.toBe(seal);
  expect(await driver.seal(instanceA, node, { ...memory, bytes: memory.bytes + 1n })).not.toBe(seal);
  expect(await driver.seal(instanceA, node, { ...memory, sum: memory.sum.replace(/^./, (digit) => (digit === '0' ? '1' : '0')) })).not.toBe(seal);
  host.outside.drop(`${statePath}/checkpoint.key`);
  expect(await driver.seal(instanceA, node, memory)).not.toBe(seal);
  host.outside.put(`${statePath}/checkpoint.key`, 'short');
  await expect(driver.seal(instanceA, node, memory)).rejects.toMatchObject({ code: 'file-failed' });
});
