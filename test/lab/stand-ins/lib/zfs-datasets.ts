/** Datasets of this node, read from the engine. A volume is a file system of the engine that carries `lab:volsize`. */
import type { StandInNode } from './lab-node.js';
import type { NvList } from './nvlist.js';
import type { Kind } from './zfs-properties.js';
import { datasetOf, poolOf } from './zfs-names.js';
import type { ZfsFuse } from './zfs-fuse.js';

export interface RawProperty {
  readonly value: bigint | string;
  /** Name of the dataset where it is set; '' or undefined: nowhere. */
  readonly source: string | undefined;
}

export interface Dataset {
  readonly name: string;
  readonly kind: Kind;
  readonly origin: string | undefined;
  raw(name: string): RawProperty | undefined;
  number(name: string): bigint;
  /** Names of user properties other than our own `lab:` ones. */
  readonly userProperties: readonly string[];
}

const ESRCH = 3;

export interface Datasets {
  readonly engine: ZfsFuse;
  find(name: string): Promise<Dataset | undefined>;
  /** Direct children that are file systems or volumes, sorted by name. */
  children(name: string): Promise<Dataset[]>;
  /** Snapshots of one dataset, oldest first. */
  snapshots(name: string): Promise<Dataset[]>;
  /** The dataset and all below it, parents first; `depth` levels. */
  tree(name: string, depth?: number): Promise<Dataset[]>;
  /** Whether the pool is this node's. */
  isOurPool(pool: string): boolean;
}

export function createDatasets(engine: ZfsFuse, node: Pick<StandInNode, 'pool'>): Datasets {
  const isOurPool = (pool: string): boolean => pool === node.pool || pool.startsWith(`${node.pool}.`);
  const find = async (name: string): Promise<Dataset | undefined> => {
    if (!isOurPool(poolOf(name)) || name.length >= 256) return undefined;
    const answer = await engine.request('objsetStats', { name, wantsList: true });
    return answer.errno === 0 ? asDataset(name, answer.list) : undefined;
  };
  const walk = async (kind: 'listDatasets' | 'listSnapshots', name: string): Promise<Dataset[]> => {
    const found: Dataset[] = [];
    for (let cookie = 0n; ; ) {
      const answer = await engine.request(kind, { name, cookie, wantsList: true });
      if (answer.errno === ESRCH) return found;
      if (answer.errno !== 0) throw new Error(`zfs-fuse ${kind} ${name}: errno ${answer.errno}`);
      cookie = answer.cookie;
      if (!answer.name.includes('$')) found.push(asDataset(answer.name, answer.list));
    }
  };
  const children = async (name: string): Promise<Dataset[]> => (await walk('listDatasets', name)).sort((a, b) => (a.name < b.name ? -1 : 1));
  const tree = async (name: string, depth = Infinity): Promise<Dataset[]> => {
    const top = await find(name);
    if (top === undefined) return [];
    const below = depth > 0 && top.kind === 'filesystem' ? await children(name) : [];
    const all = [top];
    for (const child of below) all.push(...(await tree(child.name, depth - 1)));
    return all;
  };
  return {
    engine, find, children, tree, isOurPool,
    snapshots: async (name) => (await walk('listSnapshots', name)).sort((a, b) => Number(a.number('createtxg') - b.number('createtxg'))),
  };
}

function asDataset(name: string, list: NvList): Dataset {
  const raw = (property: string): RawProperty | undefined => {
    const held = list[property] as NvList | undefined;
    if (held === undefined) return undefined;
    return { value: held['value'] as bigint | string, source: held['source'] as string | undefined };
  };
  const volume = raw('lab:volsize');
  const isVolume = volume !== undefined && (volume.source === datasetOf(name) || volume.source === name);
  const origin = raw('origin')?.value;
  return {
    name,
    kind: name.includes('@') ? 'snapshot' : isVolume ? 'volume' : 'filesystem',
    origin: name.includes('@') || typeof origin !== 'string' || origin === '' ? undefined : origin,
    raw,
    number: (property) => {
      const value = raw(property)?.value;
      return typeof value === 'bigint' ? value : 0n;
    },
    userProperties: Object.keys(list).filter((key) => key.includes(':') && !key.startsWith('lab:')),
  };
}
