/**
 * zfs(8) in memory: a pool with filesystems, volumes, snapshots and clones, which refuses what OpenZFS 2.1.9 on FreeBSD 13.2 refuses,
 * with its words and exit codes (test/contract/storage/zfs-fake.test.ts holds it to the recordings). Only the commands and options that
 * the agent uses; anything else is exit 2 with a usage text, so that a new form is noticed.
 */
import type { RunResult } from '../../src/host/index.js';

export interface FakeDataset {
  name: string;
  type: 'filesystem' | 'volume' | 'snapshot';
  /** Set on it, not inherited. */
  readonly own: Map<string, string>;
  volsize: bigint;
  /** Snapshot that it was cloned from. */
  origin: FakeDataset | undefined;
  readonly isSparse: boolean;
  readonly guid: number;
  readonly creation: number;
  /** Number of the transaction that it was made in: what one command makes has one. */
  readonly createtxg: number;
  /** Grows with each write; a snapshot has what its volume had. */
  writes: number;
}

/** What happens to device nodes; a contract test lets real files follow. */
export interface FakeNodes {
  created(volume: FakeDataset): void;
  resized(volume: FakeDataset): void;
  snapshotted(snapshot: FakeDataset, volume: FakeDataset): void;
  cloned(volume: FakeDataset, snapshot: FakeDataset): void;
  renamed(from: string, to: string): void;
  rolledBack(volume: FakeDataset, snapshot: FakeDataset): void;
  destroyed(name: string): void;
}

export interface FakeZfsOptions {
  readonly pool?: string;
  readonly poolBytes?: bigint;
  readonly nodes?: Partial<FakeNodes>;
  readonly nowSeconds?: () => number;
}

export interface FakeZfs {
  run(args: readonly string[]): RunResult;
  readonly datasets: Map<string, FakeDataset>;
  /** Volumes that somebody has open: destroying them is refused as busy. */
  readonly open: Set<string>;
  /** The guest (or anybody) writes to a volume. */
  write(name: string): void;
  /** Octets that are in use besides the datasets. */
  foreignBytes: bigint;
  /** Clones have the size of what they are made of, whatever is asked for. */
  ignoresCloneSize: boolean;
}

class Refusal extends Error {
  constructor(readonly stderr: string, readonly code = 1) {
    super(stderr);
  }
}

const usage = (what: string): Refusal => new Refusal(`${what}\nusage:\n`, 2);
const VOLUME_USED = 57_344n;
const FILESYSTEM_USED = 98_304n;
const inheritable = (property: string): boolean => property.includes(':') || ['volmode', 'compression', 'mountpoint', 'snapdev', 'readonly'].includes(property);
const defaults: Readonly<Record<string, string>> = { volmode: 'default', compression: 'off', snapdev: 'hidden', readonly: 'off' };
const parentOf = (name: string): string => name.slice(0, Math.max(name.lastIndexOf('/'), name.lastIndexOf('@')));

export function createFakeZfs(options: FakeZfsOptions = {}): FakeZfs {
  const pool = options.pool ?? 'tank';
  const nodes = options.nodes ?? {};
  const datasets = new Map<string, FakeDataset>();
  let nextGuid = 1;
  let txg = 0;
  const add = (name: string, type: FakeDataset['type'], fields: Partial<FakeDataset> = {}): FakeDataset => {
    const dataset = { name, type, own: new Map<string, string>(), volsize: 0n, origin: undefined, isSparse: true, guid: nextGuid++, createtxg: txg, creation: options.nowSeconds?.() ?? 1_795_410_000, writes: 0, ...fields };
    datasets.set(name, dataset);
    return dataset;
  };
  add(pool, 'filesystem');
  const fake: FakeZfs = {
    datasets,
    open: new Set(),
    foreignBytes: 0n,
    ignoresCloneSize: false,
    write: (name) => void (existing(name).writes += 1),
    run(args) {
      try {
        return { code: 0, stdout: dispatch(args), stderr: '' };
      } catch (error) {
        if (error instanceof Refusal) return { code: error.code, stdout: '', stderr: error.stderr };
        throw error;
      }
    },
  };
  const available = (): bigint => (options.poolBytes ?? 4n << 30n) - fake.foreignBytes - [...datasets.values()].filter((one) => one.type === 'volume').reduce((sum) => sum + VOLUME_USED, 0n);
  const inside = (name: string): FakeDataset[] => [...datasets.values()].filter((one) => one.name === name || one.name.startsWith(`${name}/`) || one.name.startsWith(`${name}@`));
  const clonesOf = (snapshot: FakeDataset): FakeDataset[] => [...datasets.values()].filter((one) => one.origin === snapshot);

  function dispatch([command, ...rest]: readonly string[]): string {
    txg += 1;
    switch (command) {
      case 'get': return get(rest);
      case 'list': return list(rest);
      case 'create': return create(rest);
      case 'snapshot': return snapshot(rest);
      case 'clone': return clone(rest);
      case 'set': return set(rest);
      case 'rename': return rename(rest);
      case 'promote': return promote(rest);
      case 'rollback': return rollback(rest);
      case 'destroy': return destroy(rest);
      case undefined:
      default: throw usage(`unrecognized command '${command}'`);
    }
  }

  function existing(name: string): FakeDataset {
    const found = datasets.get(name);
    if (found !== undefined) return found;
    throw new Refusal(`cannot open '${name}': dataset does not exist\n`);
  }

  function assertFree(name: string): void {
    if (!name.startsWith(`${pool}/`)) throw new Refusal(`cannot create '${name}': no such pool '${name.split('/')[0]}'\n`);
    if (datasets.has(name)) throw new Refusal(`cannot create '${name}': dataset already exists\n`);
    const parent = datasets.get(parentOf(name));
    if (parent === undefined) throw new Refusal(`cannot create '${name}': parent does not exist\n`);
    if (parent.type !== 'filesystem') throw new Refusal(`cannot create '${name}': parent is not a filesystem\n`);
  }

  function lookup(dataset: FakeDataset, property: string): { value: string; source: string } {
    const own = dataset.own.get(property);
    if (own !== undefined) return { value: own, source: 'local' };
    const fixed = builtIn(dataset, property);
    if (fixed !== undefined) return fixed;
    if (inheritable(property)) {
      for (let name = parentOf(dataset.name); name !== ''; name = parentOf(name)) {
        const value = datasets.get(name)?.own.get(property);
        if (value !== undefined) return { value, source: `inherited from ${name}` };
      }
    }
    if (property.includes(':')) return { value: '-', source: '-' };
    const value = defaults[property];
    if (value === undefined) throw usage(`bad property list: invalid property '${property}'`);
    return { value, source: 'default' };
  }

  function builtIn(dataset: FakeDataset, property: string): { value: string; source: string } | undefined {
    const plain = (value: string): { value: string; source: string } => ({ value, source: '-' });
    if (property.startsWith('written@')) {
      const since = datasets.get(`${dataset.name}${property.slice('written'.length)}`);
      return since === undefined ? plain('-') : { value: String((dataset.writes - since.writes) * 8192), source: 'local' };
    }
    switch (property) {
      case 'type': return plain(dataset.type);
      case 'volsize': return dataset.type === 'filesystem' ? plain('-') : { value: String(dataset.volsize), source: dataset.type === 'volume' ? 'local' : '-' };
      case 'used': return plain(String(dataset.type === 'snapshot' ? 0n : inside(dataset.name).reduce((sum, one) => sum + (one.type === 'volume' ? VOLUME_USED : one.type === 'filesystem' ? FILESYSTEM_USED : 0n), 0n)));
      case 'available': return plain(dataset.type === 'snapshot' ? '-' : String(available()));
      case 'origin': return plain(dataset.origin?.name ?? '-');
      case 'creation': return plain(String(dataset.creation));
      case 'guid': return plain(String(dataset.guid));
      case 'createtxg': return plain(String(dataset.createtxg));
      case 'refreservation': return { value: '0', source: 'default' };
      default: return undefined;
    }
  }

  function get(args: readonly string[]): string {
    const { flags, values, operands } = parse(args, 'Hpr', 'ot');
    const fields = (values.get('o')?.[0] ?? 'name,property,value,source').split(',');
    const types = values.get('t')?.[0]?.split(',') ?? ['filesystem', 'volume', 'snapshot'];
    if (!flags.has('H')) throw usage('the fake knows only get -H');
    const [properties, ...names] = operands;
    if (properties === undefined) throw usage('missing property argument');
    const chosen = names.flatMap((name) => (flags.has('r') ? (existing(name), inside(name)) : [existing(name)]));
    return chosen.filter((one) => types.includes(one.type)).sort((a, b) => (a.name < b.name ? -1 : 1)).flatMap((dataset) =>
      properties.split(',').map((property) => {
        const record: Record<string, string> = { name: dataset.name, property, ...lookup(dataset, property) };
        return `${fields.map((field) => record[field]).join('\t')}\n`;
      })).join('');
  }

  function list(args: readonly string[]): string {
    const { flags, values, operands: [name = pool] } = parse(args, 'Hpr', 'ot');
    if (!flags.has('H') || values.get('o') === undefined) throw usage('the fake knows only list -H -o');
    const types = values.get('t')?.[0]?.split(',') ?? ['filesystem', 'volume'];
    const chosen = flags.has('r') ? inside(existing(name).name) : [existing(name)];
    const columns = values.get('o')![0]!.split(',');
    return chosen.filter((one) => types.includes(one.type)).sort((a, b) => (a.name < b.name ? -1 : 1))
      .map((one) => `${columns.map((column) => (column === 'name' ? one.name : lookup(one, column).value)).join('\t')}\n`).join('');
  }

  function create(args: readonly string[]): string {
    const { flags, values, operands: [name] } = parse(args, 's', 'oV');
    if (name === undefined) throw usage('missing dataset name');
    assertFree(name);
    const own = assignments(name, values.get('o') ?? [], 'create');
    const size = values.get('V')?.[0];
    if (size === undefined) {
      add(name, 'filesystem', { own });
      return '';
    }
    const volsize = octets(size);
    if (volsize === 0n) throw new Refusal(`cannot create '${name}': volume size cannot be zero\n`);
    if ((!flags.has('s') && volsize > available()) || available() < VOLUME_USED) throw new Refusal(`cannot create '${name}': out of space\n`);
    const volume = add(name, 'volume', { own, volsize, isSparse: flags.has('s') });
    nodes.created?.(volume);
    return '';
  }

  function assignments(name: string, pairs: readonly string[], action: string): Map<string, string> {
    return new Map(pairs.map((pair) => {
      const [property = '', ...value] = pair.split('=');
      const isKnown = property.includes(':') ? /^[a-z0-9:._-]+$/.test(property) : ['volmode', 'mountpoint', 'volblocksize', 'volsize', 'compression', 'refreservation', 'readonly'].includes(property);
      if (!isKnown) throw new Refusal(action === 'create' ? `cannot create '${name}': invalid property '${property}'\n` : `cannot set property for '${name}': invalid property '${property}'\n`);
      return [property, value.join('=')] as const;
    }));
  }

  function snapshot(args: readonly string[]): string {
    const { values, operands } = parse(args, '', 'o');
    if (operands.length === 0 || operands.some((name) => !name.includes('@'))) throw usage('');
    for (const name of operands) {
      if (!datasets.has(parentOf(name))) throw new Refusal(`cannot open '${parentOf(name)}': dataset does not exist\nusage:\n`, 2);
      if (datasets.has(name)) throw new Refusal(`cannot create snapshot '${name}': dataset already exists\n`);
    }
    for (const name of operands) {
      const dataset = existing(parentOf(name));
      const taken = add(name, 'snapshot', { own: assignments(name, values.get('o') ?? [], 'create'), volsize: dataset.volsize, writes: dataset.writes });
      nodes.snapshotted?.(taken, dataset);
    }
    return '';
  }

  function clone(args: readonly string[]): string {
    const { values, operands: [from = '', name = ''] } = parse(args, 'p', 'o');
    if (!from.includes('@')) throw new Refusal(`cannot open '${from}': missing '@' delimiter in snapshot name\n`);
    const origin = existing(from);
    assertFree(name);
    const own = assignments(name, values.get('o') ?? [], 'create');
    const size = own.get('volsize');
    own.delete('volsize');
    const volume = add(name, 'volume', { own, volsize: origin.volsize, origin });
    nodes.cloned?.(volume, origin);
    if (size === undefined || fake.ignoresCloneSize) return '';
    volume.volsize = octets(size);
    nodes.resized?.(volume);
    return '';
  }

  function set(args: readonly string[]): string {
    const name = args.at(-1) ?? '';
    const pairs = assignments(name, args.slice(0, -1), 'set');
    const dataset = existing(name);
    for (const [property, value] of pairs) {
      if (property !== 'volsize') {
        dataset.own.set(property, value);
        continue;
      }
      if (dataset.type !== 'volume') throw new Refusal(`cannot set property for '${name}': 'volsize' does not apply to datasets of this type\n`);
      const volsize = octets(value);
      if (volsize > available() && !dataset.isSparse) throw new Refusal(`cannot set property for '${name}': size is greater than available space\n`);
      if (volsize % 8192n !== 0n) throw new Refusal(`cannot set property for '${name}': 'volsize' must be a multiple of volume block size (8K)\n`);
      dataset.volsize = volsize;
      nodes.resized?.(dataset);
    }
    return '';
  }

  function rename(args: readonly string[]): string {
    const { operands: [from = '', to = ''] } = parse(args, 'p', '');
    existing(from);
    if (datasets.has(to)) throw new Refusal(`cannot rename '${from}': dataset already exists\n`);
    if (to.startsWith(`${from}/`)) throw new Refusal(`cannot rename to '${to}': New dataset name cannot be a descendant of current dataset name\n`);
    assertFree(to);
    const moved = inside(from);
    for (const dataset of moved) datasets.delete(dataset.name);
    for (const dataset of moved) {
      if (fake.open.delete(dataset.name)) fake.open.add(to + dataset.name.slice(from.length)); // open files follow
      dataset.name = to + dataset.name.slice(from.length);
      datasets.set(dataset.name, dataset);
    }
    nodes.renamed?.(from, to);
    return '';
  }

  /** The origin and what is older of its dataset's snapshots move to the clone, and the two change their parts. */
  function promote(args: readonly string[]): string {
    const { operands: [name = ''] } = parse(args, '', '');
    const clone = existing(name);
    const { origin } = clone;
    if (origin === undefined) throw new Refusal(`cannot promote '${name}': not a cloned filesystem\n`);
    const parent = existing(parentOf(origin.name));
    const moving = [...datasets.values()].filter((one) => one.name.startsWith(`${parent.name}@`) && one.createtxg <= origin.createtxg);
    const tagOf = (snapshot: FakeDataset): string => snapshot.name.slice(parent.name.length + 1);
    const conflict = moving.find((one) => datasets.has(`${name}@${tagOf(one)}`));
    if (conflict !== undefined) throw new Refusal(`cannot promote '${name}': snapshot name '${tagOf(conflict)}' from origin\nconflicts with '${tagOf(conflict)}' from target\n`);
    for (const one of moving) {
      const from = one.name;
      datasets.delete(from);
      one.name = `${name}@${from.slice(parent.name.length + 1)}`;
      datasets.set(one.name, one);
      nodes.renamed?.(from, one.name);
    }
    [clone.origin, parent.origin] = [parent.origin, origin];
    return '';
  }

  /** Goes through while the volume is open, too. Properties of the dataset stay as they are; only the size is part of a volume's content. */
  function rollback(args: readonly string[]): string {
    const { flags, operands: [name = ''] } = parse(args, 'r', '');
    if (!name.includes('@')) throw new Refusal(`cannot open '${name}': missing '@' delimiter in snapshot name\n`);
    const [snapshot, dataset] = [existing(name), existing(parentOf(name))];
    const later = inside(dataset.name).filter((one) => one.type === 'snapshot' && parentOf(one.name) === dataset.name && one.createtxg > snapshot.createtxg);
    const clones = later.flatMap(clonesOf);
    const listed = (list: readonly FakeDataset[]): string => list.map((one) => `${one.name}\n`).join('');
    if (later.length > 0 && !flags.has('r')) {
      throw new Refusal(`cannot rollback to '${name}': more recent snapshots or bookmarks exist\nuse '-r' to force deletion of the following snapshots and bookmarks:\n${listed(later)}`);
    }
    if (clones.length > 0) throw new Refusal(`cannot rollback to '${name}': clones of previous snapshots exist\nuse '-R' to force deletion of the following clones and dependents:\n${listed(clones)}`);
    for (const one of later) {
      datasets.delete(one.name);
      nodes.destroyed?.(one.name);
    }
    dataset.volsize = snapshot.volsize;
    nodes.rolledBack?.(dataset, snapshot);
    return '';
  }

  function destroy(args: readonly string[]): string {
    const { flags, operands: [name = ''] } = parse(args, 'rR', '');
    if (name.includes('@') && !datasets.has(name)) throw new Refusal('could not find any snapshots to destroy; check snapshot names.\n');
    const dataset = existing(name);
    if (name === pool) throw new Refusal(`cannot destroy '${name}': operation does not apply to pools\n`);
    const doomed = inside(name);
    const children = doomed.filter((one) => one !== dataset);
    if (children.length > 0 && !flags.has('r') && !flags.has('R')) {
      throw new Refusal(`cannot destroy '${name}': ${dataset.type} has children\nuse '-r' to destroy the following datasets:\n${children.map((one) => `${one.name}\n`).join('')}`);
    }
    const clones = doomed.flatMap(clonesOf).filter((one) => !doomed.includes(one));
    if (clones.length > 0) {
      throw new Refusal(`cannot destroy '${name}': ${dataset.type} has dependent clones\nuse '-R' to destroy the following datasets:\n${clones.map((one) => `${one.name}\n`).join('')}`);
    }
    if (doomed.some((one) => fake.open.has(one.name))) throw new Refusal(`cannot destroy '${name}': dataset is busy\n`);
    for (const one of doomed) {
      datasets.delete(one.name);
      nodes.destroyed?.(one.name);
    }
    return '';
  }

  return fake;
}

/** Sizes as zfs takes them; the agent gives plain octets. */
function octets(size: string): bigint {
  const [, number = '', unit = ''] = /^(\d+)([KMG]?)$/.exec(size) ?? [];
  return BigInt(number) * { '': 1n, K: 1n << 10n, M: 1n << 20n, G: 1n << 30n }[unit as '' | 'K' | 'M' | 'G'];
}

interface Parsed { flags: Set<string>; values: Map<string, string[]>; operands: string[] }

/** getopt(3) for the options that the command has; another one is a usage error. */
function parse(args: readonly string[], plain: string, valued: string): Parsed {
  const parsed: Parsed = { flags: new Set(), values: new Map(), operands: [] };
  const queue = [...args];
  for (let word = queue.shift(); word !== undefined; word = queue.shift()) {
    if (!word.startsWith('-') || word === '-') {
      parsed.operands.push(word, ...queue);
      break;
    }
    for (let index = 1; index < word.length; index += 1) {
      const letter = word[index]!;
      if (plain.includes(letter)) parsed.flags.add(letter);
      else if (valued.includes(letter)) {
        const value = word.slice(index + 1) || queue.shift();
        if (value === undefined) throw usage(`missing argument for '${letter}' option`);
        parsed.values.set(letter, [...(parsed.values.get(letter) ?? []), value]);
        break;
      } else throw usage(`invalid option '${letter}'`);
    }
  }
  return parsed;
}
