/** NodeStorage on the fake pool, and on a zfs of your own: STORAGE_TEST_ZFS=DEVICE_ROOT:DATASET with zfs in PATH (DATASET is destroyed). */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createHost } from '../../../src/host/index.js';
import { systemClock } from '../../../src/lib/clock.js';
import { noMetrics, recordingLog } from '../../fakes/recording-log.js';
import { openFilePool } from './file-pool.js';
import { storageSuite, type PoolUnderTest } from './suite.js';

storageSuite('the fake pool', openFilePool);

const given = process.env['STORAGE_TEST_ZFS'];
if (given !== undefined) storageSuite(given, () => openGivenPool(given));

async function openGivenPool(text: string): Promise<PoolUnderTest> {
  const [deviceRoot = '', root = ''] = text.split(':');
  const scratch = await mkdtemp(join(tmpdir(), 'storage-scratch-'));
  const host = createHost({ deviceRoot, path: process.env['PATH'] ?? '', clock: systemClock, log: recordingLog().log, metrics: noMetrics });
  return {
    host, root, scratch, treeWork: { sequences: 2, steps: 12 },
    zfs: (...args) => host.run('zfs', args, { okExits: 'any' }),
    dispose: () => rm(scratch, { recursive: true, force: true }),
  };
}
