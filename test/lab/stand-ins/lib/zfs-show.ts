/** zfs list and zfs get. */
import { Exit, out } from './tool.js';
import { cannotOpen, usageError } from './zfs-errors.js';
import type { Dataset } from './zfs-datasets.js';
import { type Parsed, type ZfsContext, noClones, parseOptions, readClones } from './zfs-context.js';
import { type Kind, isUserProperty, propertyRules, ruleOf, showProperty } from './zfs-properties.js';
import { nameFault } from './zfs-names.js';
import { isWritten, writtenSince } from './zfs-written.js';

const kindWords: Readonly<Record<string, readonly Kind[]>> = {
  filesystem: ['filesystem'], fs: ['filesystem'], volume: ['volume'], vol: ['volume'], snapshot: ['snapshot'], snap: ['snapshot'], bookmark: [],
  all: ['filesystem', 'volume', 'snapshot'],
};

function kindsOf(command: string, parsed: Parsed): readonly Kind[] | undefined {
  const text = parsed.last('t');
  if (text === undefined) return undefined;
  return text.split(',').flatMap((word) => {
    const kinds = kindWords[word];
    if (kinds === undefined) throw usageError(command, "invalid type '(null)'");
    return kinds;
  });
}

/** The datasets that the operands name, with what -r and -d add; names that do not exist are told at the end, exit 1. */
async function select(
  context: ZfsContext, parsed: Parsed, kinds: readonly Kind[], isSnapshotAsked: boolean,
): Promise<{ found: Dataset[]; missing: string[] }> {
  const depthText = parsed.last('d');
  const recursive = parsed.has('r') ? Infinity : depthText === undefined ? 0 : Number(depthText);
  const found: Dataset[] = [];
  const missing: string[] = [];
  const names = parsed.operands.length === 0 ? [context.node.pool] : parsed.operands;
  const depth = parsed.operands.length === 0 && depthText === undefined ? Infinity : recursive;
  for (const operand of names) {
    const name = operand.startsWith('/') ? pathToDataset(context, operand) : operand;
    const top = name === undefined ? undefined : await context.datasets.find(name);
    if (name === undefined) missing.push(`'${operand}': not a ZFS filesystem`);
    else if (top === undefined || nameFault(name, 'snapshot') === 'name is too long') missing.push(`cannot open '${operand}': dataset does not exist`);
    else if (depth === 0 && top.kind !== 'snapshot' && isSnapshotAsked) found.push(...(await withSnapshots(context, [top], kinds)));
    else if (top.kind === 'snapshot' || depth === 0) found.push(top);
    else found.push(...(await withSnapshots(context, await context.datasets.tree(name, depth), kinds, depth, name)));
  }
  const seen = new Set<string>();
  const wanted = found.filter((dataset) => kinds.includes(dataset.kind) && !seen.has(dataset.name) && seen.add(dataset.name));
  return { found: wanted, missing };
}

/** The pool's mount point stands for the pool. */
const pathToDataset = (context: ZfsContext, path: string): string | undefined =>
  path === `/${context.node.pool}` || path.startsWith(`/${context.node.pool}/`) ? path.slice(1) : undefined;

async function withSnapshots(context: ZfsContext, tree: readonly Dataset[], kinds: readonly Kind[], depth = Infinity, top = ''): Promise<Dataset[]> {
  if (!kinds.includes('snapshot')) return [...tree];
  const all: Dataset[] = [];
  for (const dataset of tree) {
    all.push(dataset);
    const level = dataset.name.slice(top.length).split('/').length - 1;
    if (level < depth) all.push(...(await context.datasets.snapshots(dataset.name)));
  }
  return all;
}

const byName = (a: Dataset, b: Dataset): number => {
  const [left, right] = [a.name.split('@')[0]!, b.name.split('@')[0]!];
  if (left !== right) return left < right ? -1 : 1;
  if (a.kind === 'snapshot' && b.kind === 'snapshot') return Number(a.number('createtxg') - b.number('createtxg'));
  return a.kind === 'snapshot' ? 1 : b.kind === 'snapshot' ? -1 : 0;
};

const headings: Readonly<Record<string, string>> = {
  available: 'AVAIL', referenced: 'REFER', usedbysnapshots: 'USEDSNAP', usedbydataset: 'USEDDS', usedbyrefreservation: 'USEDREFRESERV', usedbychildren: 'USEDCHILD',
  compressratio: 'RATIO', volblocksize: 'VOLBLOCK', recordsize: 'RECSIZE', refreservation: 'REFRESERV', reservation: 'RESERV', compression: 'COMPRESS', logicalused: 'LUSED',
  logicalreferenced: 'LREFER', readonly: 'RDONLY',
};

/** Numbers stand right, except that text stands left; a property of the user is text. */
const isRight = (name: string): boolean => {
  const rule = ruleOf(name);
  return rule !== undefined && ['size', 'ratio', 'number', 'limit'].includes(rule.show);
};

export async function zfsList(context: ZfsContext, args: readonly string[]): Promise<number> {
  const parsed = parseOptions('list', args, `HS:d:o:prs:t:${context.node.facts.hasZfsJson ? 'j' : ''}`);
  const asked = kindsOf('list', parsed);
  const columns = (parsed.last('o') ?? 'name,used,available,referenced,mountpoint')
    .split(',').flatMap((name) => (name === 'space' ? ['name', 'available', 'used', 'usedbysnapshots', 'usedbydataset', 'usedbyrefreservation', 'usedbychildren'] : [name]));
  for (const name of columns) {
    if (ruleOf(name) === undefined && !isUserProperty(name)) throw usageError('list', `bad property list: invalid property '${name}'`);
  }
  const sorts = readSorts(args, parsed);
  const hasSnapshotOperand = parsed.operands.some((name) => name.includes('@'));
  const kinds = asked ?? (hasSnapshotOperand ? ['filesystem', 'volume', 'snapshot'] : ['filesystem', 'volume']);
  const { found, missing } = await select(context, parsed, kinds, asked?.includes('snapshot') === true);
  const clonesOf = columns.includes('clones') ? await readClones(context.datasets, context.node.pool) : noClones;
  const sorted = [...found].sort((a, b) => compareBy(sorts, a, b) || byName(a, b));
  const rows = sorted.map((dataset) => columns.map((name) => showProperty(dataset, name, parsed.has('p'), clonesOf).value));
  printTable(rows, columns.map((name) => headings[ruleOf(name)?.name ?? name] ?? name.toUpperCase()), columns.map(isRight), parsed.has('H'));
  if (missing.length > 0) throw new Exit(1, `${missing.join('\n')}\n`);
  if (rows.length === 0 && !parsed.has('H')) throw new Exit(0, 'no datasets available\n');
  return 0;
}

function readSorts(args: readonly string[], parsed: Parsed): { name: string; isDown: boolean }[] {
  const sorts = [...parsed.all('s').map((name) => ({ name, isDown: false })), ...parsed.all('S').map((name) => ({ name, isDown: true }))];
  for (const { name } of sorts) {
    if (ruleOf(name) === undefined && !isUserProperty(name)) throw usageError('list', `invalid property '${name}'`);
  }
  return sorts.sort((a, b) => args.indexOf(a.name) - args.indexOf(b.name));
}

function compareBy(sorts: readonly { name: string; isDown: boolean }[], a: Dataset, b: Dataset): number {
  for (const { name, isDown } of sorts) {
    const [left, right] = [a, b].map((dataset) => showProperty(dataset, name, true, noClones).value) as [string, string];
    const order = /^\d+$/.test(left) && /^\d+$/.test(right) ? Number(BigInt(left) - BigInt(right)) : left < right ? -1 : left > right ? 1 : 0;
    if (order !== 0) return isDown ? -order : order;
  }
  return 0;
}

export function printTable(rows: readonly (readonly string[])[], heading: readonly string[], right: readonly boolean[], isScripted: boolean): void {
  if (isScripted) {
    out(rows.map((row) => `${row.join('\t')}\n`).join(''));
    return;
  }
  if (rows.length === 0) return;
  const lines = [heading, ...rows];
  const widths = heading.map((_, index) => Math.max(...lines.map((line) => (line[index] ?? '').length)));
  const render = (line: readonly string[]): string =>
    line.map((cell, index) => (right[index] === true ? cell.padStart(widths[index]!) : index === line.length - 1 ? cell : cell.padEnd(widths[index]!))).join('  ');
  out(lines.map((line) => `${render(line)}\n`).join(''));
}

const getFields = ['name', 'property', 'value', 'received', 'source'];

export async function zfsGet(context: ZfsContext, args: readonly string[]): Promise<number> {
  const parsed = parseOptions('get', args, `d:o:s:rt:Hp${context.node.facts.hasZfsJson ? 'j' : ''}`);
  const asked = kindsOf('get', parsed);
  const fields = (parsed.last('o') ?? 'name,property,value,source').split(',').flatMap((field) => (field === 'all' ? ['name', 'property', 'value', 'received', 'source'] : [field]));
  for (const field of fields) if (!getFields.includes(field)) throw usageError('get', `invalid column name '${field}'`);
  const [list, ...operands] = parsed.operands;
  if (list === undefined) throw usageError('get', 'missing property argument');
  const names = list.split(',');
  for (const name of names) {
    if (name !== 'all' && ruleOf(name) === undefined && !isUserProperty(name) && !isWritten(name)) throw usageError('get', `bad property list: invalid property '${name}'`);
  }
  const sources = parsed.last('s')?.split(',');
  const kinds = asked ?? ['filesystem', 'volume', 'snapshot'];
  const { found, missing } = await select(context, { ...parsed, operands }, operands.length === 0 && asked === undefined ? ['filesystem', 'volume'] : kinds, asked?.includes('snapshot') === true);
  const clonesOf = names.includes('clones') ? await readClones(context.datasets, context.node.pool) : noClones;
  const rows: string[][] = [];
  for (const dataset of [...found].sort(byName)) {
    for (const name of names.flatMap((property) => (property === 'all' ? allProperties(dataset) : [ruleOf(property)?.name ?? property]))) {
      const { value, source } = isWritten(name) ? await writtenSince(context.datasets, dataset, name) : showProperty(dataset, name, parsed.has('p'), clonesOf);
      if (sources !== undefined && !sources.includes(source.startsWith('inherited') ? 'inherited' : source === '-' ? 'none' : source)) continue;
      const cells: Readonly<Record<string, string>> = { name: dataset.name, property: name, value, source, received: '-' };
      rows.push(fields.map((field) => cells[field]!));
    }
  }
  printTable(rows, fields.map((field) => field.toUpperCase()), fields.map(() => false), parsed.has('H'));
  if (missing.length > 0) throw new Exit(1, `${missing.join('\n')}\n`);
  return 0;
}

function allProperties(dataset: Dataset): string[] {
  const ours = propertyRules.filter((rule) => rule.isHidden !== true && rule.kinds.includes(dataset.kind) && (rule.name !== 'origin' || dataset.origin !== undefined));
  return [...ours.map((rule) => rule.name), ...dataset.userProperties];
}

/** For commands that need one existing dataset of a kind. */
export async function mustFind(context: ZfsContext, name: string): Promise<Dataset> {
  const dataset = await context.datasets.find(name);
  if (dataset === undefined) throw cannotOpen(name);
  return dataset;
}
