/**
 * Random work on a disk's chain of qcow2 files, beside a model that knows what every checkpoint and the disk itself must hold: writing, checkpoints, going to any of them,
 * deleting, tidying with the guest off and on, flattening, growing, and the agent's death before, after or in the middle of a change; the work is then done again or given
 * up. What the files hold is asked of qemu-img, not of the code under test.
 */
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { expect } from 'vitest';
import type { Host } from '../../../src/host/index.js';
import { systemClock } from '../../../src/lib/clock.js';
import { codeOf } from '../../../src/lib/errors.js';
import { parseCheckpointId, type CheckpointId } from '../../../src/lib/ids.js';
import { createDiskChain, type ChainView, type CheckpointKind, type DiskChain } from '../../../src/storage/disk-chain/index.js';
import { seeded } from './checkpoint-model.js';

export const CLUSTER = 4096;
const SECTOR = 512;
const MAX_BYTES = 1 << 20;

interface ModelNode { readonly id: CheckpointId; parent: CheckpointId | null; readonly content: Buffer }
class Killed extends Error {}

const qemu = (tool: 'qemu-img' | 'qemu-io', ...args: string[]): string => execFileSync(tool, args, { stdio: ['ignore', 'pipe', 'pipe'] }).toString();

type Death = { readonly at: number; readonly when: 'before' | 'half' | 'after' };

/** Host of an agent that dies at one of its next changes, if it is told to. */
function mortal(host: Host, death: Death | null): Host {
  let changes = 0;
  let isDead = false;
  const dying = <Args extends unknown[], T>(change: (...args: Args) => Promise<T>, half?: (...args: Args) => void) => async (...args: Args): Promise<T> => {
    if (isDead) throw new Killed();
    isDead = death?.at === changes;
    changes += 1;
    if (isDead && death!.when === 'half') half?.(...args);
    if (isDead && death!.when !== 'after') throw new Killed();
    const result = await change(...args);
    if (isDead) throw new Killed();
    return result;
  };
  const { files } = host;
  return {
    ...host,
    run: dying((tool, args, options) => host.run(tool, args, options), (_tool, args) => {
      if (args[0] === 'create') writeFileSync(args.at(-2)!, 'QFI\xfbcut off', 'latin1');
    }),
    files: {
      ...files,
      writeAtomic: dying(async (path: string, content: string | Uint8Array) => files.writeAtomic(path, content), (path) => writeFileSync(join(path, '..', '.tmp-of-a-dead-agent'), '{"ver')),
      rename: dying(async (from: string, to: string) => files.rename(from, to)), remove: dying(async (path: string, root: string) => files.remove(path, root)),
    },
  };
}

/** The disk in a file, or in a snapshot inside it, as qemu-img reads it. */
function contentOf(path: string, snapshot?: string): Buffer {
  const raw = `${path}.raw`;
  qemu('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', ...(snapshot === undefined ? [] : ['-l', `snapshot.name=${snapshot}`]), path, raw);
  const content = readFileSync(raw);
  execFileSync('rm', [raw]);
  return content;
}

interface Info { filename: string; 'virtual-size': number; 'cluster-size': number; snapshots?: { id: string; name: string }[] }

/**
 * What our reader says is what qemu-img says, and qemu-img finds no error in any file. No cluster is marked as zeros (`present` without data): libvdsk takes the mark for
 * a place in the file (xlate in its qcow.c, as of 2021).
 */
function compareWithQemu({ activePath, files }: ChainView): void {
  const infos = JSON.parse(qemu('qemu-img', 'info', '--output=json', '--backing-chain', '-f', 'qcow2', activePath)) as Info[];
  expect(files.map(({ path, virtualBytes, clusterBytes, snapshots }) => ({ path, virtualBytes, clusterBytes, snapshots })))
    .toEqual(infos.map((info) => ({
      path: info.filename, virtualBytes: BigInt(info['virtual-size']), clusterBytes: info['cluster-size'], snapshots: (info.snapshots ?? []).map(({ id, name }) => ({ id, name })),
    })));
  for (const { path } of files) {
    qemu('qemu-img', 'check', '-q', '-f', 'qcow2', path);
    const extents = JSON.parse(qemu('qemu-img', 'map', '--output=json', '-f', 'qcow2', path)) as { present: boolean; data: boolean }[];
    expect(extents.filter(({ present, data }) => present && !data)).toEqual([]);
  }
}

export interface ChainWork {
  readonly host: Host;
  readonly folder: string;
  readonly images: string;
  readonly image: string | null;
  readonly kind: CheckpointKind;
  readonly seed: number;
  readonly steps: number;
}

/** Every difference from the model fails, with the seed and what was done. In the end all nodes are deleted, and nothing but the disk may be left. */
export async function workOnChain({ host, folder, images, image, kind, seed, steps }: ChainWork): Promise<void> {
  const random = seeded(seed);
  const pick = <T>(of: readonly T[]): T | undefined => of[Math.floor(random() * of.length)];
  const done: string[] = [];
  const build = (of: Host): DiskChain => createDiskChain({ host: of, clock: systemClock, folder, images, maxFiles: 7 });
  let chain = build(host);
  let nodes: ModelNode[] = [];
  let current: CheckpointId | null = null;
  const start: Buffer = image === null ? Buffer.alloc(0) : contentOf(image);
  let kept: { readonly move: string; readonly content: Buffer; current: CheckpointId | null; readonly path: string } | null = null;
  let content: Buffer = Buffer.concat([start, Buffer.alloc(64 * CLUSTER - start.length)]);
  const view = async (): Promise<ChainView> => (await chain.look())!;

  /** Whether it was done: an agent that is killed is followed by one that does it again, or by one that was not asked to. */
  async function surviving(what: string, work: (agent: DiskChain) => Promise<unknown>, mayGiveUp = true): Promise<boolean> {
    const death: Death | null = random() < 0.5 ? { at: Math.floor(random() * 7), when: pick(['before', 'half', 'after'] as const)! } : null;
    done.push(death === null ? what : `${what}, killed ${death.when} change ${death.at}`);
    try {
      await work(build(mortal(host, death)));
      return true;
    } catch (error) {
      if (!(error instanceof Killed)) throw error;
    }
    chain = build(host);
    if (mayGiveUp && random() < 0.3) {
      done.push('given up');
      return false;
    }
    await work(chain);
    return true;
  }

  const actions: Readonly<Record<string, () => Promise<void>>> = {
    async write() {
      const [sectors, length] = [content.length / SECTOR, 1 + Math.floor(random() * 20)];
      const [at, octet] = [Math.floor(random() * sectors), 1 + Math.floor(random() * 255)];
      const end = Math.min(sectors, at + length);
      done.push(`write ${octet} at ${at}`);
      qemu('qemu-io', '-f', 'qcow2', '-c', `write -P ${octet} ${at * SECTOR} ${(end - at) * SECTOR}`, (await view()).activePath);
      content = Buffer.from(content).fill(octet, at * SECTOR, end * SECTOR);
    },
    async checkpoint() {
      if (nodes.length >= 6) return actions['remove']!();
      const id = parseCheckpointId(randomUUID());
      const before = await view();
      if (kind === 'external' && (before.files.length >= 7 || before.files[0]!.snapshots.length > 0)) {
        expect(codeOf(await chain.checkpoint(id, kind).catch((error: unknown) => error))).toBe('disk-chain-refused');
        return;
      }
      await surviving(`checkpoint ${id}`, (agent) => agent.checkpoint(id, kind));
      if (!(await view()).nodes.some((node) => node.id === id)) return;
      nodes.push({ id, parent: current, content });
      current = id;
    },
    async otherKind() {
      if (nodes.length === 0) return;
      const error = await chain.checkpoint(parseCheckpointId(randomUUID()), kind === 'external' ? 'internal' : 'external').catch((thrown: unknown) => thrown);
      expect(codeOf(error)).toBe('disk-chain-refused');
    },
    async restore() {
      const node = pick(nodes);
      if (node === undefined) return;
      const operation = randomUUID();
      await surviving(`restore ${node.id} for ${operation}`, (agent) => agent.restore(node.id, operation), kind === 'external');
      if (kind === 'external' && basename((await view()).activePath) !== operation) return;
      [content, current] = [node.content, node.id];
    },
    async remove() {
      const node = pick(nodes);
      if (node === undefined) return;
      await surviving(`remove ${node.id}`, (agent) => agent.remove(node.id));
      if ((await view()).nodes.some(({ id }) => id === node.id)) return;
      nodes = nodes.filter((one) => one !== node);
      for (const child of nodes) if (child.parent === node.id) child.parent = node.parent;
      if (current === node.id) current = node.parent;
      if (kept?.current === node.id) kept.current = node.parent;
    },
    async tidy() {
      await surviving('tidy', (agent) => agent.tidy({ isInUse: false }));
    },
    async tidyInUse() {
      const identities = async (): Promise<unknown[]> => (await view()).files.map(({ path }) => [path, statSync(path).ino, statSync(path).mtimeMs]);
      const before = await identities();
      await surviving('tidy while a guest runs', (agent) => agent.tidy({ isInUse: true }));
      expect(await identities(), `seed ${seed}: ${done.join('; ')}`).toEqual(before);
    },
    async flatten() {
      const [active] = (await view()).files;
      if (active!.snapshots.length > 0) return;
      await surviving('flatten', (agent) => agent.flatten());
    },
    async replace() {
      const operation = randomUUID();
      await surviving(`replace for ${operation}`, (agent) => agent.replace({ image, bytes: 64n * BigInt(CLUSTER) }, operation));
      if (basename((await view()).activePath) !== operation) return;
      [content, current] = [Buffer.concat([start, Buffer.alloc(64 * CLUSTER - start.length)]), null];
    },
    async keep() {
      const move = randomUUID();
      const before = { move, content, current, path: (await view()).activePath };
      await surviving(`keep for ${move}`, (agent) => agent.keep(move));
      const { keptFor } = await view();
      if (keptFor === move) kept = before;
      else if (keptFor === null) kept = null;
    },
    async goBack() {
      if (kept === null) return;
      const { move, path } = kept;
      await surviving(`go back before ${move}`, (agent) => agent.goBack(move));
      if ((await view()).activePath === path) [content, current] = [kept.content, kept.current];
      while (kept !== null) await actions['forget']!(); // as a resize does it: what is written from now on is not to be given up
    },
    async forget() {
      if (kept === null) return;
      const { move } = kept;
      await surviving(`forget what was before ${move}`, (agent) => agent.forgetKept(move));
      if ((await view()).keptFor === null) kept = null;
    },
    async grow() {
      const bytes = Math.min(MAX_BYTES, content.length + Math.floor(random() * 8) * CLUSTER);
      if (await surviving(`grow to ${bytes}`, (agent) => agent.grow(BigInt(bytes)), false)) content = Buffer.concat([content, Buffer.alloc(bytes - content.length)]);
    },
  };

  async function compare(): Promise<void> {
    const seen = await view();
    expect(seen.nodes.map(({ id, parent }) => ({ id, parent }))).toEqual(nodes.map(({ id, parent }) => ({ id, parent })));
    expect(seen.current).toBe(current);
    expect(seen.bytes).toBe(BigInt(content.length));
    compareWithQemu(seen);
    expect(contentOf(seen.activePath).equals(content)).toBe(true);
    for (const { id, file } of seen.nodes) {
      const expected = nodes.find((node) => node.id === id)!.content;
      const found = contentOf(join(folder, file), kind === 'internal' ? id : undefined);
      // qemu-img gives a snapshot inside the size of the disk of today: going there gives it its own again
      const bytes = kind === 'internal' ? Math.min(expected.length, found.length) : expected.length;
      expect([id, found.subarray(0, bytes).equals(expected.subarray(0, bytes)), kind === 'internal' || found.length === bytes]).toEqual([id, true, true]);
    }
  }

  await surviving('create', (agent) => agent.create({ image, bytes: BigInt(content.length) }), false);
  const weighted = ['write', 'write', 'write', 'checkpoint', 'checkpoint', 'checkpoint', 'restore', 'restore', 'remove', 'remove', 'tidy', 'tidyInUse', 'flatten', 'grow', 'otherKind', ...(kind === 'external' ? ['replace', 'keep', 'keep', 'goBack', 'forget'] : [])];
  try {
    for (let step = 0; step < steps; step += 1) {
      await actions[pick(weighted)!]!();
      await compare();
    }
    while (kept !== null) await actions['forget']!();
    while (nodes.length > 0) await actions['remove']!();
    expect(await chain.tidy({ isInUse: false })).toBe(0);
    await compare();
    expect(readdirSync(folder).sort()).toEqual([basename((await view()).activePath), 'chain.json'].sort());
  } catch (error) {
    throw new Error(`seed ${seed}: ${done.join('; ')}`, { cause: error });
  }
}
