/** What the node has of an instance, gathered from everything that is ours: folders, datasets, taps, journal. */
import type { InstanceUuid } from '../lib/ids.js';
import type { JournalledOperation, JournalReader } from '../journal/index.js';
import type { DiskInfo } from '../storage/index.js';
import type { GuestDefinition, GuestState, Verdict } from '../virt/index.js';
import type { NodeView } from './node-view.js';
import type { Output } from './output.js';

export interface InstanceSummary {
  readonly uuid: InstanceUuid;
  readonly name: string | null;
  readonly state: GuestState;
  readonly definition: GuestDefinition | null;
  readonly disks: readonly DiskInfo[];
  readonly taps: readonly { readonly tapName: string; readonly port: string }[];
  /** Operations that have not ended. */
  readonly open: readonly JournalledOperation[];
  /** What does not fit together, in words; empty is good. */
  readonly oddities: readonly string[];
}

/** Every instance of which this node has anything, sorted. */
export async function knownInstances(node: NodeView): Promise<InstanceUuid[]> {
  const [guests, disks, taps] = await Promise.all([node.driver.list(), node.storage.instancesWithDisks(), node.plugger.listOwned()]);
  return [...new Set([...guests, ...disks, ...taps.map((tap) => tap.instance)])].sort();
}

/** `wanted`: a uuid, or as much of its beginning as is clear. Null, with a word on stderr, if it is not one instance. */
export async function oneInstance(node: NodeView, wanted: string, output: Output): Promise<InstanceUuid | null> {
  const matches = (await knownInstances(node)).filter((uuid) => uuid.startsWith(wanted.toLowerCase()));
  const [uuid] = matches;
  if (uuid !== undefined && matches.length === 1) return uuid;
  output.err(uuid === undefined ? `This node has nothing of an instance ${wanted}. See "nova-bhyve instances".\n` : `${wanted} could be: ${matches.join(', ')}\n`);
  return null;
}

/** A summary per instance; the journal and the taps are read once. */
export async function summarizeInstances(node: NodeView, uuids: readonly InstanceUuid[]): Promise<InstanceSummary[]> {
  const [taps, journal] = await Promise.all([node.plugger.listOwned(), node.readJournal()]);
  const summaries: InstanceSummary[] = [];
  for (const uuid of uuids) summaries.push(await summarize(node, uuid, taps, journal));
  return summaries;
}

async function summarize(
  node: NodeView, uuid: InstanceUuid, allTaps: Awaited<ReturnType<NodeView['plugger']['listOwned']>>, journal: JournalReader,
): Promise<InstanceSummary> {
  const definition = (await node.driver.definition(uuid)) ?? null;
  const state = await node.driver.state(uuid);
  const disks = await node.storage.disks(uuid);
  const taps = allTaps.filter((tap) => tap.instance === uuid).map(({ tapName, port }) => ({ tapName, port }));
  const open = journal.unfinished().filter((operation) => operation.instance === uuid);
  const facts = { uuid, name: definition?.name ?? null, state, definition, disks, taps, open };
  // In the middle of an operation things may well be half there.
  return { ...facts, oddities: open.length > 0 ? [] : oddities(facts) };
}

function oddities({ state, definition, disks, taps }: Pick<InstanceSummary, 'state' | 'definition' | 'disks' | 'taps'>): string[] {
  const found: string[] = [];
  if (definition === null) {
    if (disks.length > 0) found.push('disks without a guest');
    if (taps.length > 0) found.push('taps without a guest');
    return found;
  }
  const missing = definition.disks.filter((disk) => !disks.some((dataset) => dataset.devicePath === disk.path));
  if (missing.length > 0) found.push(`missing disk ${missing.map((disk) => disk.role).join(', ')}`);
  const withoutTap = definition.nics.filter((nic) => !taps.some((tap) => tap.tapName === nic.tapName));
  if (state.kind === 'running' && withoutTap.length > 0) found.push(`not our tap: ${withoutTap.map((nic) => nic.tapName).join(', ')}`);
  return found;
}

/** 'running', 'crashed (exit 139)', 'powered-off' … */
export function describeState(state: GuestState): string {
  if (state.kind === 'running') return state.isPaused ? 'paused' : 'running';
  if (state.kind === 'absent') return 'no guest';
  return state.verdict === null ? 'stopped' : describeVerdict(state.verdict);
}

function describeVerdict(verdict: Verdict): string {
  if (verdict.kind !== 'crashed') return verdict.kind;
  const how = verdict.signal ?? (verdict.exitCode === null ? null : `exit ${verdict.exitCode}`);
  return how === null ? 'crashed' : `crashed (${how})`;
}

/** A journal entry for people and programs: without its payload, which may hold secrets. */
export function withoutPayload(operation: JournalledOperation): Omit<JournalledOperation, 'payload' | 'steps' | 'notes'> & { steps: Record<string, string>; notes: Record<string, string> } {
  const { payload: _payload, steps, notes, ...rest } = operation;
  return { ...rest, steps: Object.fromEntries(steps), notes: { ...notes } };
}
