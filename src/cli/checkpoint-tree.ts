/** `nova-bhyve checkpoint list` and `tree`: the checkpoints that this node keeps of an instance, as the pool has them. */
import { join } from 'node:path';
import type { InstanceUuid } from '../lib/ids.js';
import type { CheckpointNode } from '../storage/index.js';
import type { NodeView } from './node-view.js';
import { formatBytes, renderJson, renderTable, type Output } from './output.js';
import { oneInstance } from './summarize.js';

export interface TreeOptions {
  readonly json: boolean;
  readonly now: Date;
}

/** `3 d`, `5 h`, `12 min`, `8 s`: the largest unit that fits. */
export function ageOf(at: Date, now: Date): string {
  const seconds = Math.max(0, Math.round((now.getTime() - at.getTime()) / 1000));
  const units = [[86_400, 'd'], [3600, 'h'], [60, 'min']] as const;
  const [size, unit] = units.find(([large]) => seconds >= large) ?? [1, 's'];
  return `${Math.floor(seconds / size)} ${unit}`;
}

/** A node, and whether the files of its memory are where they should be; their content is looked at when a guest is to go on from them. */
interface SeenNode extends CheckpointNode { readonly hasFiles: boolean }

function stateOf({ guest, memory, hasFiles }: SeenNode): string {
  if (guest === 'off') return 'guest was off';
  if (memory === null) return 'crash-consistent';
  return hasFiles ? 'the guest goes on' : 'crash-consistent: its memory is lost';
}

const facts = (node: SeenNode, now: Date): string[] => [
  node.name ?? '-', node.keeper, ageOf(node.at, now), node.memory === null ? 'disk' : `full (${formatBytes(node.memory.bytes)})`, stateOf(node), formatBytes(node.usedBytes), formatBytes(node.bytes),
];
const factNames = ['name', 'keeper', 'age', 'content', 'state', 'only here', 'disks'];

async function nodesOf(node: NodeView, wanted: string, output: Output): Promise<readonly SeenNode[] | null> {
  const uuid = await oneInstance(node, wanted, output);
  if (uuid === null) return null;
  const kept = new Set(await node.driver.kept(uuid));
  return (await node.storage.checkpoints(uuid)).map((one) => ({ ...one, hasFiles: one.memory !== null && kept.has(one.id) }));
}

/** Resolves with the exit code: 1 if there is no such instance, or more than one. */
export async function listCheckpoints(view: NodeView, wanted: string, { json, now }: TreeOptions, output: Output): Promise<number> {
  const nodes = await nodesOf(view, wanted, output);
  if (nodes === null) return 1;
  if (json) output.out(renderJson(nodes));
  else if (nodes.length === 0) output.out('No checkpoints of this instance.\n');
  else output.out(renderTable(['checkpoint', 'parent', ...factNames, ''], nodes.map((node) => [node.id, node.parent ?? '-', ...facts(node, now), node.isCurrent ? 'current' : ''])));
  return 0;
}

interface Branch extends SeenNode { readonly children: readonly Branch[] }

const branchesOf = (nodes: readonly SeenNode[], parent: string | null): readonly Branch[] =>
  nodes.filter((node) => node.parent === parent).map((node) => ({ ...node, children: branchesOf(nodes, node.id) }));

/** A row for each node, children below their parents; the disks as they are now are a line of their own. */
function drawn(branches: readonly Branch[], hasDisks: boolean, now: Date, indent = ''): string[][] {
  const entries = [...branches.map((branch) => ({ branch, label: String(branch.id) })), ...(hasDisks ? [{ branch: null, label: '(the disks as they are now)' }] : [])];
  return entries.flatMap(({ branch, label }, at) => {
    const isLast = at === entries.length - 1;
    const row = [`${indent}${isLast ? '└─ ' : '├─ '}${label}`, ...(branch === null ? factNames.map(() => '') : facts(branch, now))];
    return branch === null ? [row] : [row, ...drawn(branch.children, branch.isCurrent, now, `${indent}${isLast ? '   ' : '│  '}`)];
  });
}

/** Resolves with the exit code, as above. */
export async function drawCheckpoints(view: NodeView, wanted: string, { json, now }: TreeOptions, output: Output): Promise<number> {
  const nodes = await nodesOf(view, wanted, output);
  if (nodes === null) return 1;
  const branches = branchesOf(nodes, null);
  if (json) output.out(renderJson(branches));
  else if (nodes.length === 0) output.out('No checkpoints of this instance.\n');
  else output.out(renderTable(['checkpoint', ...factNames], drawn(branches, !nodes.some(({ isCurrent }) => isCurrent), now)));
  return 0;
}

/** The node that is meant: its id, as much of the beginning of that as is clear, or its name. Null, with a word on stderr, if it is not one. */
export async function oneCheckpoint(view: NodeView, uuid: InstanceUuid, wanted: string, output: Output): Promise<CheckpointNode | null> {
  const nodes = await view.storage.checkpoints(uuid);
  const named = nodes.filter(({ name }) => name === wanted);
  const matches = named.length > 0 ? named : nodes.filter(({ id }) => wanted !== '' && id.startsWith(wanted.toLowerCase()));
  const [node] = matches;
  if (node !== undefined && matches.length === 1) return node;
  output.err(node === undefined ? `This node has no checkpoint ${wanted} of ${uuid}.\n` : `${wanted} could be: ${matches.map(({ id }) => id).join(', ')}\n`);
  return null;
}

/** Where the description of a node's save is, for `show`; null, with a word on stderr, if the instance has no such checkpoint or that has no memory here. */
export async function saveOfCheckpoint(view: NodeView, { wanted, id, statePath }: { wanted: string; id: string; statePath: string }, output: Output): Promise<{ file: string; node: CheckpointNode } | null> {
  const uuid = await oneInstance(view, wanted, output);
  const node = uuid === null ? null : await oneCheckpoint(view, uuid, id, output);
  if (uuid === null || node === null) return null;
  if (node.memory !== null && (await view.driver.kept(uuid)).includes(node.id)) return { file: join(statePath, 'instances', uuid, 'checkpoints', node.id, 'ram.meta'), node };
  output.err(`The checkpoint ${id} has no memory${node.memory === null ? '' : ' any more'}.\n`);
  return null;
}
