/**
 * Random work on an instance's checkpoint tree, beside a model that knows what must come of it: writing, checkpoints, going to any node, deleting nodes, a rebuild,
 * restarts, and the agent's death before or after any command that changes the pool (the same work is then done again, as the journal does).
 */
import { createHash, randomUUID } from 'node:crypto';
import { open } from 'node:fs/promises';
import { expect } from 'vitest';
import type { Host } from '../../../src/host/index.js';
import { parseCheckpointId, type CheckpointId, type InstanceUuid } from '../../../src/lib/ids.js';
import type { CheckpointMemory, DiskRole, NodeStorage } from '../../../src/storage/index.js';

const MiB = 1024n * 1024n;
const roles: readonly DiskRole[] = ['root', 'eph0'];
type Content = ReadonlyMap<DiskRole, string>;
interface ModelNode { readonly id: CheckpointId; parent: CheckpointId | null; readonly content: Content; readonly memory: CheckpointMemory | null }

class Killed extends Error {}

/** A generator of numbers in [0, 1) that a seed repeats. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Host of an agent that dies at one of its next changes, if `at` is given: before the change, or after it. */
function mortal(host: Host, death: { at: number; isBefore: boolean } | null): Host {
  let changes = 0;
  let isDead = false;
  return {
    ...host,
    run: async (tool, args, options) => {
      if (isDead) throw new Killed();
      if (tool !== 'zfs' || ['get', 'list'].includes(args[0] ?? '')) return host.run(tool, args, options);
      isDead = death?.at === changes;
      changes += 1;
      if (isDead && death?.isBefore === true) throw new Killed();
      const result = await host.run(tool, args, options);
      if (isDead) throw new Killed();
      return result;
    },
  };
}

export interface TreeWork {
  readonly host: Host;
  readonly build: (host: Host) => NodeStorage;
  readonly instance: InstanceUuid;
  readonly seed: number;
  readonly steps: number;
  readonly wrote: (dataset: string) => void;
}

/** Leaves the instance with its last tree. Every difference from the model fails, with the seed and what was done. */
export async function workOnTree({ host, build, instance, seed, steps, wrote }: TreeWork): Promise<void> {
  const random = seeded(seed);
  const pick = <T>(of: readonly T[]): T | undefined => of[Math.floor(random() * of.length)];
  const done: string[] = [];
  const nodes: ModelNode[] = [];
  let content: Content = new Map(roles.map((role) => [role, '']));
  let base: CheckpointId | null = null;
  let storage = build(host);
  for (const role of roles) await storage.createBlankDisk(instance, role, MiB);

  /** As often as it takes: the first agent that does it may be killed. */
  async function surviving(what: string, work: (agent: NodeStorage) => Promise<unknown>): Promise<void> {
    const death = random() < 0.4 ? { at: Math.floor(random() * 8), isBefore: random() < 0.5 } : null;
    done.push(death === null ? what : `${what}, killed ${death.isBefore ? 'before' : 'after'} change ${death.at}`);
    try {
      await work(build(mortal(host, death)));
    } catch (error) {
      if (!(error instanceof Killed)) throw error;
      storage = build(host);
      await work(storage);
    }
  }

  const actions: Readonly<Record<string, () => Promise<void>>> = {
    async write() {
      const [role, text] = [pick(roles)!, `${Math.floor(random() * 1e9)}`];
      done.push(`write ${text} to ${role}`);
      const disk = (await storage.disks(instance)).find((one) => one.role === role)!;
      await stamp(disk.devicePath, text);
      wrote(disk.dataset!);
      content = new Map([...content, [role, text]]);
    },
    async create() {
      const id = parseCheckpointId(randomUUID());
      const memory = random() < 0.5 ? { sum: createHash('sha256').update(id).digest('hex'), bytes: BigInt(done.length) } : null;
      await surviving(`create ${id}`, (agent) => agent.createCheckpoint(instance, id, 'running', memory));
      nodes.push({ id, parent: base, content, memory });
      base = id;
    },
    async restore() {
      const node = pick(nodes);
      if (node === undefined) return;
      const operation = randomUUID();
      await surviving(`restore ${node.id}`, (agent) => agent.restoreCheckpoint(instance, node.id, operation));
      content = node.content;
      base = node.id;
    },
    async delete() {
      const node = pick(nodes);
      if (node === undefined) return;
      await surviving(`delete ${node.id}`, (agent) => agent.deleteCheckpoint(instance, node.id));
      nodes.splice(nodes.indexOf(node), 1);
      for (const child of nodes) if (child.parent === node.id) child.parent = node.parent;
      if (base === node.id) base = node.parent;
    },
    async rebuild() {
      const operation = randomUUID();
      await surviving('rebuild root', (agent) => agent.replaceWithBlank(instance, 'root', MiB, operation));
      content = new Map([...content, ['root', '']]);
      base = null;
    },
    async upkeep() {
      await surviving('reap and tidy', async (agent) => {
        await agent.reap();
        await agent.tidyCheckpoints(instance);
      });
    },
  };
  const weighted = ['write', 'write', 'create', 'create', 'create', 'restore', 'restore', 'restore', 'delete', 'delete', 'rebuild', 'upkeep'];
  for (let step = 0; step < steps; step += 1) {
    await actions[pick(weighted)!]!();
    const found = await storage.checkpoints(instance);
    const said = `seed ${seed}: ${done.join('; ')}`;
    expect(found.map(({ id, parent, memory, isCurrent }) => ({ id, parent, memory, isCurrent })), said).toEqual(nodes.map(({ id, parent, memory }) => ({ id, parent, memory, isCurrent: id === base })));
    for (const disk of await storage.disks(instance)) expect([disk.role, await stampOf(disk.devicePath)], said).toEqual([disk.role, content.get(disk.role)]);
  }
}

const STAMP_BYTES = 16;

async function stamp(path: string, text: string): Promise<void> {
  const handle = await open(path, 'r+');
  await handle.write(text.padEnd(STAMP_BYTES), 0);
  await handle.sync();
  await handle.close();
}

async function stampOf(path: string): Promise<string> {
  const handle = await open(path, 'r');
  try {
    const { buffer } = await handle.read(Buffer.alloc(STAMP_BYTES), 0, STAMP_BYTES, 0);
    return buffer.toString().replace(/[\0 ]+$/, '');
  } finally {
    await handle.close();
  }
}
