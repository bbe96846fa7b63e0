/**
 * The crash table of what the operator of the host asks for: killed before, in the middle of and after each effect, the server is in the old state or in the new one once the
 * agent runs again, whole either way, and a delete leaves nothing.
 */
import { describe, expect, test } from 'vitest';
import { controlRequests } from '../../src/control/index.js';
import { parseInstanceUuid } from '../../src/lib/ids.js';
import type { CrashPoint, CrashWhen } from './crash.js';
import { useLives } from './lives.js';
import { buildMessage, deleteMessage, rebootMessage, stopMessage } from './messages.js';
import { createWorld, remains, rowOf, traces, type Guest, type World } from './world.js';

const uuid = parseInstanceUuid('11111111-1111-4111-8111-111111111111');
const node = 'cccccccc-0000-4000-8000-000000000001';
const { live, newJournal, bury: buryAgents } = useLives('operator-crash-');

const guestOf = (world: World): Guest | undefined => world.folders.get(uuid) as Guest | undefined;
const target = { instance: uuid, checkpoint: node };
type Content = 'full' | 'disk';
const create = (content: Content) => [controlRequests.create, { ...target, content, name: 'mine' }] as const;
const restore = (content: Content) => [controlRequests.restore, { ...target, content }] as const;
const remove = [controlRequests.remove, { ...target, isForced: false }] as const;

/** vm_state, task_state and power_state of a server, with what its guest does. */
const stateOf = (world: World): unknown[] => {
  const row = rowOf(world, uuid);
  return [row?.get('vm_state'), row?.get('task_state'), row?.get('power_state'), guestOf(world)?.isRunning];
};
const active = ['active', null, 1, true];
const stopped = ['stopped', null, 4, false];

interface Case {
  readonly name: string;
  /** `checkpointed`: with a node of that content, then started cold: the guest remembers 2. */
  readonly from: 'active' | 'stopped' | { readonly checkpointed: Content; readonly isStopped?: boolean };
  readonly ask: readonly [string, unknown];
  /** Of a world in which it came to an end after the restart, or never began. */
  readonly check: (world: World) => void;
  /** Of a world without a crash. */
  readonly done: (world: World) => void;
}

/** Nothing is left of a save, and no guest went on over disks that were not its own. */
function expectWhole(world: World): void {
  expect([remains(world, uuid).includes('a save'), world.still.size, world.partialSaves.size, world.successors.size, world.torn]).toEqual([false, 0, 0, 0, []]);
}

function expectCreated(world: World, memory: string | null): void {
  expect(world.nodes.get(node)).toMatchObject({ keeper: 'operator', name: 'mine', memory: memory === null ? null : { sum: memory } });
  expect(world.keptFiles.has(node)).toBe(true);
}

/** The node with its files, or neither. */
const expectNodeOrNone = (world: World): void => expect(world.keptFiles.has(node)).toBe(world.nodes.has(node));

const disksAreOf = (world: World): boolean => world.disks.get(uuid)?.get('root')?.madeFor !== null;

const cases: readonly Case[] = [
  {
    name: 'create of the disks', from: 'active', ask: create('disk'), done: (world) => expectCreated(world, null),
    check: (world) => {
      expect(stateOf(world)).toEqual(active);
      expectNodeOrNone(world);
      expect(guestOf(world)).toMatchObject({ starts: 1, memory: 1 });
    },
  },
  {
    name: 'create with memory', from: 'active', ask: create('full'), done: (world) => expectCreated(world, 'memory 1'),
    check: (world) => {
      expect(stateOf(world)).toEqual(active);
      expectNodeOrNone(world);
      expect(guestOf(world)).toMatchObject({ starts: 1, memory: 1 });
    },
  },
  {
    name: 'create of a stopped server', from: 'stopped', ask: create('full'), done: (world) => expectCreated(world, null),
    check: (world) => {
      expect(stateOf(world)).toEqual(stopped);
      expectNodeOrNone(world);
    },
  },
  {
    name: 'restore of the disks', from: { checkpointed: 'disk' }, ask: restore('full'),
    done: (world) => expect([disksAreOf(world), guestOf(world)?.starts]).toEqual([true, 3]),
    check: (world) => {
      expect(stateOf(world)).toEqual(active);
      expectCreated(world, null);
      if (disksAreOf(world)) expect(guestOf(world)?.memory).toBeGreaterThan(2);
      else expect(guestOf(world)).toMatchObject({ starts: 2, memory: 2 });
    },
  },
  {
    name: 'restore with memory', from: { checkpointed: 'full' }, ask: restore('full'),
    done: (world) => expect([disksAreOf(world), guestOf(world)?.starts, guestOf(world)?.memory]).toEqual([true, 2, 1]),
    check: (world) => {
      expect(stateOf(world)).toEqual(active);
      expectCreated(world, 'memory 1');
      expect([guestOf(world)?.starts, guestOf(world)?.memory]).toEqual([2, disksAreOf(world) ? 1 : 2]);
    },
  },
  {
    name: 'restore of a stopped server', from: { checkpointed: 'full', isStopped: true }, ask: restore('full'), done: (world) => expect(disksAreOf(world)).toBe(true),
    check: (world) => {
      expect(stateOf(world)).toEqual(stopped);
      expect([guestOf(world)?.starts, world.taps.size]).toEqual([2, 0]);
      expectCreated(world, 'memory 1');
    },
  },
  {
    name: 'delete', from: { checkpointed: 'full' }, ask: remove, done: (world) => expect(world.nodes.size).toBe(0),
    check: (world) => {
      expect(stateOf(world)).toEqual(active);
      expectNodeOrNone(world);
      expect(guestOf(world)).toMatchObject({ starts: 2, memory: 2 });
    },
  },
];

async function prepared({ from }: Case): Promise<{ world: World; journal: string }> {
  const world = createWorld();
  const journal = newJournal();
  const agent = await live(world, journal, null);
  await agent.receive(buildMessage(world, uuid));
  if (typeof from === 'object') {
    expect(await agent.ask(...create(from.checkpointed))).toMatchObject({ checkpoint: node });
    await agent.receive(rebootMessage(world, uuid, 'HARD'));
  }
  if (from === 'stopped' || (typeof from === 'object' && from.isStopped === true)) await agent.receive(stopMessage(world, uuid));
  return { world, journal };
}

/** `meanwhile`: what happens while no agent lives. */
async function run(one: Case, point: CrashPoint | null, meanwhile: (world: World) => void = () => undefined): Promise<{ world: World; effects: readonly string[]; journal: string; answer: unknown }> {
  const { world, journal } = await prepared(one);
  // The start has effects of its own; count from the question on.
  const quiet = await live(world, journal, null);
  await quiet.idle();
  const offset = quiet.crash.effects.length;
  const agent = await live(world, journal, point === null ? null : { ...point, effect: point.effect + offset });
  await agent.idle();
  const answer = await agent.ask(...one.ask);
  const effects = agent.crash.effects.slice(offset);
  if (agent.crash.isDead) meanwhile(world);
  const next = await live(world, journal, null);
  await next.idle();
  return { world, effects, journal, answer };
}

describe.each(cases)('$name', (one) => {
  test('without a crash does what it should', async () => {
    const { world, answer } = await run(one, null);
    expect(answer).toMatchObject({ checkpoint: node });
    one.done(world);
    one.check(world);
    expectWhole(world);
  });

  test('killed at any effect, it is as before or as wanted after the restart, and a delete of the server leaves nothing', async () => {
    const { effects } = await run(one, null);
    expect(effects.length).toBeGreaterThan(5);
    for (let effect = 1; effect <= effects.length; effect += 1) {
      for (const when of ['before', 'middle', 'after'] satisfies CrashWhen[]) {
        const { world, journal } = await run(one, { effect, when });
        const label = `${one.name} killed ${when} effect ${effect} (${effects[effect - 1]})`;
        try {
          one.check(world);
          expectWhole(world);
        } catch (error) {
          throw new Error(`${label}: ${(error as Error).message}`, { cause: error });
        }
        await buryAgents();
        const agent = await live(world, journal, null);
        await agent.receive(deleteMessage(world, uuid));
        expect([label, rowOf(world, uuid), remains(world, uuid), traces(world, uuid)]).toEqual([label, undefined, [], []]);
      }
    }
  }, 120_000);
});

test.each(['restore with memory', 'create with memory'])('%s: a guest that ends while no agent lives never goes on from memory that its disks have left behind', async (name) => {
  const one = cases.find((each) => each.name === name)!;
  const { effects } = await run(one, null);
  for (let effect = 2; effect <= effects.length; effect += 1) {
    for (const when of ['middle', 'after'] satisfies CrashWhen[]) {
      const { world } = await run(one, { effect, when }, (left) => {
        const guest = guestOf(left);
        if (guest !== undefined) guest.isRunning = false;
      });
      const label = `killed ${when} effect ${effect} (${effects[effect - 1]})`;
      expect([label, world.torn, rowOf(world, uuid)?.get('task_state')]).toEqual([label, [], null]);
      expect(['active', 'suspended', 'stopped'], label).toContain(rowOf(world, uuid)?.get('vm_state'));
    }
    await buryAgents();
  }
}, 120_000);

test.each(['active', 'stopped'] as const)('killed at any effect of a restore, and asked by its user to stop before the agent is back: the %s server ends stopped on either disks', async (from) => {
  const one = cases.find(({ name }) => name === (from === 'active' ? 'restore with memory' : 'restore of a stopped server'))!;
  const { effects } = await run(one, null);
  for (let effect = 1; effect <= effects.length; effect += 1) {
    const { world } = await run(one, { effect, when: 'after' }, (left) => { if (from === 'active') left.queue.push(stopMessage(left, uuid)); });
    expect([effects[effect - 1], ...stateOf(world)]).toEqual([effects[effect - 1], ...stopped]);
    expectWhole(world);
    await buryAgents();
  }
}, 120_000);
