/** zpool(8): what an agent reads of a pool. Making and repairing pools is createLabNode's business, not the agent's. */
import { currentNode, type StandInNode } from './lib/lab-node.js';
import { Exit, getopt, out, runTool } from './lib/tool.js';
import type { NvList } from './lib/nvlist.js';
import { niceNumber } from './lib/zfs-numbers.js';
import { createDatasets } from './lib/zfs-datasets.js';
import { openZfsFuse, type ZfsFuse } from './lib/zfs-fuse.js';
import { printTable } from './lib/zfs-show.js';
import { zpoolPropertyUsage, zpoolUsage } from './lib/zpool-usage.js';

interface Pool {
  readonly name: string;
  readonly size: bigint;
  readonly allocated: bigint;
  readonly guid: bigint;
}

async function readPool(engine: ZfsFuse, name: string): Promise<Pool | undefined> {
  const { errno, list } = await engine.request('poolStats', { name, wantsList: true });
  const tree = list['vdev_tree'] as NvList | undefined;
  if (errno !== 0 || tree === undefined) return undefined;
  // vdev_stat: timestamp, state, aux, allocated, space, …
  const stats = (tree['stats'] ?? tree['vdev_stats']) as bigint[];
  return { name, allocated: stats[3]!, size: stats[4]!, guid: list['pool_guid'] as bigint };
}

function propertyOf(pool: Pool, name: string, isParsable: boolean): string | undefined {
  const size = (value: bigint): string => (isParsable ? String(value) : niceNumber(value));
  const percent = isParsable ? '' : '%';
  const values: Readonly<Record<string, string>> = {
    name: pool.name, size: size(pool.size), allocated: size(pool.allocated), alloc: size(pool.allocated), free: size(pool.size - pool.allocated),
    capacity: `${(pool.allocated * 100n) / pool.size}${percent}`, cap: `${(pool.allocated * 100n) / pool.size}${percent}`, altroot: '-', health: 'ONLINE',
    guid: String(pool.guid), version: '-', bootfs: '-', delegation: 'on', autoreplace: 'off', cachefile: '-', failmode: 'wait', listsnapshots: 'off', autoexpand: 'off',
    dedupratio: isParsable ? '1.00' : '1.00x', dedup: isParsable ? '1.00' : '1.00x', readonly: 'off', ashift: '12', comment: '-', expandsize: '-', freeing: '0',
    fragmentation: `0${percent}`, frag: `0${percent}`, leaked: '0', multihost: 'off', checkpoint: '-', load_guid: String(pool.guid ^ 0x5a5an), autotrim: 'off', compatibility: 'off',
  };
  return values[name] ?? (name.startsWith('feature@') ? 'enabled' : undefined);
}

const computed = new Set(['size', 'capacity', 'health', 'guid', 'dedupratio', 'free', 'allocated', 'readonly', 'expandsize', 'freeing', 'fragmentation', 'leaked', 'checkpoint', 'load_guid']);
const getNames = [
  'size', 'capacity', 'altroot', 'health', 'guid', 'version', 'bootfs', 'delegation', 'autoreplace', 'cachefile', 'failmode', 'listsnapshots', 'autoexpand', 'dedupratio', 'free',
  'allocated', 'readonly', 'ashift', 'comment', 'expandsize', 'freeing', 'fragmentation', 'leaked', 'multihost', 'checkpoint', 'load_guid', 'autotrim', 'compatibility',
  'feature@async_destroy', 'feature@lz4_compress', 'feature@encryption',
];

const usageError = (command: string, reason: string): Exit => new Exit(2, `${reason}\nusage:\n${zpoolUsage(command)}\n${zpoolPropertyUsage}`);

async function list(context: Context, args: readonly string[]): Promise<number> {
  const { options, operands, bad } = getopt(args, `gHLo:pPT:v${context.node.facts.hasZfsJson ? 'j' : ''}`);
  if (bad !== undefined) throw usageError('list', `invalid option '${bad.flag}'`);
  const has = (flag: string): boolean => options.some((option) => option.flag === flag);
  const names = (options.findLast(({ flag }) => flag === 'o')?.value ?? 'name,size,allocated,free,checkpoint,expandsize,fragmentation,capacity,dedupratio,health,altroot').split(',');
  const { pools, missing } = await select(context, operands);
  const anyPool: Pool = { name: '', size: 1n, allocated: 0n, guid: 0n };
  for (const name of names) if (propertyOf(anyPool, name, true) === undefined) throw usageError('list', `bad property list: invalid property '${name}'`);
  const headings: Readonly<Record<string, string>> = { allocated: 'ALLOC', checkpoint: 'CKPOINT', expandsize: 'EXPANDSZ', fragmentation: 'FRAG', capacity: 'CAP', dedupratio: 'DEDUP' };
  const rows = pools.map((pool) => names.map((name) => propertyOf(pool, name, has('p'))!));
  printTable(rows, names.map((name) => headings[name] ?? name.toUpperCase()), names.map((name) => !['name', 'altroot', 'comment'].includes(name)), has('H'));
  if (missing !== undefined) throw new Exit(1, `cannot open '${missing}': no such pool\n`);
  return 0;
}

async function get(context: Context, args: readonly string[]): Promise<number> {
  const { options, operands, bad } = getopt(args, 'Hpo:');
  if (bad !== undefined) throw usageError('get', `invalid option '${bad.flag}'`);
  const has = (flag: string): boolean => options.some((option) => option.flag === flag);
  const fields = (options.findLast(({ flag }) => flag === 'o')?.value ?? 'name,property,value,source').split(',');
  const [properties, ...poolNames] = operands;
  if (properties === undefined) throw usageError('get', 'missing property argument');
  const names = properties.split(',').flatMap((name) => (name === 'all' ? getNames : [name]));
  for (const name of names) {
    if (!getNames.includes(name) && !name.startsWith('feature@')) throw usageError('get', `bad property list: invalid property '${name}'`);
  }
  const { pools, missing } = await select(context, poolNames);
  const rows = pools.flatMap((pool) => names.map((name) => {
    const source = computed.has(name) ? '-' : name === 'ashift' || name.startsWith('feature@') ? 'local' : 'default';
    const cells: Readonly<Record<string, string>> = { name: pool.name, property: name, value: propertyOf(pool, name, has('p'))!, source };
    return fields.map((field) => cells[field] ?? '-');
  }));
  printTable(rows, fields.map((field) => field.toUpperCase()), fields.map(() => false), has('H'));
  if (missing !== undefined) throw new Exit(1, `cannot open '${missing}': no such pool\n`);
  return 0;
}

async function status(context: Context, args: readonly string[]): Promise<number> {
  const { options, operands, bad } = getopt(args, 'c:DgiLpPstT:vx');
  if (bad !== undefined) throw new Exit(2, `invalid option '${bad.flag}'\nusage:\n${zpoolUsage('status')}`);
  const { pools, missing } = await select(context, operands);
  if (missing !== undefined) throw new Exit(1, `cannot open '${missing}': no such pool\n`);
  if (options.some(({ flag }) => flag === 'x')) {
    out(operands.length === 0 ? 'all pools are healthy\n' : pools.map((pool) => `pool '${pool.name}' is healthy\n`).join(''));
    return 0;
  }
  for (const pool of pools) {
    const width = Math.max(10, pool.name.length + 2);
    const line = (name: string): string => `\t${name.padEnd(width)}  ONLINE       0     0     0\n`;
    out(`  pool: ${pool.name}\n state: ONLINE\nconfig:\n\n\t${'NAME'.padEnd(width)}  STATE     READ WRITE CKSUM\n${line(pool.name)}${line('  vtbd1')}\nerrors: No known data errors\n`);
  }
  return 0;
}

interface Context {
  readonly node: StandInNode;
  readonly engine: ZfsFuse;
}

async function select({ node, engine }: Context, operands: readonly string[]): Promise<{ pools: Pool[]; missing: string | undefined }> {
  const datasets = createDatasets(engine, node);
  const pools: Pool[] = [];
  for (const name of operands.length === 0 ? [node.pool] : operands) {
    const pool = datasets.isOurPool(name) ? await readPool(engine, name) : undefined;
    if (pool === undefined) return { pools, missing: name };
    pools.push(pool);
  }
  return { pools, missing: undefined };
}

runTool(async ([command, ...args]) => {
  const node = currentNode();
  const commands: Readonly<Record<string, (context: Context, args: readonly string[]) => Promise<number>>> = { list, get, status };
  if (command === 'version') {
    out(`zfs-${node.facts.zfsVersion}\nzfs-kmod-${node.facts.zfsVersion}\n`);
    return 0;
  }
  const run = command === undefined ? undefined : commands[command];
  if (run === undefined) throw new Exit(2, `${command === undefined ? 'missing command' : `unrecognized command '${command}'`}\n${zpoolUsage()}`);
  const engine = await openZfsFuse();
  try {
    return await run({ node, engine }, args);
  } finally {
    engine.close();
  }
});
