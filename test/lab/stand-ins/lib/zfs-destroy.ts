/** zfs destroy. */
import { out } from './tool.js';
import { errnoOf, fail, reasonOf, usageError } from './zfs-errors.js';
import { type Parsed, type ZfsContext, dependentClones, parseOptions, readClones, treeWithSnapshots } from './zfs-context.js';
import type { Dataset } from './zfs-datasets.js';
import { niceNumber } from './zfs-numbers.js';
import { mustFind } from './zfs-show.js';
import { settle } from './zfs-change.js';
import { attachVolume, detachVolume, keyOf, unlinkVolume } from './zvol.js';

const FILE_SYSTEM = 2n;

export async function zfsDestroy(context: ZfsContext, args: readonly string[]): Promise<number> {
  const parsed = parseOptions('destroy', args, 'vpndfrR');
  const [name, ...more] = parsed.operands;
  if (name === undefined) throw usageError('destroy', 'missing dataset argument');
  if (more.length > 0) throw usageError('destroy', 'too many arguments');
  return name.includes('@') ? destroySnapshots(context, name, parsed) : destroyTree(context, name, parsed);
}

async function destroyTree(context: ZfsContext, name: string, parsed: Parsed): Promise<number> {
  const top = await mustFind(context, name);
  if (!name.includes('/')) {
    throw fail(`cannot destroy '${name}': operation does not apply to pools\nuse 'zfs destroy -r ${name}' to destroy all datasets in the pool\nuse 'zpool destroy ${name}' to destroy the pool itself`);
  }
  const kindWord = top.kind === 'volume' ? 'volume' : 'filesystem';
  const all = (await treeWithSnapshots(context.datasets, name)).reverse();
  const clones = await dependentClones(context.datasets, name);
  if (!parsed.has('r') && !parsed.has('R') && all.length > 1) {
    throw fail(`cannot destroy '${name}': ${kindWord} has children\nuse '-r' to destroy the following datasets:\n${all.slice(0, -1).map((dataset) => dataset.name).join('\n')}`);
  }
  if (!parsed.has('R') && clones.length > 0) {
    throw fail(`cannot destroy '${name}': ${kindWord} has dependent clones\nuse '-R' to destroy the following datasets:\n${clones.join('\n')}`);
  }
  const outside: Dataset[] = [];
  for (const clone of clones) outside.push(...(await treeWithSnapshots(context.datasets, clone)).reverse());
  const doomed = [...outside, ...all];
  tell(parsed, doomed.map((dataset) => dataset.name));
  if (parsed.has('n')) return 0;
  await checkNotBusy(context, doomed);
  for (const dataset of doomed) await destroyOne(context, dataset, false);
  return 0;
}

function tell(parsed: Parsed, names: readonly string[], reclaim?: bigint): void {
  if (!parsed.has('v') && !parsed.has('n')) return;
  const verb = parsed.has('p') ? 'destroy\t' : parsed.has('n') ? 'would destroy ' : 'will destroy ';
  out(names.map((name) => `${verb}${name}\n`).join(''));
  if (reclaim !== undefined) out(parsed.has('p') ? `reclaim\t${reclaim}\n` : `${parsed.has('n') ? 'would' : 'will'} reclaim ${niceNumber(reclaim)}\n`);
}

/** Nothing of a tree is destroyed while one of its volumes is open: volumes are taken off first, and put back if one is busy. */
async function checkNotBusy(context: ZfsContext, doomed: readonly Dataset[]): Promise<void> {
  const detached: Dataset[] = [];
  for (const dataset of doomed) {
    if (dataset.kind !== 'volume') continue;
    if (detachVolume(context.node, keyOf(dataset))) {
      detached.push(dataset);
      continue;
    }
    for (const other of detached) await attachVolume(context.datasets.engine, context.node, other.name, keyOf(other));
    throw fail(`cannot destroy '${dataset.name}': dataset is busy`);
  }
}

async function destroyOne(context: ZfsContext, dataset: Dataset, isDeferred: boolean): Promise<void> {
  const destroy = async (): Promise<number> =>
    (await context.datasets.engine.request('destroy', { name: dataset.name, objsetType: FILE_SYSTEM, deferDestroy: isDeferred })).errno;
  const errno = await (dataset.kind === 'volume' ? settle(destroy) : destroy());
  if (errno === 0) {
    if (dataset.kind === 'volume') unlinkVolume(context.node, dataset.name);
    return;
  }
  if (dataset.kind === 'volume') await attachVolume(context.datasets.engine, context.node, dataset.name, keyOf(dataset));
  throw fail(dataset.kind === 'snapshot' ? `cannot destroy snapshot ${dataset.name}: ${reasonOf(errno)}` : `cannot destroy '${dataset.name}': ${reasonOf(errno)}`);
}

/** `DATASET@a,b%c,…`: names, and ranges of which either end may be left out. */
async function destroySnapshots(context: ZfsContext, spec: string, parsed: Parsed): Promise<number> {
  const [name, list] = [spec.slice(0, spec.indexOf('@')), spec.slice(spec.indexOf('@') + 1)];
  await mustFind(context, name);
  const datasets = parsed.has('r') || parsed.has('R') ? await context.datasets.tree(name) : [await mustFind(context, name)];
  const doomed: Dataset[] = [];
  for (const dataset of datasets) {
    const snapshots = await context.datasets.snapshots(dataset.name);
    for (const part of list.split(',')) doomed.push(...pick(snapshots, part));
  }
  if (doomed.length === 0) throw fail('could not find any snapshots to destroy; check snapshot names.');
  await refuseClones(context, doomed, parsed);
  tell(parsed, doomed.map((snapshot) => snapshot.name), doomed.reduce((sum, snapshot) => sum + snapshot.number('used'), 0n));
  if (parsed.has('n')) return 0;
  const held = doomed.filter((snapshot) => snapshot.number('userrefs') > 0n);
  if (held.length > 0 && !parsed.has('d')) throw fail(held.map((snapshot) => `cannot destroy snapshot ${snapshot.name}: dataset is busy`).join('\n'));
  for (const snapshot of doomed) {
    const { errno } = await context.datasets.engine.request('destroy', { name: snapshot.name, objsetType: FILE_SYSTEM, deferDestroy: parsed.has('d') });
    if (errno !== 0 && !(parsed.has('d') && errno === errnoOf.EBUSY)) throw fail(`cannot destroy snapshot ${snapshot.name}: ${reasonOf(errno)}`);
  }
  return 0;
}

function pick(snapshots: readonly Dataset[], part: string): Dataset[] {
  const position = (name: string): number => snapshots.findIndex((snapshot) => snapshot.name.split('@')[1] === name);
  const [from, to] = part.split('%') as [string, string | undefined];
  if (to === undefined) return snapshots.filter((_, index) => index === position(from));
  const [start, end] = [from === '' ? 0 : position(from), to === '' ? snapshots.length - 1 : position(to)];
  return start < 0 || end < 0 ? [] : snapshots.slice(start, end + 1);
}

async function refuseClones(context: ZfsContext, doomed: readonly Dataset[], parsed: Parsed): Promise<void> {
  if (parsed.has('d')) return;
  const clonesOf = await readClones(context.datasets, context.node.pool);
  for (const snapshot of doomed) {
    const clones = clonesOf(snapshot.name);
    if (clones.length === 0) continue;
    if (!parsed.has('R')) throw fail(`cannot destroy '${snapshot.name}': snapshot has dependent clones\nuse '-R' to destroy the following datasets:\n${clones.join('\n')}`);
    for (const clone of clones) await destroyTree(context, clone, parsed);
  }
}
