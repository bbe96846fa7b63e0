/** Where disks end: each child of ROOT/graveyard is the dataset of one instance, or one disk, renamed away with its mark and its snapshots. */
import { codeOf } from '../lib/errors.js';
import type { Logger } from '../observe/index.js';
import type { Layout } from './dataset-names.js';
import { markProperties, marksOf } from './marks.js';
import type { Zfs } from './zfs.js';

/** A grave goes only if every dataset in it carries our mark; snapshots go with the disk that they are of. */
export async function reap({ zfs, layout, log }: { zfs: Zfs; layout: Layout; log: Logger }): Promise<{ destroyed: number; left: number }> {
  const datasets = await zfs.get(layout.graveyard, markProperties, { recursive: true });
  const graves = [...datasets.keys()].filter((name) => /^[^/@]+$/.test(name.slice(layout.graveyard.length + 1)));
  let destroyed = 0;
  for (const grave of graves) {
    const inside = [...datasets].filter(([name]) => name === grave || name.startsWith(`${grave}/`)).filter(([name]) => !name.includes('@'));
    const foreign = inside.filter(([, properties]) => !['instance', 'disk', 'snapshot'].includes(marksOf(properties).kind ?? '')).map(([name]) => name);
    if (foreign.length > 0) {
      log.warn({ dataset: grave, foreign }, 'left a grave that holds datasets without our mark');
      continue;
    }
    try {
      await zfs.destroyTree(grave);
      destroyed += 1;
    } catch (err) {
      if (codeOf(err) === 'zfs-missing') destroyed += 1;
      else log.warn({ err, dataset: grave }, 'left a grave for the next time');
    }
  }
  return { destroyed, left: graves.length - destroyed };
}
