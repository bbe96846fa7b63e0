/** Where disks end: each child of ROOT/graveyard is the dataset of one instance, or one disk, renamed away with its mark and its snapshots. */
import type { Clock } from '../lib/clock.js';
import { codeOf } from '../lib/errors.js';
import type { Logger } from '../observe/index.js';
import type { Layout } from './dataset-names.js';
import { markProperties, marksOf } from './marks.js';
import { whileBusy } from './while-busy.js';
import type { Zfs } from './zfs.js';

interface GraveyardDeps { readonly zfs: Zfs; readonly layout: Layout; readonly clock: Clock; readonly log: Logger }

/**
 * A grave goes only if every dataset in it carries our mark; snapshots go with the disk that they are of. What is busy gets a few seconds
 * more, all of it together: a reader of the pool holds a dataset for a moment, and a disk in use may be in use for days.
 */
export async function reap(deps: GraveyardDeps): Promise<{ destroyed: number; left: number }> {
  const { zfs, layout, clock, log } = deps;
  const datasets = await zfs.get(layout.graveyard, markProperties, { recursive: true });
  const graves = [...datasets.keys()].filter((name) => /^[^/@]+$/.test(name.slice(layout.graveyard.length + 1)));
  const left = new Set(graves);
  const busy = new Map<string, unknown>();
  const destroy = async (grave: string): Promise<void> => {
    busy.delete(grave);
    try {
      await zfs.destroyTree(grave);
    } catch (err) {
      if (codeOf(err) === 'zfs-busy') return void busy.set(grave, err);
      if (codeOf(err) !== 'zfs-missing') return log.warn({ err, dataset: grave }, 'left a grave for the next time');
    }
    left.delete(grave);
  };
  for (const grave of graves) {
    const inside = [...datasets].filter(([name]) => name === grave || name.startsWith(`${grave}/`)).filter(([name]) => !name.includes('@'));
    const foreign = inside.filter(([, properties]) => !['instance', 'disk', 'snapshot'].includes(marksOf(properties).kind ?? '')).map(([name]) => name);
    if (foreign.length > 0) log.warn({ dataset: grave, foreign }, 'left a grave that holds datasets without our mark');
    else await destroy(grave);
  }
  if (busy.size > 0) {
    await whileBusy(clock, async () => {
      for (const grave of [...busy.keys()]) await destroy(grave);
      for (const err of busy.values()) throw err;
    }).catch(() => {
      for (const [dataset, err] of busy) log.warn({ err, dataset }, 'left a grave for the next time');
    });
  }
  return { destroyed: graves.length - left.size, left: left.size };
}
