/** The fake zfs with volumes that are real sparse files, and the real host for everything else. */
import { closeSync, copyFileSync, existsSync, ftruncateSync, mkdirSync, openSync, readdirSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { createHost } from '../../../src/host/index.js';
import { systemClock } from '../../../src/lib/clock.js';
import { noMetrics, recordingLog } from '../../fakes/recording-log.js';
import { createFakeZfs, type FakeNodes, type FakeZfs } from '../../fakes/zfs.js';
import type { PoolUnderTest } from './suite.js';

/** FreeBSD's limits(1) for systems without it: the two limits that we set, then the command. */
const LIMITS = `#!/bin/sh
[ "$1" = -t ] && [ "$3" = -v ] || exit 64
ulimit -t "$2"; ulimit -v $((\${4%m} * 1024)); shift 4; exec "$@"
`;

export interface FilePool extends PoolUnderTest {
  readonly fake: FakeZfs;
  /** Path of the file that stands for a volume or a snapshot. */
  fileOf(dataset: string): string;
}

export async function openFilePool(): Promise<FilePool> {
  const folder = await mkdtemp(join(tmpdir(), 'file-pool-'));
  const fileOf = (dataset: string): string => join(folder, 'dev', 'zvol', dataset);
  const fake = createFakeZfs({ poolBytes: 1n << 40n, nodes: fileNodes(fileOf) });
  mkdirSync(join(folder, 'bin'));
  if (!existsSync('/usr/bin/limits')) writeFileSync(join(folder, 'bin', 'limits'), LIMITS, { mode: 0o755 });
  const real = createHost({ deviceRoot: join(folder, 'dev'), path: `${join(folder, 'bin')}:/usr/local/bin:/usr/bin:/bin`, clock: systemClock, log: recordingLog().log, metrics: noMetrics });
  return {
    fake, fileOf,
    host: { ...real, run: async (tool, args, options) => (tool === 'zfs' ? fake.run(args) : real.run(tool, args, options)) },
    root: 'tank/nova',
    scratch: join(folder, 'scratch'),
    treeWork: { sequences: 12, steps: 30 },
    zfs: async (...args) => fake.run(args),
    hold: (dataset) => void fake.open.add(dataset),
    release: () => fake.open.clear(),
    wrote: (dataset) => fake.write(dataset),
    dispose: () => rm(folder, { recursive: true, force: true }),
  };
}

function fileNodes(fileOf: (dataset: string) => string): FakeNodes {
  return {
    created({ name, volsize }) {
      mkdirSync(dirname(fileOf(name)), { recursive: true });
      const file = openSync(fileOf(name), 'w');
      ftruncateSync(file, Number(volsize));
      closeSync(file);
    },
    resized: ({ name, volsize }) => truncateSync(fileOf(name), Number(volsize)),
    snapshotted: (snapshot, { name }) => {
      if (existsSync(fileOf(name))) copyFileSync(fileOf(name), fileOf(snapshot.name));
    },
    cloned({ name }, snapshot) {
      mkdirSync(dirname(fileOf(name)), { recursive: true });
      copyFileSync(fileOf(snapshot.name), fileOf(name));
    },
    renamed(from, to) {
      if (!existsSync(fileOf(from))) return;
      mkdirSync(dirname(fileOf(to)), { recursive: true });
      renameSync(fileOf(from), fileOf(to));
      // Snapshots go with their volume; those of a filesystem's volumes went with the folder.
      for (const name of readdirSync(dirname(fileOf(from)))) {
        const [volume, snapshot] = name.split('@');
        if (snapshot !== undefined && volume === basename(fileOf(from))) renameSync(fileOf(`${dirname(from)}/${name}`), fileOf(`${to}@${snapshot}`));
      }
    },
    rolledBack: ({ name }, snapshot) => copyFileSync(fileOf(snapshot.name), fileOf(name)),
    destroyed: (name) => rmSync(fileOf(name), { recursive: true, force: true }),
  };
}
