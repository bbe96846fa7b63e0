/** The state that a resize may go back to: the active file of then, on which the disk goes on in an overlay. */
import { writeIndex, withLeft, type ChainIndex } from './chain-index.js';
import { addOverlay, indexOfStopped, refuseInside, requireIndex, requireName, without, type Work } from './chain-work.js';
import { readFile } from './read-chain.js';

export async function keep(work: Work, move: string): Promise<void> {
  requireName(move);
  const index = await indexOfStopped(work.places);
  if (index.kept?.move === move) return;
  refuseInside(index);
  const before = letKeptGo(index);
  const name = `kept-${move}`;
  const listed = await addOverlay(work, before, name, await readFile(work.places, before.active));
  const { active, current, madeFor } = before;
  await writeIndex(work.places, { ...listed, active: name, left: without(listed.left, name), kept: { move, active, current, madeFor } });
}

export async function goBack({ places }: Work, move: string): Promise<void> {
  const index = await indexOfStopped(places);
  if (index.kept?.move !== move || index.active === index.kept.active) return;
  const { active, current, madeFor } = index.kept;
  await writeIndex(places, { ...withLeft(index, index.active), active, current, madeFor });
}

export async function forgetKept({ places }: Work, move: string): Promise<void> {
  const index = await requireIndex(places);
  if (index.kept?.move === move) await writeIndex(places, letKeptGo(index));
}

/** The file that was remembered is nobody's, unless it is the active one or a node's. */
function letKeptGo(index: ChainIndex): ChainIndex {
  if (index.kept === null) return index;
  const { active } = index.kept;
  const isWanted = index.active === active || index.nodes.some(({ file }) => file === active);
  return isWanted ? { ...index, kept: null } : withLeft({ ...index, kept: null }, active);
}
