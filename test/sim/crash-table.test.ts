/**
 * The crash table: each operation is killed before, in the middle of and after each of its effects; the agent is started again on what
 * is left; then machine, rows, ports and allocations must be what they must be, and a delete must leave nothing.
 */
import { describe, expect, test } from 'vitest';
import { parseInstanceUuid } from '../../src/lib/ids.js';
import type { WireMessage } from '../../src/rpc/index.js';
import type { CrashPoint, CrashWhen } from './crash.js';
import { useLives } from './lives.js';
import {
  backupMessage, buildMessage, checkpointMessage, confirmMessage, deleteMessage, offloadMessage, pauseMessage, rebootMessage, rebuildMessage, rescueMessage, resizeMessage, restoreCheckpointMessage, restoreMessage, resumeMessage, revertMessage, shelveMessage,
  snapshotMessage, softDeleteMessage, startMessage, stopMessage, suspendMessage, unpauseMessage, unrescueMessage, unshelveMessage,
} from './messages.js';
import { createWorld, imageId, migrationUuid, newImageId, remains, rowOf, traces, type Guest, type World } from './world.js';

const uuid = parseInstanceUuid('11111111-1111-4111-8111-111111111111');
const { live, newJournal, bury: buryAgents } = useLives('crash-table-');

const guestOf = (world: World): Guest | undefined => world.folders.get(uuid) as Guest | undefined;

type Before = 'none' | 'active' | 'checkpointed' | 'checkpointed with memory' | 'checkpointed in Glance' | 'checkpointed with memory in Glance' | 'stopped' | 'paused' | 'suspended' | 'soft-delete' | 'rescued' | 'resized' | 'shelved' | 'shelved_offloaded';
const towards: Readonly<Record<Exclude<Before, 'none' | 'active'>, (world: World, instance: typeof uuid) => WireMessage>> = {
  stopped: stopMessage, paused: pauseMessage, suspended: suspendMessage, 'soft-delete': softDeleteMessage, rescued: rescueMessage, resized: resizeMessage,
  shelved: shelveMessage, shelved_offloaded: shelveMessage, checkpointed: checkpointMessage,
  'checkpointed with memory': (world, instance) => checkpointMessage(world, instance, 'full'),
  'checkpointed in Glance': (world, instance) => checkpointMessage(world, instance, 'disk', 'glance'),
  'checkpointed with memory in Glance': (world, instance) => checkpointMessage(world, instance, 'full', 'glance'),
};

/** A server in some state, brought there by an agent that was not killed. */
async function prepared(state: Before): Promise<{ world: World; journal: string }> {
  const world = createWorld();
  const journal = newJournal();
  if (state === 'none') return { world, journal };
  const agent = await live(world, journal, null);
  await agent.receive(buildMessage(world, uuid));
  world.shelvedOffloadSeconds = state === 'shelved' ? -1 : 0;
  if (state !== 'active') await (await live(world, journal, null)).receive(towards[state](world, uuid));
  // What the guest remembers now is not what the checkpoint has.
  if (state.startsWith('checkpointed with memory')) await (await live(world, journal, null)).receive(rebootMessage(world, uuid, 'HARD'));
  if (state.endsWith('in Glance')) for (const map of [world.nodes, world.keptFiles, world.currentNodes]) map.clear(); // as if it had been shelved and were back
  expect(rowOf(world, uuid)?.get('vm_state')).toBe(state.startsWith('checkpointed') ? 'active' : state);
  return { world, journal };
}

interface Case {
  readonly name: string;
  readonly from: Before;
  /** shelved_offload_time; default 0 */
  readonly offloadSeconds?: number;
  readonly message: (world: World) => WireMessage;
  /** What must hold after the restart; the row may be gone. */
  readonly check: (world: World) => void;
}

/** A server that is kept while it is off. */
function expectOff(world: World, vmState: string): void {
  expect(rowOf(world, uuid)?.get('vm_state')).toBe(vmState);
  expect(rowOf(world, uuid)?.get('task_state')).toBeNull();
  expect(rowOf(world, uuid)?.get('power_state')).toBe(4);
  expect(guestOf(world)?.isRunning).toBe(false);
  expect(world.disks.has(uuid)).toBe(true);
  expect(world.taps.size).toBe(0);
}

/** A server whose memory is on disk, with disks that are as they were. */
function expectSuspended(world: World): void {
  const row = rowOf(world, uuid);
  expect([row?.get('vm_state'), row?.get('task_state'), row?.get('power_state'), row?.get('system_metadata')['old_vm_state']]).toEqual(['suspended', null, 7, 'active']);
  expect(guestOf(world)).toMatchObject({ isRunning: false, starts: 1, save: { memory: 1, disks: { root: 'as after start 1' } } });
  expect([[...world.taps.values()], world.still.has(uuid), world.partialSaves.size]).toEqual([[uuid], true, 0]);
}

/** Nothing is left of a save. */
function expectUnsaved(world: World): void {
  expectRunning(world);
  expect(remains(world, uuid)).not.toContain('a save');
  expect(world.still.size).toBe(0);
}

/** A server that runs: everything belongs together. */
function expectRunning(world: World): void {
  expect(rowOf(world, uuid)?.get('vm_state')).toBe('active');
  expect(rowOf(world, uuid)?.get('task_state')).toBeNull();
  expect(rowOf(world, uuid)?.get('power_state')).toBe(1);
  expect(guestOf(world)?.isRunning).toBe(true);
  expect(guestOf(world)?.isPaused ?? false).toBe(false);
  expect(world.disks.get(uuid)?.get('root')).toMatchObject({ isGrown: true });
  expect([...world.taps.values()]).toEqual([uuid]);
}

function expectGone(world: World): void {
  expect(rowOf(world, uuid)).toBeUndefined();
  expect(remains(world, uuid)).toEqual([]);
  expect(traces(world, uuid)).toEqual([]);
}

const flavorOf = (world: World): number | null | undefined => rowOf(world, uuid)?.get('instance_type_id');
const GiB = 1n << 30n;

/** A server of the small flavor that nothing is left of a move of. */
function expectSmall(world: World): void {
  expectRunning(world);
  expect([flavorOf(world), guestOf(world)?.definition.memoryMiB, world.disks.get(uuid)?.get('root')?.bytes]).toEqual([1, 128, GiB]);
  expect([world.kept.size, world.successors.size, [...world.allocations]]).toEqual([0, 0, [uuid]]);
}

/** The server never noticed, whether or not there is an image now. */
function expectSnapshotOver(world: World): void {
  expectRunning(world);
  expect(['active', undefined]).toContain(world.glance.get(newImageId)?.status);
  expect(world.snapshots.size).toBe(0);
  expect(guestOf(world)?.starts).toBe(1);
}

/** There is a node and an image that stands for it, or neither; the guest never noticed. */
function expectCheckpointOver(world: World): void {
  const image = world.glance.get(newImageId);
  expect([world.nodes.has(newImageId), image?.properties?.['bhyve_checkpoint_id']]).toEqual(image === undefined ? [false, undefined] : [true, newImageId]);
  expect(['active', undefined]).toContain(image?.status);
  expect([guestOf(world)?.starts, world.snapshots.size, world.keptFiles.has(newImageId)]).toEqual([1, 0, image !== undefined]);
}

/** The image is active with all its parts, or there is nothing of it in Glance. */
function expectStoredOver(world: World): void {
  expectCheckpointOver(world);
  const image = world.glance.get(newImageId);
  const named = Object.entries(image?.properties ?? {}).filter(([key]) => key.startsWith('bhyve_checkpoint_part_')).map(([, value]) => value.split(' ')[0]);
  const hidden = [...world.glance].filter(([, one]) => one.isHidden === true);
  expect(hidden.map(([id, one]) => [id, one.status]).sort()).toEqual(named.map((id) => [id, 'active']).sort());
  expect(image?.properties?.['bhyve_checkpoint_parts']).toBe(image === undefined ? undefined : String(named.length));
}

function expectOffloaded(world: World): void {
  const row = rowOf(world, uuid);
  expect([row?.get('vm_state'), row?.get('task_state'), row?.get('host'), row?.get('system_metadata')['shelved_image_id']]).toEqual(['shelved_offloaded', null, null, newImageId]);
  expect([remains(world, uuid), world.allocations.has(uuid)]).toEqual([[], false]);
  expect([...world.ports.values()].map((port) => port.isBound)).toEqual([false]);
  expect(world.glance.get(newImageId)).toEqual({ status: 'active', diskFormat: 'raw' });
}

function expectUnshelved(world: World): void {
  expectRunning(world);
  expect(rowOf(world, uuid)?.get('system_metadata')).not.toHaveProperty('shelved_image_id');
  expect([world.glance.has(newImageId), [...world.ports.values()].map((port) => port.isBound)]).toEqual([false, [true]]);
}

const cases: readonly Case[] = [
  {
    name: 'rebuild', from: 'active', message: (world) => rebuildMessage(world, uuid),
    check: (world) => {
      // Nova's table for a rebuild whose message is still the broker's; the old server is all there.
      if (rowOf(world, uuid)?.get('vm_state') === 'error') return expect([rowOf(world, uuid)?.get('task_state'), guestOf(world)?.isRunning]).toEqual([null, true]);
      expectRunning(world);
      expect(world.disks.get(uuid)?.get('root')?.madeFor).not.toBeNull();
      expect(world.successors.size).toBe(0);
      // What boots is the new disk, not an entry that the old system made.
      expect(guestOf(world)?.variablesSince).toBe(guestOf(world)?.starts);
    },
  },
  {
    name: 'rescue', from: 'active', message: (world) => rescueMessage(world, uuid),
    check: (world) => {
      expect([rowOf(world, uuid)?.get('vm_state'), rowOf(world, uuid)?.get('task_state'), rowOf(world, uuid)?.get('power_state')]).toEqual(['rescued', null, 1]);
      expect(guestOf(world)).toMatchObject({ isRunning: true, definition: { disks: [{ role: 'root' }, { role: 'rescue' }], configDrive: { path: `/state/${uuid}/config-rescue.iso` } } });
    },
  },
  {
    name: 'unrescue', from: 'rescued', message: (world) => unrescueMessage(world, uuid),
    check: (world) => {
      expectRunning(world);
      expect(guestOf(world)).toMatchObject({ definition: { disks: [{ role: 'root' }], configDrive: { path: `/state/${uuid}/config.iso` } } });
      expect([[...(world.disks.get(uuid)?.keys() ?? [])], world.rescueDrives.size]).toEqual([['root'], 0]);
    },
  },
  { name: 'delete while rescued', from: 'rescued', message: (world) => deleteMessage(world, uuid), check: expectGone },
  {
    name: 'resize', from: 'active', message: (world) => resizeMessage(world, uuid),
    check: (world) => {
      if (rowOf(world, uuid)?.get('vm_state') === 'active') return expectSmall(world);
      expect([rowOf(world, uuid)?.get('vm_state'), rowOf(world, uuid)?.get('task_state'), flavorOf(world)]).toEqual(['resized', null, 2]);
      expect(guestOf(world)).toMatchObject({ isRunning: true, definition: { memoryMiB: 256 } });
      expect([world.disks.get(uuid)?.get('root')?.bytes, [...world.kept.values()].map(({ disk }) => disk.bytes)]).toEqual([2n * GiB, [GiB]]);
      expect([...world.allocations].sort()).toEqual([uuid, migrationUuid].sort());
    },
  },
  {
    name: 'confirm a resize', from: 'resized', message: (world) => confirmMessage(world, uuid),
    check: (world) => {
      expectRunning(world);
      expect([flavorOf(world), rowOf(world, uuid)?.get('old_flavor'), world.kept.size, [...world.allocations]]).toEqual([2, null, 0, [uuid]]);
      expect(world.disks.get(uuid)?.get('root')?.bytes).toBe(2n * GiB);
    },
  },
  { name: 'revert a resize', from: 'resized', message: (world) => revertMessage(world, uuid), check: expectSmall },
  {
    name: 'build', from: 'none', message: (world) => buildMessage(world, uuid),
    check: (world) => {
      const row = rowOf(world, uuid);
      if (row?.get('vm_state') === 'active') return expectRunning(world);
      expect(row?.get('vm_state')).toBe('error');
      expect(row?.get('task_state')).toBeNull();
      expect(remains(world, uuid)).toEqual([]);
    },
  },
  {
    name: 'build with an ephemeral and a swap disk', from: 'none', message: (world) => buildMessage(world, uuid, 'roomy'),
    check: (world) => {
      const row = rowOf(world, uuid);
      if (row?.get('vm_state') !== 'active') return expect([row?.get('vm_state'), row?.get('task_state'), remains(world, uuid)]).toEqual(['error', null, []]);
      expectRunning(world);
      expect([...world.disks.get(uuid)!].map(([role, disk]) => [role, disk.isGrown, disk.bytes, disk.format])).toEqual([
        ['root', true, GiB, undefined], ['eph0', true, 2n * GiB, undefined], ['swap', true, 64n << 20n, 'swap'],
      ]);
      expect(guestOf(world)?.definition.disks.map(({ role }) => role)).toEqual(['root', 'eph0', 'swap']);
    },
  },
  {
    name: 'delete', from: 'active', message: (world) => deleteMessage(world, uuid), check: expectGone,
  },
  {
    name: 'stop', from: 'active', message: (world) => stopMessage(world, uuid),
    check: (world) => expectOff(world, 'stopped'),
  },
  {
    name: 'pause', from: 'active', message: (world) => pauseMessage(world, uuid),
    check: (world) => {
      // The start gives the task up (Nova's table) when the message is still the broker's; it comes too late then.
      if (rowOf(world, uuid)?.get('vm_state') === 'active') return expectRunning(world);
      expect(rowOf(world, uuid)?.get('vm_state')).toBe('paused');
      expect(rowOf(world, uuid)?.get('task_state')).toBeNull();
      expect(rowOf(world, uuid)?.get('power_state')).toBe(3);
      expect(guestOf(world)).toMatchObject({ isRunning: true, isPaused: true, starts: 1 });
      expect([...world.taps.values()]).toEqual([uuid]);
    },
  },
  {
    name: 'unpause', from: 'paused', message: (world) => unpauseMessage(world, uuid),
    check: (world) => {
      expectRunning(world);
      expect(guestOf(world)?.starts).toBe(1);
    },
  },
  { name: 'suspend', from: 'active', message: (world) => suspendMessage(world, uuid), check: expectSuspended },
  {
    name: 'resume', from: 'suspended', message: (world) => resumeMessage(world, uuid),
    check: (world) => {
      expectUnsaved(world);
      expect(guestOf(world)).toMatchObject({ starts: 1, memory: 1 });
      expect(rowOf(world, uuid)?.get('system_metadata')).not.toHaveProperty('old_vm_state');
    },
  },
  { name: 'delete while suspended', from: 'suspended', message: (world) => deleteMessage(world, uuid), check: expectGone },
  {
    name: 'hard reboot while suspended', from: 'suspended', message: (world) => rebootMessage(world, uuid, 'HARD'),
    check: (world) => {
      expectUnsaved(world);
      expect(guestOf(world)?.memory).toBe(guestOf(world)?.starts);
    },
  },
  { name: 'shelve while suspended', from: 'suspended', message: (world) => shelveMessage(world, uuid), check: expectOffloaded },
  { name: 'delete while paused', from: 'paused', message: (world) => deleteMessage(world, uuid), check: expectGone },
  { name: 'hard reboot while paused', from: 'paused', message: (world) => rebootMessage(world, uuid, 'HARD'), check: expectRunning },
  { name: 'soft delete', from: 'active', message: (world) => softDeleteMessage(world, uuid), check: (world) => expectOff(world, 'soft-delete') },
  { name: 'soft delete while paused', from: 'paused', message: (world) => softDeleteMessage(world, uuid), check: (world) => expectOff(world, 'soft-delete') },
  { name: 'restore', from: 'soft-delete', message: (world) => restoreMessage(world, uuid), check: expectRunning },
  { name: 'force delete', from: 'soft-delete', message: (world) => deleteMessage(world, uuid), check: expectGone },
  { name: 'start', from: 'stopped', message: (world) => startMessage(world, uuid), check: expectRunning },
  { name: 'soft reboot', from: 'active', message: (world) => rebootMessage(world, uuid, 'SOFT'), check: expectRunning },
  { name: 'hard reboot', from: 'active', message: (world) => rebootMessage(world, uuid, 'HARD'), check: expectRunning },
  { name: 'snapshot', from: 'active', message: (world) => snapshotMessage(world, uuid), check: expectSnapshotOver },
  {
    name: 'checkpoint', from: 'active', message: (world) => checkpointMessage(world, uuid),
    check: (world) => {
      expectRunning(world);
      expectCheckpointOver(world);
    },
  },
  {
    name: 'checkpoint with memory', from: 'active', message: (world) => checkpointMessage(world, uuid, 'full'),
    check: (world) => {
      expectUnsaved(world);
      expectCheckpointOver(world);
      expect([guestOf(world)?.memory, world.nodes.get(newImageId)?.memory?.sum ?? 'memory 1', world.torn]).toEqual([1, 'memory 1', []]);
    },
  },
  {
    name: 'checkpoint into Glance', from: 'active', message: (world) => checkpointMessage(world, uuid, 'disk', 'glance'),
    check: (world) => {
      expectRunning(world);
      expectStoredOver(world);
    },
  },
  {
    name: 'checkpoint with memory into Glance', from: 'active', message: (world) => checkpointMessage(world, uuid, 'full', 'glance'),
    check: (world) => {
      expectUnsaved(world);
      expectStoredOver(world);
      expect([guestOf(world)?.memory, world.torn]).toEqual([1, []]);
    },
  },
  { name: 'checkpoint of a stopped server', from: 'stopped', message: (world) => checkpointMessage(world, uuid), check: (world) => {
    expect([rowOf(world, uuid)?.get('vm_state'), rowOf(world, uuid)?.get('task_state'), world.nodes.get(newImageId)?.guest ?? 'off']).toEqual(['stopped', null, 'off']);
    expectCheckpointOver(world);
  } },
  {
    name: 'back to a checkpoint', from: 'checkpointed', message: (world) => restoreCheckpointMessage(world, uuid),
    check: (world) => {
      expect([world.nodes.has(newImageId), world.glance.get(newImageId)?.status, world.successors.size]).toEqual([true, 'active', 0]);
      // Nova's table for a rebuild whose message is still the broker's; the server is all there.
      if (rowOf(world, uuid)?.get('vm_state') === 'error') return expect([rowOf(world, uuid)?.get('task_state'), guestOf(world)?.isRunning]).toEqual([null, true]);
      expectRunning(world);
      expect([world.disks.get(uuid)?.get('root')?.madeFor, guestOf(world)?.variablesSince]).toEqual([expect.any(String), 1]);
      // A server of the image that its disk was made of, with the properties of that time.
      expect([rowOf(world, uuid)?.get('image_ref'), rowOf(world, uuid)?.get('system_metadata')]).toEqual([imageId, { image_min_disk: '1' }]);
    },
  },
  {
    name: 'back to a checkpoint with memory', from: 'checkpointed with memory', message: (world) => restoreCheckpointMessage(world, uuid),
    check: (world) => {
      expect([world.nodes.has(newImageId), world.keptFiles.get(newImageId)?.memory, world.glance.get(newImageId)?.status, world.successors.size, world.torn]).toEqual([true, 1, 'active', 0, []]);
      // Nova's table for a rebuild whose message is still the broker's; the server is all there.
      if (rowOf(world, uuid)?.get('vm_state') === 'error') return expect([rowOf(world, uuid)?.get('task_state'), guestOf(world)?.isRunning, guestOf(world)?.memory]).toEqual([null, true, 2]);
      expectUnsaved(world);
      expect([guestOf(world)?.memory, guestOf(world)?.starts, world.disks.get(uuid)?.get('root')?.madeFor]).toEqual([1, 2, expect.any(String)]);
      expect(rowOf(world, uuid)?.get('image_ref')).toBe(imageId);
    },
  },
  {
    name: 'back to a checkpoint out of Glance', from: 'checkpointed in Glance', message: (world) => restoreCheckpointMessage(world, uuid),
    check: (world) => {
      expect([world.nodes.size, world.glance.get(newImageId)?.status, world.successors.size]).toEqual([0, 'active', 0]);
      // Nova's table for a rebuild whose message is still the broker's; the server is all there.
      if (rowOf(world, uuid)?.get('vm_state') === 'error') return expect([rowOf(world, uuid)?.get('task_state'), guestOf(world)?.isRunning]).toEqual([null, true]);
      expectRunning(world);
      expect([world.disks.get(uuid)?.get('root'), guestOf(world)?.variablesSince]).toMatchObject([{ madeFor: expect.stringMatching(/./) as string, image: newImageId }, 1]);
      expect([rowOf(world, uuid)?.get('image_ref'), rowOf(world, uuid)?.get('system_metadata')]).toEqual([imageId, { image_min_disk: '1' }]);
    },
  },
  {
    name: 'back to a checkpoint with memory out of Glance', from: 'checkpointed with memory in Glance', message: (world) => restoreCheckpointMessage(world, uuid),
    check: (world) => {
      expect([world.nodes.size, world.glance.get(newImageId)?.status, world.successors.size, world.torn]).toEqual([0, 'active', 0, []]);
      // Nova's table for a rebuild whose message is still the broker's; the server is all there.
      if (rowOf(world, uuid)?.get('vm_state') === 'error') return expect([rowOf(world, uuid)?.get('task_state'), guestOf(world)?.isRunning, guestOf(world)?.memory]).toEqual([null, true, 2]);
      expectUnsaved(world);
      expect([guestOf(world)?.memory, guestOf(world)?.starts, world.disks.get(uuid)?.get('root')?.image]).toEqual([1, 2, newImageId]);
    },
  },
  { name: 'delete of a server with a checkpoint with memory', from: 'checkpointed with memory', message: (world) => deleteMessage(world, uuid), check: expectGone },
  { name: 'delete of a server with a checkpoint', from: 'checkpointed', message: (world) => deleteMessage(world, uuid), check: expectGone },
  { name: 'backup', from: 'active', message: (world) => backupMessage(world, uuid), check: expectSnapshotOver },
  { name: 'snapshot of a stopped server', from: 'stopped', message: (world) => snapshotMessage(world, uuid), check: (world) => {
    expect([rowOf(world, uuid)?.get('vm_state'), rowOf(world, uuid)?.get('task_state'), world.snapshots.size]).toEqual(['stopped', null, 0]);
    expect(['active', undefined]).toContain(world.glance.get(newImageId)?.status);
  } },
  { name: 'shelve', from: 'active', message: (world) => shelveMessage(world, uuid), check: expectOffloaded },
  {
    name: 'shelve that stays here', from: 'active', offloadSeconds: -1, message: (world) => shelveMessage(world, uuid),
    check: (world) => {
      expect([rowOf(world, uuid)?.get('vm_state'), rowOf(world, uuid)?.get('task_state'), rowOf(world, uuid)?.get('power_state')]).toEqual(['shelved', null, 4]);
      expect([guestOf(world)?.isRunning, world.disks.has(uuid), world.snapshots.size, world.glance.get(newImageId)?.status]).toEqual([false, true, 0, 'active']);
    },
  },
  { name: 'offload', from: 'shelved', message: (world) => offloadMessage(world, uuid), check: expectOffloaded },
  { name: 'start of a shelved server', from: 'shelved', message: (world) => startMessage(world, uuid), check: expectUnshelved },
  { name: 'unshelve', from: 'shelved_offloaded', message: (world) => unshelveMessage(world, uuid), check: expectUnshelved },
];

/** `meanwhile`: what happens while no agent lives. */
async function run(one: Case, point: CrashPoint | null, meanwhile: (world: World) => void = () => undefined): Promise<{ world: World; effects: readonly string[]; wasAccepted: boolean; journal: string }> {
  const { world, journal } = await prepared(one.from);
  world.shelvedOffloadSeconds = one.offloadSeconds ?? 0;
  // The start has effects of its own; count from the message on.
  const quiet = await live(world, journal, null);
  await quiet.idle();
  const offset = quiet.crash.effects.length;
  const agent = await live(world, journal, point === null ? null : { ...point, effect: point.effect + offset });
  await agent.idle();
  const message = one.message(world);
  await agent.receive(message);
  const effects = agent.crash.effects.slice(offset);
  // Killed before it was durable, the message is still the broker's and comes again.
  const wasAccepted = !(agent.crash.isDead && effects.length === 1);
  if (agent.crash.isDead) meanwhile(world);
  const next = await live(world, journal, null);
  if (!wasAccepted) await next.receive(message);
  await next.idle();
  return { world, effects, wasAccepted, journal };
}

describe.each(cases)('$name', (one) => {
  test('without a crash does what it should', async () => {
    const { world } = await run(one, null);
    one.check(world);
    if (one.name.startsWith('build')) expectRunning(world);
    if (one.name.startsWith('checkpoint')) expect(world.nodes.has(newImageId)).toBe(true);
    if (one.name.startsWith('back to a checkpoint')) expect(rowOf(world, uuid)?.get('vm_state')).toBe('active');
    if (one.name === 'resize') expect(rowOf(world, uuid)?.get('vm_state')).toBe('resized');
    if (one.name === 'pause') expect(guestOf(world)?.isPaused).toBe(true);
    if (one.name.includes('reboot')) expect(guestOf(world)?.starts).toBeGreaterThan(1);
  });

  test('killed at any effect, it is finished or undone after the restart, and a delete leaves nothing', async () => {
    const { effects } = await run(one, null);
    expect(effects.length).toBeGreaterThan(5);
    for (let effect = 1; effect <= effects.length; effect += 1) {
      for (const when of ['before', 'middle', 'after'] satisfies CrashWhen[]) {
        const { world, journal } = await run(one, { effect, when });
        const label = `${one.name} killed ${when} effect ${effect} (${effects[effect - 1]})`;
        try {
          one.check(world);
        } catch (error) {
          throw new Error(`${label}: ${(error as Error).message}`, { cause: error });
        }
        if (rowOf(world, uuid) === undefined) continue;
        await buryAgents();
        const agent = await live(world, journal, null);
        if (rowOf(world, uuid)?.get('vm_state') === 'resized') await agent.receive(confirmMessage(world, uuid)); // nova-api does
        await agent.receive(deleteMessage(world, uuid));
        expect([label, rowOf(world, uuid), remains(world, uuid), traces(world, uuid)]).toEqual([label, undefined, [], []]);
      }
    }
  }, 120_000);

  test('the same message twice has one effect, also over a restart', async () => {
    const { world, journal } = await prepared(one.from);
    const message = one.message(world);
    await (await live(world, journal, null)).receive(message);
    const after = JSON.stringify([[...world.rows], [...world.folders], [...world.taps], world.events]);
    const next = await live(world, journal, null);
    await next.receive(message);
    await next.receive(message);
    expect(JSON.stringify([[...world.rows], [...world.folders], [...world.taps], world.events])).toBe(after);
  });
});

test.each(['back to a checkpoint with memory', 'checkpoint with memory', 'back to a checkpoint with memory out of Glance', 'checkpoint with memory into Glance'])('%s: a guest that ends while no agent lives never goes on from memory that its disks have left behind', async (name) => {
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
      if (guestOf(world)?.isRunning === true) expect([label, guestOf(world)?.memory]).toEqual([label, 1]);
    }
    await buryAgents();
  }
}, 120_000);
