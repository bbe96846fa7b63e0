/**
 * A checkpoint that bhyve makes of a running guest. bhyvectl's answer proves nothing, so the index notes what was asked for before it is asked, and the files decide:
 * an overlay of the active file (which is empty, or the guest writes to it already), or a snapshot inside it, is the checkpoint. Until there is one the note stays, for
 * bhyve may still be at it; once the guest is off nobody is, and the note goes.
 */
import { join } from 'node:path';
import type { CheckpointId } from '../../lib/ids.js';
import { withNode, writeIndex, type ChainIndex } from './chain-index.js';
import { readFile, type ChainPlaces } from './read-chain.js';
import type { CheckpointKind, CheckpointPurpose } from './types.js';

interface Noted { readonly id: CheckpointId; readonly kind: CheckpointKind; readonly purpose: CheckpointPurpose; readonly at: Date }

/** Notes that bhyve is about to be asked. Nothing of that name is there; one that was nobody's would be taken for it by `tidy`. */
export async function noteLive(places: ChainPlaces, index: ChainIndex, { id, kind, purpose, at }: Noted): Promise<ChainIndex> {
  const others = (names: readonly string[]): string[] => names.filter((name) => name !== id);
  const noted = { ...index, left: others(index.left), leftSnapshots: others(index.leftSnapshots), live: { id, kind, purpose, at: at.toISOString() } };
  await writeIndex(places, noted);
  return noted;
}

/** The index after what bhyve was asked for, if it has done it; else, and without a note, the index as it is. AgentError `disk-chain-damaged` for a file that is not whole. */
export async function settleLive(places: ChainPlaces, index: ChainIndex): Promise<ChainIndex> {
  if (index.live === null) return index;
  const { id, kind, at, purpose } = index.live;
  if (!(await isMade(places, index, id, kind))) return index;
  const settled = { ...withNode(index, { id, kind, at, guest: 'running', purpose }), live: null };
  const moved = kind === 'external' ? { ...settled, active: id } : settled;
  await writeIndex(places, moved);
  return moved;
}

async function isMade(places: ChainPlaces, { active }: ChainIndex, id: CheckpointId, kind: CheckpointKind): Promise<boolean> {
  if (kind === 'internal') return (await readFile(places, active)).snapshots.some(({ name }) => name === id);
  if (!(await places.files.exists(join(places.folder, id)))) return false;
  return (await readFile(places, id)).backingPath === join(places.folder, active);
}
