/** Checking and applying properties: zfs set, zfs inherit and the -o of create, clone and snapshot. */
import { errnoOf, fail, reasonOf, usageError } from './zfs-errors.js';
import type { Dataset } from './zfs-datasets.js';
import { parseOptions, type ZfsContext } from './zfs-context.js';
import { parseSize, reservationOf } from './zfs-numbers.js';
import { type Kind, type PropertyRule, isUserProperty, ruleOf, showProperty } from './zfs-properties.js';
import { keyOf, linkVolume, resizeVolume } from './zvol.js';
import { mustFind } from './zfs-show.js';

/** What the engine is told; `lab:` names and native ones. */
export type EngineProperties = Record<string, bigint | string>;

/** Reads `name=value` pairs for a dataset of a kind; `subject` begins the message, e.g. `cannot create 'x'`. */
export function checkProperties(pairs: readonly string[], kind: Kind, subject: string): Map<string, bigint | string> {
  const checked = new Map<string, bigint | string>();
  for (const pair of pairs) {
    const equals = pair.indexOf('=');
    if (equals < 0) throw usageError('set', `missing '=' for property=value argument`);
    const [name, value] = [pair.slice(0, equals), pair.slice(equals + 1)];
    const rule = ruleOf(name);
    const key = rule?.name ?? name;
    if (checked.has(key)) throw fail(`property '${name}' specified multiple times`);
    checked.set(key, checkOne(rule, name, value, kind, subject));
  }
  return checked;
}

function checkOne(rule: PropertyRule | undefined, name: string, value: string, kind: Kind, subject: string): bigint | string {
  if (rule === undefined) {
    if (!isUserProperty(name)) throw fail(`${subject}: invalid property '${name}'`);
    return value;
  }
  if (rule.initial === undefined) throw fail(`${subject}: '${name}' is readonly`);
  if (!rule.kinds.includes(kind) && kind !== 'snapshot') throw fail(`${subject}: '${rule.name}' does not apply to datasets of this type`);
  if (rule.show === 'size') return sizeValue(rule, value, subject);
  if (rule.words !== undefined && !fitsWords(rule.words, value)) throw fail(`${subject}: '${rule.name}' must be one of '${rule.words}'`);
  return value;
}

function fitsWords(words: string, value: string): boolean {
  return words.split(' | ').some((word) => {
    if (word === value || word.includes(' ')) return true;
    const range = /^([a-z-]+-)\[(\d+)-(\d+)/.exec(word);
    if (range === null) return word.startsWith(`${value}[`);
    const number = Number(value.startsWith(range[1]!) ? value.slice(range[1]!.length) : NaN);
    return number >= Number(range[2]) && number <= 1000;
  });
}

function sizeValue(rule: PropertyRule, value: string, subject: string): bigint | string {
  if (rule.isNative === true && value === 'none') return 0n;
  if (rule.name === 'refreservation' && value === 'auto') return 'auto';
  const size = parseSize(value);
  if (typeof size !== 'bigint') throw fail(`${subject}: ${size.bad} '${value}'`);
  if ((rule.name === 'volblocksize' || rule.name === 'recordsize') && (size < 512n || size > 1n << 20n || (size & (size - 1n)) !== 0n)) {
    throw fail(`${subject}: '${rule.name}' must be power of 2 from 512B to 1M`);
  }
  return size;
}

/** As the engine keeps them. */
export function toEngine(properties: ReadonlyMap<string, bigint | string>): EngineProperties {
  const engine: EngineProperties = {};
  for (const [name, value] of properties) {
    const rule = ruleOf(name);
    if (rule === undefined) engine[name] = String(value);
    else if (rule.isNative === true) engine[name] = BigInt(value);
    else engine[`lab:${rule.name}`] = name === 'volmode' && value === 'geom' ? 'full' : String(value);
    // The engine has lzjb and gzip; what lz4 or zstd would squeeze, lzjb squeezes too.
    if (name === 'compression') engine['compression'] = value === 'off' ? 2n : 3n;
  }
  return engine;
}

export async function applyProperties(context: ZfsContext, name: string, properties: EngineProperties): Promise<number> {
  if (Object.keys(properties).length === 0) return 0;
  return (await context.datasets.engine.request('setProperty', { name, source: properties })).errno;
}

export async function zfsSet(context: ZfsContext, args: readonly string[]): Promise<number> {
  const { operands } = parseOptions('set', args, '');
  if (operands.length === 0) throw usageError('set', 'missing arguments');
  const pairs = operands.filter((operand) => operand.includes('='));
  const names = operands.filter((operand) => !operand.includes('='));
  if (pairs.length === 0) throw usageError('set', `missing property=value argument(s)`);
  if (names.length === 0) throw usageError('set', 'missing dataset name(s)');
  for (const name of names) {
    const dataset = await mustFind(context, name);
    const subject = `cannot set property for '${name}'`;
    const checked = checkProperties(pairs, dataset.kind, subject);
    if (checked.has('volblocksize')) throw fail(`${subject}: 'volblocksize' is readonly`);
    await setOne(context, dataset, checked, subject);
  }
  return 0;
}

async function setOne(context: ZfsContext, dataset: Dataset, checked: Map<string, bigint | string>, subject: string): Promise<void> {
  const size = checked.get('volsize');
  if (typeof size === 'bigint') addReservation(dataset, checked, size, subject);
  if (checked.get('refreservation') === 'auto') checked.set('refreservation', reservationOf(BigInt(String(dataset.raw('lab:volsize')?.value)), blockBytes(dataset)));
  const errno = await applyProperties(context, dataset.name, toEngine(checked));
  if (errno === errnoOf.ENOSPC || errno === errnoOf.EDQUOT) {
    const isQuota = checked.has('quota') || checked.has('refquota');
    throw fail(`${subject}: size is ${isQuota ? 'less than current used or reserved space' : 'greater than available space'}`);
  }
  if (errno !== 0) throw fail(`${subject}: ${reasonOf(errno)}`);
  if (typeof size === 'bigint') resizeVolume(context.node, keyOf(dataset), size);
  if (checked.has('volmode')) await relink(context, dataset.name);
}

const blockBytes = (dataset: Dataset): bigint => BigInt(String(dataset.raw('lab:volblocksize')?.value ?? 8192));

/** A volume that reserves its size keeps doing so after growing or shrinking. */
function addReservation(dataset: Dataset, checked: Map<string, bigint | string>, size: bigint, subject: string): void {
  const block = blockBytes(dataset);
  if (size === 0n) throw fail(`${subject}: 'volsize' cannot be zero`);
  if (size % block !== 0n) throw fail(`${subject}: 'volsize' must be a multiple of volume block size (${block / 1024n}K)`);
  const old = BigInt(String(dataset.raw('lab:volsize')?.value ?? 0));
  const reserved = dataset.number('refreservation');
  if (reserved !== 0n && reserved === reservationOf(old, block) && !checked.has('refreservation')) checked.set('refreservation', reservationOf(size, block));
}

/** Device nodes follow volmode, also the inherited one. */
async function relink(context: ZfsContext, name: string): Promise<void> {
  for (const dataset of await context.datasets.tree(name)) {
    if (dataset.kind === 'volume') linkVolume(context.node, dataset);
  }
}

export async function zfsInherit(context: ZfsContext, args: readonly string[]): Promise<number> {
  const parsed = parseOptions('inherit', args, 'rS');
  const [property, ...names] = parsed.operands;
  if (property === undefined) throw usageError('inherit', 'missing property argument');
  if (names.length === 0) throw usageError('inherit', 'missing dataset argument');
  const rule = ruleOf(property);
  if (rule === undefined && !isUserProperty(property)) throw usageError('inherit', `invalid property '${property}'`);
  if (rule !== undefined && rule.isInherited !== true) throw fail(`'${property}' property cannot be inherited`);
  const key = rule === undefined ? property : `lab:${rule.name}`;
  for (const name of names) {
    await mustFind(context, name);
    const targets = parsed.has('r') ? (await context.datasets.tree(name)).map((dataset) => dataset.name) : [name];
    for (const target of targets) await context.datasets.engine.request('inherit', { name: target, value: key });
    if (rule?.name === 'volmode') await relink(context, name);
  }
  return 0;
}

export const isMounted = (dataset: Dataset): boolean => showProperty(dataset, 'mounted', true, () => []).value === 'yes';
