/** zfs create, clone and snapshot. */
import { randomBytes } from 'node:crypto';
import { Exit, out } from './tool.js';
import { errnoOf, cannotOpen, fail, reasonOf, usageError } from './zfs-errors.js';
import { type Parsed, type ZfsContext, parseOptions } from './zfs-context.js';
import type { Dataset } from './zfs-datasets.js';
import { nameFault, parentOf, poolOf } from './zfs-names.js';
import { parseSize, reservationOf } from './zfs-numbers.js';
import { applyProperties, checkProperties, type EngineProperties, toEngine } from './zfs-set.js';
import { attachVolume, keyOf, linkVolume, resizeVolume } from './zvol.js';
import { mustFind } from './zfs-show.js';

const FILE_SYSTEM = 2n; // DMU_OST_ZFS
const newKey = (): string => randomBytes(8).toString('hex');

export async function zfsCreate(context: ZfsContext, args: readonly string[]): Promise<number> {
  const parsed = parseOptions('create', args, ':V:b:nso:puvP');
  const sizeText = parsed.last('V');
  const kind = sizeText === undefined ? 'filesystem' : 'volume';
  const size = sizeText === undefined ? undefined : volumeSize(sizeText);
  const name = oneOperand('create', parsed, `missing ${kind} argument`);
  const subject = `cannot create '${name}'`;
  const checked = checkProperties([...parsed.all('o'), ...parsed.all('b').map((value) => `volblocksize=${value}`)], kind, subject);
  if (parsed.has('n')) return dryRun(parsed, name, checked);
  await checkNewName(context, name, kind, parsed, subject);
  if (parsed.has('v')) out(`create ${name}\n`);
  if (size === undefined) await createDataset(context, name, toEngine(checked), subject);
  else await createVolume(context, name, size, checked, !parsed.has('s'), subject);
  return 0;
}

function volumeSize(text: string): bigint {
  const size = parseSize(text);
  if (typeof size === 'bigint') return size;
  throw fail(`bad volume size '${text}': ${size.bad}${size.bad === 'bad numeric value' ? ` '${text}'` : ''}`);
}

function oneOperand(command: string, parsed: Parsed, missing: string): string {
  const [name, ...more] = parsed.operands;
  if (name === undefined) throw usageError(command, missing);
  if (more.length > 0) throw usageError(command, 'too many arguments');
  return name;
}

function dryRun(parsed: Parsed, name: string, checked: ReadonlyMap<string, bigint | string>): number {
  if (parsed.has('P')) {
    out(`create\t${name}\n`);
    for (const [property, value] of checked) out(`property\t${property}\t${value}\n`);
  } else if (parsed.has('v')) {
    if (parsed.has('p')) out(`would create ancestors of ${name}\n`);
    out(`would create ${name}\n`);
  }
  return 0;
}

/** Ends the command unless `name` can be made now; with -p its ancestors are made first. */
async function checkNewName(context: ZfsContext, name: string, kind: 'filesystem' | 'volume', parsed: Parsed, subject: string): Promise<void> {
  const fault = nameFault(name, kind);
  if (fault !== undefined) throw fail(`${subject}: ${fault}`);
  if (!context.datasets.isOurPool(poolOf(name)) || (await context.datasets.find(poolOf(name))) === undefined) {
    throw fail(name.includes('/') ? `${subject}: no such pool '${poolOf(name)}'` : `${subject}: missing dataset name`);
  }
  if (!name.includes('/')) throw fail(`${subject}: missing dataset name`);
  if ((await context.datasets.find(name)) !== undefined) {
    if (parsed.has('p')) throw new Exit(0);
    throw fail(`${subject}: dataset already exists`);
  }
  await needParent(context, parentOf(name), parsed.has('p'), subject);
}

async function needParent(context: ZfsContext, parent: string, mayMake: boolean, subject: string): Promise<void> {
  const found = await context.datasets.find(parent);
  if (found?.kind === 'volume') throw fail(`${subject}: parent is not a filesystem`);
  if (found !== undefined) return;
  if (!mayMake) throw fail(`${subject}: parent does not exist`);
  await needParent(context, parentOf(parent), true, subject);
  await createDataset(context, parent, {}, subject);
}

async function createDataset(context: ZfsContext, name: string, properties: EngineProperties, subject: string): Promise<void> {
  const { errno } = await context.datasets.engine.request('create', { name, objsetType: FILE_SYSTEM, source: { ...properties } });
  if (errno !== 0) throw fail(`${subject}: ${reasonOf(errno)}`);
}

async function createVolume(
  context: ZfsContext, name: string, size: bigint, checked: Map<string, bigint | string>, isReserved: boolean, subject: string,
): Promise<void> {
  const block = BigInt(String(checked.get('volblocksize') ?? 8192n));
  if (size === 0n) throw fail(`${subject}: volume size cannot be zero`);
  const rounded = ((size + block - 1n) / block) * block;
  checked.set('volsize', rounded);
  checked.set('volblocksize', block);
  if (isReserved && !checked.has('refreservation')) checked.set('refreservation', reservationOf(rounded, block));
  if (checked.get('refreservation') === 'auto') checked.set('refreservation', reservationOf(rounded, block));
  const reserved = BigInt(checked.get('refreservation') ?? 0n);
  const parent = await mustFind(context, parentOf(name));
  if (parent.number('available') === 0n || reserved > parent.number('available')) throw fail(`${subject}: out of space`);
  const key = newKey();
  await createDataset(context, name, { ...toEngine(checked), 'lab:key': key }, subject);
  await attachVolume(context.datasets.engine, context.node, name, key, rounded);
  linkVolume(context.node, await mustFind(context, name));
}

export async function zfsClone(context: ZfsContext, args: readonly string[]): Promise<number> {
  const parsed = parseOptions('clone', args, 'o:pu');
  const [source, name, ...more] = parsed.operands;
  if (source === undefined) throw usageError('clone', 'missing source dataset argument');
  if (name === undefined) throw usageError('clone', 'missing target dataset argument');
  if (more.length > 0) throw usageError('clone', 'too many arguments');
  const fault = nameFault(source, 'snapshot');
  if (fault !== undefined) throw fail(`cannot open '${source}': ${fault}`);
  const snapshot = await mustFind(context, source);
  const origin = await mustFind(context, source.split('@')[0]!);
  const subject = `cannot create '${name}'`;
  const checked = checkProperties(parsed.all('o'), origin.kind, subject);
  await checkNewName(context, name, origin.kind === 'volume' ? 'volume' : 'filesystem', parsed, subject);
  if (origin.kind === 'volume') await cloneVolume(context, snapshot, origin, name, checked, subject);
  else await cloneDataset(context, source, name, toEngine(checked), subject);
  return 0;
}

async function cloneDataset(context: ZfsContext, source: string, name: string, properties: EngineProperties, subject: string): Promise<void> {
  const { errno } = await context.datasets.engine.request('create', { name, value: source, objsetType: FILE_SYSTEM, source: { ...properties } });
  if (errno !== 0) throw fail(`${subject}: ${reasonOf(errno)}`);
}

/** A clone has the size that the volume had at the snapshot, unless told otherwise, and its block size. */
async function cloneVolume(
  context: ZfsContext, snapshot: Dataset, origin: Dataset, name: string, checked: Map<string, bigint | string>, subject: string,
): Promise<void> {
  const key = newKey();
  const size = BigInt(checked.get('volsize') ?? String(snapshot.raw('lab:volsize')?.value));
  checked.set('volsize', size);
  checked.set('volblocksize', BigInt(String(origin.raw('lab:volblocksize')?.value ?? 8192)));
  await cloneDataset(context, snapshot.name, name, { ...toEngine(checked), 'lab:key': key }, subject);
  await attachVolume(context.datasets.engine, context.node, name, key, size);
  linkVolume(context.node, await mustFind(context, name));
}

export async function zfsSnapshot(context: ZfsContext, args: readonly string[]): Promise<number> {
  const parsed = parseOptions('snapshot', args, 'ro:');
  if (parsed.operands.length === 0) throw usageError('snapshot', 'missing snapshot argument');
  const properties = checkProperties(parsed.all('o'), 'snapshot', 'cannot create snapshot');
  const targets: Dataset[] = [];
  const names = new Set<string>();
  for (const operand of parsed.operands) {
    const at = operand.indexOf('@');
    if (at < 0) throw usageError('snapshot', '');
    const fault = nameFault(operand, 'snapshot');
    if (fault !== undefined) throw fail(`cannot create snapshot '${operand}': ${fault}`);
    const dataset = await context.datasets.find(operand.slice(0, at));
    if (dataset === undefined) throw usageError('snapshot', `cannot open '${operand.slice(0, at)}': dataset does not exist`);
    for (const target of parsed.has('r') ? await context.datasets.tree(dataset.name) : [dataset]) {
      names.add(`${target.name}${operand.slice(at)}`);
      targets.push(target);
    }
  }
  if (new Set([...names].map((name) => name.split('@')[0])).size < names.size) {
    throw fail('cannot create snapshots : multiple snapshots of same fs not allowed\nno snapshots were created');
  }
  for (const target of targets) {
    if (target.kind === 'volume') resizeVolume(context.node, keyOf(target), BigInt(String(target.raw('lab:volsize')?.value)));
  }
  await takeSnapshots(context, [...names], toEngine(properties), parsed.has('r') ? parsed.operands[0]! : undefined);
  await keepVolumeSizes(context, targets, [...names]);
  return 0;
}

/** All or none, as on FreeBSD: the engine is atomic only for -r, so what was made is taken back when one fails. */
async function takeSnapshots(context: ZfsContext, names: readonly string[], properties: EngineProperties, recursive: string | undefined): Promise<void> {
  const { engine } = context.datasets;
  const requests = recursive === undefined ? names : [recursive];
  const made: string[] = [];
  for (const name of requests) {
    const [dataset, snapshot] = name.split('@') as [string, string];
    const { errno } = await engine.request('snapshot', { name: dataset, value: snapshot, cookie: recursive === undefined ? 0n : 1n, source: properties });
    if (errno === 0) {
      made.push(name);
      continue;
    }
    for (const done of made) await engine.request('destroy', { name: done, objsetType: FILE_SYSTEM });
    if (errno === errnoOf.ENOENT) throw cannotOpen(dataset);
    const suffix = names.length > 1 ? '\nno snapshots were created' : '';
    throw fail(`cannot create snapshot '${name}': ${reasonOf(errno)}${suffix}`);
  }
}

/** A snapshot keeps the size that its volume had; the property alone would follow the volume. */
async function keepVolumeSizes(context: ZfsContext, targets: readonly Dataset[], names: readonly string[]): Promise<void> {
  for (const [index, target] of targets.entries()) {
    const name = names[index];
    if (target.kind === 'volume' && name !== undefined) await applyProperties(context, name, { 'lab:volsize': String(target.raw('lab:volsize')?.value) });
  }
}
