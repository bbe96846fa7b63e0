/** What every command of the zfs stand-in works with. */
import type { StandInNode } from './lab-node.js';
import { getopt } from './tool.js';
import { usageError } from './zfs-errors.js';
import type { Dataset, Datasets } from './zfs-datasets.js';
import { poolOf } from './zfs-names.js';

export interface ZfsContext {
  readonly node: StandInNode;
  readonly datasets: Datasets;
}

export interface Parsed {
  has(flag: string): boolean;
  /** Every value of an option, in order. */
  all(flag: string): string[];
  last(flag: string): string | undefined;
  readonly operands: readonly string[];
}

/** Reads the options of a zfs command; a bad one ends in its usage with exit 2. */
export function parseOptions(command: string, args: readonly string[], spec: string): Parsed {
  const { options, operands, bad } = getopt(args, spec);
  if (bad !== undefined) throw usageError(command, bad.kind === 'illegal' ? `invalid option '${bad.flag}'` : `missing argument for '${bad.flag}' option`);
  return {
    has: (flag) => options.some((option) => option.flag === flag),
    all: (flag) => options.filter((option) => option.flag === flag).map((option) => option.value),
    last: (flag) => options.filter((option) => option.flag === flag).at(-1)?.value,
    operands,
  };
}

/** Names of clones by snapshot, over the whole pool; read once and only if somebody asks. */
export async function readClones(datasets: Datasets, pool: string): Promise<(snapshot: string) => readonly string[]> {
  const clones = new Map<string, string[]>();
  for (const { name, origin } of await datasets.tree(pool)) {
    if (origin !== undefined) clones.set(origin, [...(clones.get(origin) ?? []), name]);
  }
  return (snapshot) => clones.get(snapshot) ?? [];
}

export const noClones = (): readonly string[] => [];

/** A dataset with its snapshots and everything below it, snapshots after their dataset, oldest first. */
export async function treeWithSnapshots(datasets: Datasets, name: string, depth = Infinity): Promise<Dataset[]> {
  const found: Dataset[] = [];
  for (const dataset of await datasets.tree(name, depth)) {
    found.push(dataset);
    if (depth > 0) found.push(...(await datasets.snapshots(dataset.name)));
  }
  return found;
}

/** Datasets that are clones of snapshots of `names`, directly or further on, and live outside of them. */
export async function dependentClones(datasets: Datasets, name: string): Promise<string[]> {
  const everything = await datasets.tree(poolOf(name));
  const inside = (dataset: string): boolean => dataset === name || dataset.startsWith(`${name}/`);
  const isFrom = (origin: string | undefined): boolean =>
    origin !== undefined && (name.includes('@') ? origin === name : inside(origin.split('@')[0]!));
  return everything.filter((dataset) => isFrom(dataset.origin) && !inside(dataset.name)).map((dataset) => dataset.name);
}
