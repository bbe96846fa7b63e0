/** zfs rename, promote, rollback, hold, release and holds. */
import { Exit, err, out } from './tool.js';
import { errnoOf, fail, reasonOf, usageError } from './zfs-errors.js';
import { type ZfsContext, parseOptions, treeWithSnapshots } from './zfs-context.js';
import { nameFault, parentOf, poolOf } from './zfs-names.js';
import { niceDate } from './zfs-numbers.js';
import { mustFind, printTable } from './zfs-show.js';
import { attachVolume, detachVolume, keyOf, linkVolume, resizeVolume, unlinkVolume } from './zvol.js';

const FILE_SYSTEM = 2n;
const ESRCH = 3;

export async function zfsRename(context: ZfsContext, args: readonly string[]): Promise<number> {
  const parsed = parseOptions('rename', args, 'fpru');
  const [from, to, ...more] = parsed.operands;
  if (from === undefined) throw usageError('rename', 'missing source dataset argument');
  if (to === undefined) throw usageError('rename', 'missing target dataset argument');
  if (more.length > 0) throw usageError('rename', 'too many arguments');
  await mustFind(context, from);
  return from.includes('@') ? renameSnapshot(context, from, to, parsed.has('r')) : renameDataset(context, from, to, parsed.has('p'));
}

async function renameSnapshot(context: ZfsContext, from: string, to: string, isRecursive: boolean): Promise<number> {
  const dataset = from.split('@')[0]!;
  const target = to.includes('@') ? (to.startsWith('@') ? `${dataset}${to}` : to) : `${dataset}@${to}`;
  if (target.split('@')[0] !== dataset) throw fail(`cannot rename to '${target}': snapshots must be part of same dataset`);
  const { errno } = await context.datasets.engine.request('rename', { name: from, value: target, objsetType: FILE_SYSTEM, cookie: isRecursive ? 1n : 0n });
  if (errno !== 0) throw fail(`cannot rename '${from}': ${reasonOf(errno)}`);
  return 0;
}

async function renameDataset(context: ZfsContext, from: string, to: string, mayMakeParents: boolean): Promise<number> {
  const fault = nameFault(to, 'filesystem');
  if (fault !== undefined) throw fail(`cannot rename to '${to}': ${fault}`);
  if (!context.datasets.isOurPool(poolOf(to))) throw fail(`cannot create '${to}': no such pool '${poolOf(to)}'`);
  if (poolOf(to) !== poolOf(from)) throw fail(`cannot rename to '${to}': datasets must be within same pool`);
  if (to.startsWith(`${from}/`)) throw fail(`cannot rename to '${to}': New dataset name cannot be a descendant of current dataset name`);
  if ((await context.datasets.find(to)) !== undefined) throw fail(`cannot rename '${from}': dataset already exists`);
  const parent = await context.datasets.find(parentOf(to));
  if (parent?.kind === 'volume') throw fail(`cannot create '${to}': parent is not a filesystem`);
  if (parent === undefined) {
    if (!mayMakeParents) throw fail(`cannot create '${to}': parent does not exist`);
    await makeParents(context, parentOf(to));
  }
  // The engine renames nothing that is mounted. A disk that somebody holds therefore cannot be renamed here; on FreeBSD it can.
  const errno = await withVolumesOff(context, from, to, async () => {
    return (await context.datasets.engine.request('rename', { name: from, value: to, objsetType: FILE_SYSTEM })).errno;
  });
  if (errno !== 0) throw fail(`cannot rename '${from}': ${reasonOf(errno)}`);
  return 0;
}

/**
 * Takes all volumes of a tree off, runs `work`, and puts them back under the new name (or the old one, if that failed). A mounted clone holds the dataset of its
 * origin in this engine, unlike in FreeBSD's, so clones of the tree's snapshots go off too.
 */
async function withVolumesOff(context: ZfsContext, from: string, to: string, work: () => Promise<number>): Promise<number> {
  const volumes = (await context.datasets.tree(from)).filter((dataset) => dataset.kind === 'volume');
  const names = new Set(volumes.map((dataset) => dataset.name));
  const clones = (await context.datasets.tree(context.node.pool)).filter(({ kind, name, origin }) => kind === 'volume' && !names.has(name) && names.has(origin?.split('@')[0] ?? ''));
  const isFree = [...volumes, ...clones].every((dataset) => detachVolume(context.node, keyOf(dataset)));
  const errno = isFree ? await settle(work) : errnoOf.EBUSY;
  if (errno === 0) for (const dataset of volumes) unlinkVolume(context.node, dataset.name);
  for (const dataset of [...await context.datasets.tree(errno === 0 ? to : from), ...clones]) {
    if (dataset.kind !== 'volume') continue;
    await attachVolume(context.datasets.engine, context.node, dataset.name, keyOf(dataset));
    linkVolume(context.node, dataset);
  }
  return errno;
}

async function makeParents(context: ZfsContext, name: string): Promise<void> {
  if ((await context.datasets.find(name)) !== undefined) return;
  await makeParents(context, parentOf(name));
  await context.datasets.engine.request('create', { name, objsetType: FILE_SYSTEM, source: {} });
}

export async function zfsPromote(context: ZfsContext, args: readonly string[]): Promise<number> {
  const { operands } = parseOptions('promote', args, '');
  const [name, ...more] = operands;
  if (name === undefined) throw usageError('promote', 'missing clone filesystem argument');
  if (more.length > 0) throw usageError('promote', 'too many arguments');
  const dataset = await mustFind(context, name);
  if (dataset.origin === undefined) throw fail(`cannot promote '${name}': not a cloned filesystem`);
  const answer = await context.datasets.engine.request('promote', { name, value: dataset.origin });
  if (answer.errno === errnoOf.EEXIST) throw fail(`cannot promote '${name}': snapshot name '${answer.string}' from origin\nconflicts with '${answer.string}' from target`);
  if (answer.errno !== 0) throw fail(`cannot promote '${name}': ${reasonOf(answer.errno)}`);
  return 0;
}

export async function zfsRollback(context: ZfsContext, args: readonly string[]): Promise<number> {
  const parsed = parseOptions('rollback', args, 'rRf');
  const [name, ...more] = parsed.operands;
  if (name === undefined) throw usageError('rollback', 'missing dataset argument');
  if (more.length > 0) throw usageError('rollback', 'too many arguments');
  const fault = nameFault(name, 'snapshot');
  if (fault !== undefined) throw fail(`cannot open '${name}': ${fault}`);
  const snapshot = await mustFind(context, name);
  const dataset = await mustFind(context, name.split('@')[0]!);
  const later = (await context.datasets.snapshots(dataset.name)).filter((other) => other.number('createtxg') > snapshot.number('createtxg'));
  if (later.length > 0 && !parsed.has('r') && !parsed.has('R')) {
    const list = later.map((other) => other.name).join('\n');
    throw fail(`cannot rollback to '${name}': more recent snapshots or bookmarks exist\nuse '-r' to force deletion of the following snapshots and bookmarks:\n${list}`);
  }
  for (const other of [...later].reverse()) {
    const { errno } = await context.datasets.engine.request('destroy', { name: other.name, objsetType: FILE_SYSTEM });
    if (errno !== 0) throw fail(`cannot destroy '${other.name}': ${reasonOf(errno)}`);
  }
  const size = String(snapshot.raw('lab:volsize')?.value ?? dataset.raw('lab:volsize')?.value);
  // The engine rolls back only what is mounted. What the kernel still caches of the file goes with a new mount, unless a guest holds it.
  const { errno } = await context.datasets.engine.request('rollback', { name: dataset.name });
  if (dataset.kind === 'volume' && detachVolume(context.node, keyOf(dataset))) {
    await attachVolume(context.datasets.engine, context.node, dataset.name, keyOf(dataset));
  }
  if (errno !== 0) throw fail(`cannot rollback '${dataset.name}': ${reasonOf(errno)}`);
  if (dataset.kind === 'volume') {
    await context.datasets.engine.request('setProperty', { name: dataset.name, source: { 'lab:volsize': size } });
    resizeVolume(context.node, keyOf(dataset), BigInt(size));
  }
  return 0;
}

async function targetsOf(context: ZfsContext, name: string, isRecursive: boolean): Promise<string[]> {
  if (!isRecursive) return [name];
  const [dataset, snapshot] = name.split('@') as [string, string | undefined];
  const all = await treeWithSnapshots(context.datasets, dataset);
  return all.filter((other) => other.kind === 'snapshot' && other.name.split('@')[1] === snapshot).map((other) => other.name);
}

export async function zfsHold(context: ZfsContext, args: readonly string[], command: 'hold' | 'release'): Promise<number> {
  const parsed = parseOptions(command, args, 'r');
  const [tag, ...names] = parsed.operands;
  if (tag === undefined || names.length === 0) throw usageError(command, 'missing snapshot argument(s)');
  const subject = command === 'hold' ? 'cannot hold snapshot' : 'cannot release hold from snapshot';
  for (const name of names) {
    for (const target of await targetsOf(context, name, parsed.has('r'))) {
      if ((await context.datasets.find(target)) === undefined) throw fail(`${subject} '${target}': dataset does not exist`);
      const [dataset, snapshot] = target.split('@') as [string, string];
      const { errno } = await context.datasets.engine.request(command, { name: dataset, value: snapshot, string: tag });
      if (errno === errnoOf.EEXIST) throw fail(`${subject} '${target}': tag already exists on this dataset`);
      if (errno === ESRCH || errno === errnoOf.ENOENT) throw fail(`${subject} '${target}': no such tag on this dataset`);
      if (errno !== 0) throw fail(`${subject} '${target}': ${reasonOf(errno)}`);
    }
  }
  return 0;
}

export async function zfsHolds(context: ZfsContext, args: readonly string[]): Promise<number> {
  const parsed = parseOptions('holds', args, 'rHp');
  if (parsed.operands.length === 0) throw usageError('holds', 'missing snapshot argument');
  const rows: string[][] = [];
  let isMissing = false;
  for (const operand of parsed.operands) {
    for (const name of await targetsOf(context, operand, parsed.has('r'))) {
      if ((await context.datasets.find(name)) === undefined) {
        err(`cannot open '${name}': dataset does not exist\n`);
        isMissing = true;
        continue;
      }
      const { list } = await context.datasets.engine.request('holds', { name, wantsList: true });
      for (const [tag, seconds] of Object.entries(list)) rows.push([name, tag, holdDate(Number(seconds))]);
    }
  }
  if (isMissing && !parsed.has('H')) out('NAME  TAG  TIMESTAMP\n');
  if (isMissing) throw new Exit(1, 'no datasets available\n');
  printTable(rows, ['NAME', 'TAG', 'TIMESTAMP'], [false, false, false], parsed.has('H'));
  return 0;
}

/** As of a creation, but the hour padded with a zero. */
const holdDate = (seconds: number): string => niceDate(seconds).replace(/ ( ?\d+):/, (_, hour: string) => ` ${hour.trim().padStart(2, '0')}:`);

/** The engine notices an unmount a moment after umount(8) has returned, and calls the dataset busy until then. */
export async function settle(work: () => Promise<number>): Promise<number> {
  for (let attempt = 0; ; attempt++) {
    const errno = await work();
    if (errno !== errnoOf.EBUSY || attempt === 200) return errno;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
