/**
 * Typed calls of zfs(8). The root guard is here: no call of this client changes anything but what lies strictly below the root
 * (the root itself may be read, and created if the operator has not). Command forms as in freebsd/transcripts/zfs.json;
 * machine output (-Hp) only. AgentError `zfs-…` as zfs-errors.ts tells.
 */
import { assert } from '../lib/assert.js';
import { AgentError, codeOf } from '../lib/errors.js';
import type { Host, RunResult } from '../host/index.js';
import { assertBelow } from './dataset-names.js';
import { zfsError } from './zfs-errors.js';

const TIMEOUT_MS = 60_000;
/** Freeing a large dataset waits for the transaction group; a pool under load takes its time. */
const DESTROY_TIMEOUT_MS = 600_000;
const LIST_BYTES = 64 * 1024 * 1024;
const LIST_ATTEMPTS = 5;
/** `written@SNAPSHOT` is the one with a name of ours in it. */
const PROPERTY = /^[a-z][a-z0-9.:_-]*$|^written@[a-z]+$/;

export type DatasetType = 'filesystem' | 'volume' | 'snapshot';

export interface Property {
  readonly value: string;
  /** Set on this very dataset (or received with it), not inherited. */
  readonly isOwn: boolean;
}

/** Property name → value, for the properties that were asked for and that are set. */
export type Properties = ReadonlyMap<string, Property>;

export interface Zfs {
  /** Properties of `name` and, with `recursive`, of all that is below it, snapshots included; empty if it does not exist. */
  get(name: string, properties: readonly string[], options?: { recursive?: boolean }): Promise<ReadonlyMap<string, Properties>>;
  createFilesystem(name: string, properties: Readonly<Record<string, string>>): Promise<void>;
  /** A volume without reservation. `bytes` must be a multiple of 1 MiB. */
  createVolume(name: string, bytes: bigint, properties: Readonly<Record<string, string>>): Promise<void>;
  /** The properties are set in the same transaction. */
  snapshot(name: string, properties?: Readonly<Record<string, string>>): Promise<void>;
  /** Several snapshots in one transaction: of one moment, all or none, each with the properties. */
  snapshotTogether(names: readonly string[], properties?: Readonly<Record<string, string>>): Promise<void>;
  /** The properties are set in the same transaction as the clone: there is never one without them. */
  clone(snapshot: string, name: string, properties: Readonly<Record<string, string>>): Promise<void>;
  set(name: string, properties: Readonly<Record<string, string>>): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Moves the snapshot that a clone was made from, and all earlier ones, to the clone; their dataset becomes a clone of it. Guids and properties stay. */
  promote(clone: string): Promise<void>;
  /** Octets and size of a volume as they were; snapshots that were taken later are destroyed. */
  rollback(snapshot: string): Promise<void>;
  /** One snapshot, never with clones. */
  destroySnapshot(snapshot: string): Promise<void>;
  /** With snapshots and children; never with clones that live elsewhere. */
  destroyTree(name: string): Promise<void>;
}

export function createZfs(host: Pick<Host, 'run'>, root: string): Zfs {
  const call = async (action: string, dataset: string, args: readonly string[], timeoutMs = TIMEOUT_MS): Promise<RunResult> => {
    const result = await host.run('zfs', args, { okExits: 'any', timeoutMs, maxOutputBytes: LIST_BYTES });
    if (result.code !== 0) throw zfsError(action, dataset, result);
    return result;
  };
  const below = (name: string): string => {
    assertBelow(root, name);
    return name;
  };
  return {
    async get(name, properties, options = {}) {
      if (name !== root) assertBelow(root, name);
      const depth = options.recursive === true ? ['-r', '-t', 'filesystem,volume,snapshot'] : [];
      const args = ['get', '-Hp', ...depth, '-o', 'name,property,value,source', properties.map(property).join(','), name];
      for (let attempt = 1; ; attempt += 1) {
        try {
          return parseGet((await call('get', name, args)).stdout);
        } catch (error) {
          if (codeOf(error) !== 'zfs-missing') throw error;
          // Only the name itself is an answer. A child that went away while zfs was listing means: look again.
          if (isAbout(error, name)) return new Map();
          if (attempt === LIST_ATTEMPTS) throw error;
        }
      }
    },
    async createFilesystem(name, properties) {
      await call('create', name, ['create', ...setters(properties), name === root ? root : below(name)]);
    },
    async createVolume(name, bytes, properties) {
      assertMebibytes(bytes);
      await call('create', name, ['create', '-s', '-V', String(bytes), ...setters(properties), below(name)]);
    },
    async snapshot(name, properties = {}) {
      assert(name.includes('@'), 'the name of a snapshot has an @');
      await call('snapshot', name, ['snapshot', ...setters(properties), below(name)]);
    },
    async snapshotTogether(names, properties = {}) {
      assert(names.length > 0 && names.every((name) => name.includes('@')), 'the name of a snapshot has an @');
      await call('snapshot', names[0]!, ['snapshot', ...setters(properties), ...names.map(below)]);
    },
    async clone(snapshot, name, properties) {
      assert(snapshot.includes('@'), 'a clone is made from a snapshot');
      await call('clone', name, ['clone', ...setters(properties), below(snapshot), below(name)]);
    },
    async set(name, properties) {
      await call('set', name, ['set', ...assignments(properties), below(name)]);
    },
    async rename(from, to) {
      assert(!from.includes('@') && !to.includes('@'), 'only datasets are renamed');
      await call('rename', from, ['rename', below(from), below(to)]);
    },
    async promote(clone) {
      assert(!clone.includes('@'), 'only a dataset is promoted');
      await call('promote', clone, ['promote', below(clone)]);
    },
    async rollback(snapshot) {
      assert(snapshot.includes('@'), 'only a snapshot can be gone back to');
      await call('rollback', snapshot, ['rollback', '-r', below(snapshot)], DESTROY_TIMEOUT_MS);
    },
    async destroySnapshot(snapshot) {
      assert(snapshot.includes('@'), 'a snapshot has an @ in its name');
      await call('destroy', snapshot, ['destroy', below(snapshot)], DESTROY_TIMEOUT_MS);
    },
    async destroyTree(name) {
      assert(!name.includes('@'), 'only whole datasets are destroyed');
      await call('destroy', name, ['destroy', '-r', below(name)], DESTROY_TIMEOUT_MS);
    },
  };
}

const isAbout = (error: unknown, name: string): boolean => error instanceof AgentError && String(error.details['stderr']).includes(`'${name}'`);

const MEBIBYTE = 1024n * 1024n;

/** The next multiple of 1 MiB, which every volblocksize divides. */
export const roundUpToMebibyte = (bytes: bigint): bigint => ((bytes + MEBIBYTE - 1n) / MEBIBYTE) * MEBIBYTE;

function assertMebibytes(bytes: bigint): void {
  assert(bytes > 0n && bytes % MEBIBYTE === 0n, `a volume size is a multiple of 1 MiB: ${bytes}`);
}

function property(name: string): string {
  assert(PROPERTY.test(name), `bad property name: ${name}`);
  return name;
}

function assignments(properties: Readonly<Record<string, string>>): string[] {
  return Object.entries(properties).map(([name, value]) => {
    assert(!/[\t\n\0]/.test(value) && value.length < 1024, `bad value of property ${name}`);
    return `${property(name)}=${value}`;
  });
}

const setters = (properties: Readonly<Record<string, string>>): string[] => assignments(properties).flatMap((text) => ['-o', text]);

/** Reads `zfs get -Hp -o name,property,value,source`; values that are not set (`-` without source) are left out. */
export function parseGet(stdout: string): Map<string, Map<string, Property>> {
  const datasets = new Map<string, Map<string, Property>>();
  for (const line of stdout.split('\n')) {
    if (line === '') continue;
    const fields = line.split('\t'); // a foreign user property may hold tabs: they belong to the value
    const [name, key, source] = [fields[0], fields[1], fields.at(-1)];
    if (fields.length < 4) throw new AgentError('command-output-unreadable', 'zfs get printed a line that we cannot read', { details: { tool: 'zfs' } });
    const properties = datasets.get(name!) ?? new Map<string, Property>();
    datasets.set(name!, properties);
    const value = fields.slice(2, -1).join('\t');
    if (value === '-' && source === '-') continue;
    properties.set(key!, { value, isOwn: source === 'local' || source === 'received' || source === '-' });
  }
  return datasets;
}
