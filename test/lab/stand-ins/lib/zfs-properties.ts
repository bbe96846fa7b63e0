/**
 * Properties as FreeBSD's zfs knows them, over an engine that knows fewer. What the engine counts itself (used, available, quota,
 * refreservation …) is read from it; every other property that a user can set is kept as the engine's user property `lab:NAME`, which
 * gives inheritance, sources and survival over send and receive -p for nothing.
 */
import type { Dataset } from './zfs-datasets.js';
import { niceDate, niceNumber } from './zfs-numbers.js';

export type Kind = 'filesystem' | 'volume' | 'snapshot';
type Show = 'size' | 'text' | 'number' | 'ratio' | 'date' | 'yesno' | 'onoff' | 'limit';

export interface PropertyRule {
  readonly name: string;
  readonly kinds: readonly Kind[];
  readonly show: Show;
  /** Absent: cannot be set. */
  readonly initial?: string;
  readonly isInherited?: boolean;
  /** The engine keeps it under the same name. */
  readonly isNative?: boolean;
  /** Allowed words, as the error message lists them. */
  readonly words?: string;
  /** Left out of `get all` (shown when asked for). */
  readonly isHidden?: boolean;
}

const all: readonly Kind[] = ['filesystem', 'volume', 'snapshot'];
const datasets: readonly Kind[] = ['filesystem', 'volume'];
const fs: readonly Kind[] = ['filesystem'];
const volumes: readonly Kind[] = ['volume'];
const volumesAndSnapshots: readonly Kind[] = ['volume', 'snapshot'];
const snapshots: readonly Kind[] = ['snapshot'];
const onOff = 'on | off';
const compression = 'on | off | lzjb | gzip | gzip-[1-9] | zle | lz4 | zstd | zstd-[1-19] | zstd-fast | zstd-fast-[1-10,20,30,40,50,60,70,80,90,100,500,1000]';

const fixed = (name: string, kinds: readonly Kind[], show: Show, isHidden = false): PropertyRule => ({ name, kinds, show, ...(isHidden ? { isHidden } : {}) });
const word = (name: string, kinds: readonly Kind[], initial: string, words: string): PropertyRule => ({ name, kinds, show: 'text', initial, words, isInherited: true });
const free = (name: string, kinds: readonly Kind[], initial: string): PropertyRule => ({ name, kinds, show: 'text', initial, isInherited: true });
const space = (name: string, kinds: readonly Kind[]): PropertyRule => ({ name, kinds, show: 'size', initial: '0', isNative: true });
const limit = (name: string, kinds: readonly Kind[]): PropertyRule => ({ name, kinds, show: 'limit', initial: '18446744073709551615' });

/** In the order of `zfs get all`. */
export const propertyRules: readonly PropertyRule[] = [
  fixed('type', all, 'text'), fixed('creation', all, 'date'), fixed('used', all, 'size'), fixed('available', datasets, 'size'), fixed('referenced', all, 'size'),
  fixed('compressratio', all, 'ratio'), fixed('mounted', fs, 'yesno'), fixed('origin', datasets, 'text'), space('quota', fs), space('reservation', datasets),
  { name: 'volsize', kinds: volumesAndSnapshots, show: 'size', initial: '0' },
  { name: 'volblocksize', kinds: volumes, show: 'size', initial: '8192' },
  { name: 'recordsize', kinds: fs, show: 'size', initial: '131072', isInherited: true },
  free('mountpoint', fs, ''), word('sharenfs', fs, 'off', 'on | off | NFS share options'),
  word('checksum', datasets, 'on', 'on | off | fletcher2 | fletcher4 | sha256 | sha512 | skein'), word('compression', datasets, 'off', compression),
  word('atime', fs, 'on', onOff), word('devices', fs, 'on', onOff), word('exec', fs, 'on', onOff), word('setuid', fs, 'on', onOff),
  word('readonly', datasets, 'off', onOff), word('jailed', fs, 'off', onOff), word('snapdir', fs, 'hidden', 'hidden | visible'),
  word('aclmode', fs, 'discard', 'discard | groupmask | passthrough | restricted'),
  word('aclinherit', fs, 'restricted', 'discard | noallow | restricted | passthrough | passthrough-x'), fixed('createtxg', all, 'number'),
  { name: 'canmount', kinds: fs, show: 'text', initial: 'on', words: 'on | off | noauto' }, word('xattr', fs, 'on', 'on | off | dir | sa'),
  word('copies', datasets, '1', '1 | 2 | 3'), fixed('version', fs, 'number'),
  fixed('utf8only', fs, 'text'), fixed('normalization', fs, 'text'), fixed('casesensitivity', fs, 'text'), word('vscan', fs, 'off', onOff), word('nbmand', fs, 'off', onOff),
  word('sharesmb', fs, 'off', 'on | off | SMB share options'), space('refquota', fs), space('refreservation', datasets), fixed('guid', all, 'number'),
  word('primarycache', all, 'all', 'all | none | metadata'), word('secondarycache', all, 'all', 'all | none | metadata'), fixed('usedbysnapshots', datasets, 'size'),
  fixed('usedbydataset', datasets, 'size'), fixed('usedbychildren', datasets, 'size'), fixed('usedbyrefreservation', datasets, 'size'),
  fixed('defer_destroy', snapshots, 'onoff'), fixed('userrefs', snapshots, 'number'), word('logbias', datasets, 'latency', 'latency | throughput'),
  fixed('objsetid', all, 'number'), word('dedup', datasets, 'off', 'on | off | verify | sha256[,verify] | sha512[,verify] | skein[,verify]'),
  free('mlslabel', all, 'none'), word('sync', datasets, 'standard', 'standard | always | disabled'), word('dnodesize', fs, 'legacy', 'legacy | auto | 1k | 2k | 4k | 8k | 16k'), fixed('refcompressratio', all, 'ratio'), fixed('written', all, 'size'),
  fixed('logicalused', datasets, 'size'), fixed('logicalreferenced', all, 'size'), word('volmode', datasets, 'default', 'default | full | geom | dev | none'),
  limit('filesystem_limit', fs), limit('snapshot_limit', datasets), limit('filesystem_count', fs), limit('snapshot_count', datasets), word('snapdev', datasets, 'hidden', 'hidden | visible'),
  word('acltype', fs, 'nfsv4', 'off | nfsv4 | posix'), free('context', all, 'none'), free('fscontext', all, 'none'), free('defcontext', all, 'none'), free('rootcontext', all, 'none'),
  word('relatime', fs, 'off', onOff), word('redundant_metadata', datasets, 'all', 'all | most | some | none'), word('overlay', fs, 'on', onOff), word('encryption', all, 'off', 'on | off'),
  free('keylocation', datasets, 'none'), free('keyformat', datasets, 'none'), free('pbkdf2iters', datasets, '0'), free('special_small_blocks', fs, '0'),
  fixed('clones', snapshots, 'text', true), fixed('keystatus', datasets, 'text', true), fixed('receive_resume_token', datasets, 'text', true), fixed('name', all, 'text', true),
];

const byName = new Map(propertyRules.map((rule) => [rule.name, rule]));
const aliases: Readonly<Record<string, string>> = {
  avail: 'available', refer: 'referenced', volblock: 'volblocksize', recsize: 'recordsize', compress: 'compression', refreserv: 'refreservation', reserv: 'reservation',
  lused: 'logicalused', lrefer: 'logicalreferenced', rdonly: 'readonly',
};

export const ruleOf = (name: string): PropertyRule | undefined => byName.get(aliases[name] ?? name);
export const isUserProperty = (name: string): boolean => /^[a-z0-9:_.-]*:[a-z0-9:_.-]*$/.test(name);

export interface Shown {
  readonly value: string;
  /** `local`, `default`, `received`, `inherited from X`, or `-`. */
  readonly source: string;
}

const none: Shown = { value: '-', source: '-' };

/** One property of one dataset as `zfs get` shows it. */
export function showProperty(dataset: Dataset, name: string, parsable: boolean, clonesOf: (snapshot: string) => readonly string[]): Shown {
  const rule = ruleOf(name);
  if (rule === undefined) return userProperty(dataset, name);
  if (rule.name === 'volmode' && dataset.kind === 'filesystem') return settable(dataset, rule, parsable);
  if (!rule.kinds.includes(dataset.kind)) return none;
  if (rule.name === 'clones') return { value: clonesOf(dataset.name).join(',') || '-', source: '-' };
  if (rule.name === 'mountpoint') return mountpoint(dataset, rule);
  if (rule.initial !== undefined) return settable(dataset, rule, parsable);
  const value = computed(dataset, rule.name);
  return value === undefined ? none : { value: format(rule.show, value, parsable), source: '-' };
}

function sourceOf(dataset: Dataset, source: string | undefined): string {
  if (source === dataset.name) return 'local';
  if (source === '$recvd') return 'received';
  return source === undefined || source === '' ? 'default' : `inherited from ${source}`;
}

function userProperty(dataset: Dataset, name: string): Shown {
  const held = dataset.raw(name);
  return held === undefined ? none : { value: String(held.value), source: sourceOf(dataset, held.source) };
}

function settable(dataset: Dataset, rule: PropertyRule, parsable: boolean): Shown {
  if (rule.isNative === true) {
    const held = dataset.raw(rule.name);
    const source = held?.source === dataset.name ? 'local' : 'default';
    return { value: format(rule.show, BigInt(held?.value ?? 0n), parsable, true), source };
  }
  const held = dataset.raw(`lab:${rule.name}`);
  const isUsable = held !== undefined && (rule.isInherited === true || held.source === dataset.name || dataset.kind === 'snapshot');
  const text = isUsable ? String(held.value) : rule.initial!;
  const value = rule.show === 'text' ? text : format(rule.show, BigInt(text), parsable);
  if (rule.name === 'volblocksize') return { value, source: text === rule.initial ? 'default' : '-' };
  if (rule.name === 'volsize') return { value, source: 'local' };
  return { value, source: isUsable ? sourceOf(dataset, held.source) : 'default' };
}

/** Inherited mount points grow by the rest of the name. */
function mountpoint(dataset: Dataset, rule: PropertyRule): Shown {
  const held = dataset.raw(`lab:${rule.name}`);
  if (held === undefined) return { value: `/${dataset.name}`, source: 'default' };
  const source = sourceOf(dataset, held.source);
  const path = String(held.value);
  if (source === 'local' || path === 'none' || path === 'legacy') return { value: path, source };
  return { value: `${path === '/' ? '' : path}${dataset.name.slice((held.source ?? '').length)}`, source };
}

function computed(dataset: Dataset, name: string): bigint | string | undefined {
  switch (name) {
    case 'name':
      return dataset.name;
    case 'type':
      return dataset.kind;
    case 'origin':
      return dataset.origin;
    case 'mounted': {
      const isOn = showProperty(dataset, 'canmount', true, () => []).value === 'on';
      return isOn && !/^(none|legacy)$/.test(showProperty(dataset, 'mountpoint', true, () => []).value) ? 1n : 0n;
    }
    case 'version':
      return 5n;
    case 'utf8only':
      return 'off';
    case 'normalization':
      return 'none';
    case 'casesensitivity':
      return 'sensitive';
    case 'keystatus':
    case 'receive_resume_token':
      return undefined;
    case 'refcompressratio':
      return dataset.number('compressratio');
    case 'written':
    case 'logicalreferenced':
      return dataset.number('referenced');
    case 'logicalused':
      return dataset.number('used');
    default:
      return dataset.number(name);
  }
}

function format(show: Show, value: bigint | string, parsable: boolean, zeroIsNone = false): string {
  if (typeof value === 'string') return value;
  switch (show) {
    case 'size':
      return parsable ? String(value) : zeroIsNone && value === 0n ? 'none' : niceNumber(value);
    case 'ratio':
      return `${(Number(value) / 100).toFixed(2)}${parsable ? '' : 'x'}`;
    case 'date':
      return parsable ? String(value) : niceDate(Number(value));
    case 'yesno':
      return value === 0n ? 'no' : 'yes';
    case 'onoff':
      return value === 0n ? 'off' : 'on';
    case 'limit':
      return parsable ? String(value) : 'none';
    case 'text':
    case 'number':
      return String(value);
    default: {
      const rest: never = show;
      return rest;
    }
  }
}
