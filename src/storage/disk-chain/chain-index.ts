/** `chain.json`: what the files in a disk's folder are to each other; see types.ts. */
import { join } from 'node:path';
import { z } from 'zod';
import { AgentError } from '../../lib/errors.js';
import { isUuid, type CheckpointId } from '../../lib/ids.js';
import { isPlainName, type ChainPlaces } from './read-chain.js';
import { damaged } from './read-header.js';
import type { CheckpointPurpose } from './types.js';

/** Raise it when an older agent would do harm. */
const VERSION = 1;

const Name = z.string().refine(isPlainName);
const Id = z.string().refine(isUuid).transform((id) => id as CheckpointId);

const Kind = z.enum(['external', 'internal']);
const Guest = z.enum(['running', 'off']);
const Purpose = z.strictObject({ use: z.enum(['checkpoint', 'copy']), keeper: z.enum(['nova', 'operator']), name: z.string().nullable() });

/** Of a node that nobody says more about. */
export const novas: CheckpointPurpose = { use: 'checkpoint', keeper: 'nova', name: null };

const Index = z.strictObject({
  version: z.literal(VERSION),
  active: Name,
  /** The work that put the active file there; null for one that was never taken to a node. */
  madeFor: Name.nullable(),
  current: Id.nullable(),
  nodes: z.array(z.strictObject({ id: Id, parent: Id.nullable(), kind: Kind, file: Name, at: z.iso.datetime(), guest: Guest, purpose: Purpose })),
  /** Files that are nobody's, or about to be made. */
  left: z.array(Name),
  /** Snapshots inside the active file that are nobody's. */
  leftSnapshots: z.array(Name),
  /** What bhyve was asked to make while the guest runs; see live-checkpoint.ts. */
  live: z.strictObject({ id: Id, kind: Kind, at: z.iso.datetime(), purpose: Purpose }).nullable(),
  /** The state that a move may go back to: the file that was the active one when it began. */
  kept: z.strictObject({ move: Name, active: Name, current: Id.nullable(), madeFor: Name.nullable() }).nullable(),
});
export type ChainIndex = Readonly<z.output<typeof Index>>;

/** A chain of one file. */
export const newIndex = (active: string): ChainIndex => ({ version: VERSION, active, madeFor: null, current: null, nodes: [], left: [], leftSnapshots: [], live: null, kept: null });

/** The active file holds the state of a new node, which is the current one. */
export const withNode = (index: ChainIndex, node: Omit<ChainIndex['nodes'][number], 'parent' | 'file'>): ChainIndex =>
  ({ ...index, current: node.id, nodes: [...index.nodes, { ...node, parent: index.current, file: index.active }] });

/** A second name is not added. */
export const withLeft = (index: ChainIndex, name: string): ChainIndex => ({ ...index, left: index.left.includes(name) ? index.left : [...index.left, name] });

const pathOf = ({ folder }: ChainPlaces): string => join(folder, 'chain.json');

/** Undefined without one. AgentError `disk-chain-damaged`, `layout-too-new`. */
export async function readIndex(places: ChainPlaces): Promise<ChainIndex | undefined> {
  const path = pathOf(places);
  const text = await places.files.readText(path);
  if (text === undefined) return undefined;
  const value = parseJson(text);
  const version = (value as { version?: unknown } | null)?.version;
  if (typeof version === 'number' && version > VERSION) throw new AgentError('layout-too-new', 'the files of a disk were arranged by a newer agent: upgrade this agent', { details: { path } });
  const parsed = Index.safeParse(value);
  if (!parsed.success) throw damaged(path, 'the index cannot be read');
  return parsed.data;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // said by the schema
  }
}

/** On the disk when it returns. */
export async function writeIndex(places: ChainPlaces, index: ChainIndex): Promise<void> {
  await places.files.writeAtomic(pathOf(places), `${JSON.stringify(index)}\n`);
}
