/**
 * `written@SNAPSHOT` for an engine that is older than it: what the dataset has and the snapshot has not. What was added shows in `referenced`, what was
 * overwritten or freed in the snapshots' own `used`. OpenZFS shows `-` without a source where there is no such snapshot, and `local` otherwise.
 */
import type { Dataset, Datasets } from './zfs-datasets.js';
import type { Shown } from './zfs-properties.js';

export const isWritten = (name: string): boolean => /^written@[A-Za-z0-9._:-]+$/.test(name);

export async function writtenSince(datasets: Datasets, dataset: Dataset, name: string): Promise<Shown> {
  const all = dataset.kind === 'snapshot' ? [] : await datasets.snapshots(dataset.name);
  const first = all.findIndex((snapshot) => snapshot.name === `${dataset.name}${name.slice('written'.length)}`);
  if (first === -1) return { value: '-', source: '-' };
  const grown = dataset.number('referenced') - all[first]!.number('referenced');
  const gone = all.slice(first).reduce((sum, snapshot) => sum + snapshot.number('used'), 0n);
  return { value: String((grown > 0n ? grown : 0n) + gone), source: 'local' };
}
