/** Disks that go with a saved guest: held at one moment, known as unchanged, let go. */
import { beforeEach, expect, test } from 'vitest';
import { parseInstanceUuid } from '../../../src/lib/ids.js';
import { createStorage, type NodeStorage } from '../../../src/storage/index.js';
import { createFakeHost, type FakeHost } from '../../fakes/host.js';
import { noMetrics, recordingLog } from '../../fakes/recording-log.js';
import { createVirtualClock } from '../../fakes/virtual-clock.js';
import { createFakeZfs, type FakeZfs } from '../../fakes/zfs.js';

const ONE = parseInstanceUuid('aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa');
const at = (role: string): string => `tank/nova/instances/${ONE}/${role}`;
let zfs: FakeZfs;
let host: FakeHost;
let storage: NodeStorage;

beforeEach(async () => {
  host = createFakeHost({ tools: { zfs: ({ args }) => zfs.run(args) } });
  zfs = createFakeZfs({ poolBytes: 1n << 40n, nodes: { created: ({ name }) => host.disk.nodes.add(`/dev/zvol/${name}`) } });
  storage = createStorage({ host, root: 'tank/nova', scratch: '/state/scratch', clock: createVirtualClock(), log: recordingLog().log, metrics: noMetrics });
  await storage.prepare();
  for (const role of ['root', 'swap'] as const) await storage.createBlankDisk(ONE, role, 1n << 20n);
});

const snapshots = (): string[] => [...zfs.datasets.keys()].filter((name) => name.endsWith('@suspended')).sort();

test('all disks are held by one command, so that they are of one moment', async () => {
  host.commands.length = 0;
  await storage.holdStill(ONE);
  expect(host.commands.filter((line) => line.startsWith('zfs snapshot'))).toEqual([`zfs snapshot ${at('root')}@suspended ${at('swap')}@suspended`]);
});

test('the evidence is the same as long as nobody writes, also beside a snapshot of another purpose', async () => {
  const held = await storage.holdStill(ONE);
  expect(Object.keys(held)).toEqual(['root', 'swap']);
  zfs.run(['snapshot', `${at('root')}@snapshot-x`]);
  expect(await storage.stillness(ONE)).toEqual(held);
});

test.each<[string, () => unknown]>([
  ['written', () => zfs.write(at('swap'))],
  ['destroyed and made anew', () => [zfs.run(['destroy', '-r', at('swap')]), zfs.run(['create', '-s', '-V', '1048576', at('swap')]), zfs.run(['set', 'org.nova-bhyve:kind=disk', `org.nova-bhyve:instance=${ONE}`, 'org.nova-bhyve:role=swap', at('swap')])]],
  ['held anew by somebody', () => [zfs.run(['destroy', `${at('swap')}@suspended`]), zfs.run(['snapshot', `${at('swap')}@suspended`])]],
  ['without its mark', () => zfs.run(['destroy', `${at('swap')}@suspended`])],
])('a disk that was %s is not the same, and the other one is', async (_what, change) => {
  const held = await storage.holdStill(ONE);
  change();
  const now = await storage.stillness(ONE);
  expect([now['root'] === held['root'], now['swap'] === held['swap']]).toEqual([true, false]);
});

test('a disk that came or went is seen', async () => {
  const held = await storage.holdStill(ONE);
  await storage.buryDisk(ONE, 'swap');
  expect(await storage.stillness(ONE)).toEqual({ root: held['root'] });
});

test('holding twice holds the later moment, and letting go twice leaves nothing', async () => {
  const first = await storage.holdStill(ONE);
  zfs.write(at('root'));
  const second = await storage.holdStill(ONE);
  expect(second).not.toEqual(first);
  expect(await storage.stillness(ONE)).toEqual(second);
  await storage.letGo(ONE);
  await storage.letGo(ONE);
  expect(snapshots()).toEqual([]);
});

test('an instance without disks cannot be held, and its burial takes the marks along', async () => {
  await expect(storage.holdStill(parseInstanceUuid('bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb'))).rejects.toMatchObject({ code: 'disk-missing' });
  await storage.holdStill(ONE);
  await storage.buryDisks(ONE);
  await storage.reap();
  expect(snapshots()).toEqual([]);
});
