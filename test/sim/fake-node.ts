/** Disks, taps, guests and config drives as the compute methods see them, on a World. */
import { createHash } from 'node:crypto';
import { AgentError } from '../../src/lib/errors.js';
import { parseCheckpointId, type InstanceUuid } from '../../src/lib/ids.js';
import { novaFaults } from '../../src/lib/nova-faults.js';
import { rolePlace, type CheckpointKeeping, type CheckpointMemory, type ConfigDriveWriter, type DiskBus, type DiskFormat, type DiskInfo, type DiskRole, type NodeStorage, type OpenImage } from '../../src/storage/index.js';
import type { Plugger } from '../../src/network/index.js';
import { powerStates, type GuestState, type HostCapabilities, type HypervisorDriver, type KeptFile, type PowerState } from '../../src/virt/index.js';
import type { GlanceImage } from '../../src/openstack/index.js';
import type { FakeDisk, Guest, World } from './world.js';
import { withEffects, type CrashRecorder } from './crash.js';
import { missing } from './fake-cloud.js';

type Half = () => Promise<void>;

export function fakeStorage(world: World, crash: CrashRecorder): NodeStorage {
  const base = {
    prepare: async () => undefined,
    usage: async () => ({ totalBytes: 1n << 40n, availableBytes: 1n << 39n, usedBytes: 0n }),
    async ensureImage(image: GlanceImage, open: OpenImage, { signal }: { signal: AbortSignal }) {
      if (world.imageData.has(image.id)) await fetchDisk(world, image, await open(signal));
      world.images.add(image.id);
      return { id: image.id, virtualBytes: 4096n, detectedFormat: 'raw' };
    },
    async createDiskFromImage(instance: InstanceUuid, role: DiskRole, image: string, bytes: bigint | null, ...rest: unknown[]) {
      if (!world.images.has(image)) throw missing('image is not cached');
      const found = world.disks.get(instance)?.get(role);
      if (found !== undefined && found.image !== image) throw missing('another image in the place of the disk');
      await makeDisk(world, instance, role, { image, bus: busOf(rest), bytes: bytes ?? GiB }, halfOf(rest));
      return diskInfo(world, instance, role);
    },
    async createBlankDisk(instance: InstanceUuid, role: DiskRole, bytes: bigint, ...rest: unknown[]) {
      await makeDisk(world, instance, role, { image: null, bus: busOf(rest), bytes }, halfOf(rest));
      return diskInfo(world, instance, role);
    },
    formats: new Set<DiskFormat>(['swap', 'ext4']),
    async fillDisk(instance: InstanceUuid, role: DiskRole, format: DiskFormat) {
      const found = world.disks.get(instance)?.get(role);
      if (found === undefined) throw missing(`${role} disk`);
      found.format = format;
    },
    async growDisk(instance: InstanceUuid, role: DiskRole, bytes: bigint) {
      const disk = world.disks.get(instance)?.get(role);
      if (disk === undefined) throw missing(`${role} disk`);
      if (bytes > disk.bytes) world.disks.get(instance)?.set(role, { ...disk, bytes });
      return diskInfo(world, instance, role);
    },
    async replaceFromImage(instance: InstanceUuid, role: DiskRole, image: string, bytes: bigint | null, madeFor: string, half?: Half) {
      if (!world.images.has(image)) throw missing('image is not cached');
      await replaceDisk(world, instance, role, { isGrown: true, image, bus: busAt(world, instance, role), bytes: bytes ?? GiB, madeFor, ...writerOf(world, image) }, half);
      return diskInfo(world, instance, role);
    },
    async replaceWithBlank(instance: InstanceUuid, role: DiskRole, bytes: bigint, madeFor: string, half?: Half) {
      await replaceDisk(world, instance, role, { isGrown: true, image: null, bus: busAt(world, instance, role), bytes, madeFor }, half);
      return diskInfo(world, instance, role);
    },
    async dropReplacement(instance: InstanceUuid, role: DiskRole) {
      const key = `${instance}/${role}`;
      const successor = world.successors.get(key);
      if (successor !== undefined && world.disks.get(instance)?.has(role) !== true) world.disks.get(instance)?.set(role, successor);
      world.successors.delete(key);
    },
    async keepDisks(instance: InstanceUuid, move: string, half?: Half) {
      for (const [role, disk] of world.disks.get(instance) ?? []) {
        if (world.kept.get(`${instance}/${role}`)?.move !== move) world.kept.set(`${instance}/${role}`, { move, disk });
        await half?.();
      }
    },
    async revertDisks(instance: InstanceUuid, move: string, half?: Half) {
      refuseWhileOpen(world, instance);
      for (const [role, disk] of [...(world.disks.get(instance) ?? [])]) {
        const kept = world.kept.get(`${instance}/${role}`);
        if (kept?.move === move) world.disks.get(instance)?.set(role, kept.disk);
        else if (disk.madeFor === move) world.disks.get(instance)?.delete(role);
        await half?.();
      }
    },
    async forgetKept(instance: InstanceUuid, move: string, half?: Half) {
      for (const [key, kept] of world.kept) {
        if (key.startsWith(instance) && kept.move === move) world.kept.delete(key);
        await half?.();
      }
    },
    async holdStill(instance: InstanceUuid, half?: Half) {
      refuseWhileOpen(world, instance);
      await half?.();
      world.still.add(instance);
      world.heldAt.set(instance, writtenBy(world, instance));
      return evidence(world, instance);
    },
    stillness: async (instance: InstanceUuid) => evidence(world, instance),
    letGo: async (instance: InstanceUuid) => { world.still.delete(instance); },
    disks: async (instance: InstanceUuid) => [...(world.disks.get(instance)?.keys() ?? [])].sort((a, b) => rolePlace(a) - rolePlace(b)).map((role) => diskInfo(world, instance, role)),
    async buryDisk(instance: InstanceUuid, role: DiskRole) {
      if (world.disks.get(instance)?.has(role) !== true) return;
      refuseWhileOpen(world, instance);
      world.disks.get(instance)?.delete(role);
      world.kept.delete(`${instance}/${role}`);
      world.graveyard.push(`${instance}/${role}`);
    },
    async buryDisks(instance: InstanceUuid) {
      refuseWhileOpen(world, instance);
      if (!world.disks.delete(instance)) return;
      world.graveyard.push(instance);
      world.still.delete(instance);
      for (const map of [world.kept, world.successors]) for (const key of [...map.keys()]) if (key.startsWith(instance)) map.delete(key);
      for (const [id, node] of world.nodes) if (node.instance === instance) world.nodes.delete(id);
      for (const [operation, owner] of world.snapshots) if (owner === instance) world.snapshots.delete(operation);
    },
    async reap() {
      const destroyed = world.graveyard.splice(0).length;
      return { destroyed, left: 0 };
    },
    async takeSnapshot(instance: InstanceUuid, operation: string, half?: Half) {
      if (!world.disks.has(instance)) throw missing('disk');
      await half?.();
      world.snapshots.set(operation, instance);
    },
    openSnapshot: async (_instance: InstanceUuid, operation: string) => {
      if (!world.snapshots.has(operation)) throw missing('copy of the disk');
      const copy = world.copies.get(operation);
      const content = Buffer.from(copy === undefined ? 'disk' : JSON.stringify({ writtenBy: copy.writtenBy, image: copy.image }));
      return { diskFormat: 'raw', bytes: BigInt(content.length), open: async function* () { yield content; } };
    },
    async takeCheckpointCopy(instance: InstanceUuid, checkpoint: string, role: DiskRole, operation: string, half?: Half) {
      const disk = world.nodes.get(checkpoint)?.disks.get(role);
      if (disk === undefined) throw missing('disk of a checkpoint');
      await half?.();
      world.snapshots.set(operation, instance);
      world.copies.set(operation, disk);
    },
    dropSnapshot: async (_instance: InstanceUuid, operation: string) => {
      world.snapshots.delete(operation);
      world.copies.delete(operation);
    },
    async dropLeftSnapshots(isOpen: (operation: never) => boolean) {
      const left = [...world.snapshots.keys()].filter((operation) => !isOpen(operation as never));
      for (const operation of left) world.snapshots.delete(operation);
      return left.length;
    },
    async createCheckpoint(instance: InstanceUuid, id: string, guest: 'running' | 'off', ...rest: unknown[]) {
      const half = halfOf(rest);
      const memory = rest.length > 1 ? (rest[0] as CheckpointMemory | null) : null;
      const keeping = rest.length > 2 ? (rest[1] as CheckpointKeeping) : { keeper: 'nova' as const, name: null };
      const disks = world.disks.get(instance);
      if (disks === undefined) throw missing('disk');
      await half?.();
      if (world.nodes.has(id)) return;
      world.nodes.set(id, { instance, parent: world.currentNodes.get(instance) ?? null, guest, memory, ...keeping, disks: new Map(disks) });
      world.currentNodes.set(instance, id);
    },
    checkpoints: async (instance: InstanceUuid) => [...world.nodes].filter(([, node]) => node.instance === instance).map(([id, node]) => ({
      id, parent: node.parent, at: new Date(0), guest: node.guest, memory: node.memory, keeper: node.keeper, name: node.name, roles: [...node.disks.keys()], bytes: [...node.disks.values()].reduce((sum, disk) => sum + disk.bytes, 0n), usedBytes: 0n, image: node.disks.get('root')?.image ?? null,
      kind: null, isCurrent: world.currentNodes.get(instance) === id,
    })),
    instancesWithCheckpoints: async () => [...new Set([...world.nodes.values()].map(({ instance }) => instance))],
    async restoreCheckpoint(instance: InstanceUuid, id: string, madeFor: string, half?: Half) {
      const node = world.nodes.get(id);
      if (node?.instance !== instance) throw missing('checkpoint');
      for (const [role, disk] of node.disks) {
        if (world.disks.get(instance)?.has(role) === true || world.successors.has(`${instance}/${role}`)) await replaceDisk(world, instance, role, { ...disk, madeFor }, half);
      }
      world.currentNodes.set(instance, id);
    },
    async deleteCheckpoint(_instance: InstanceUuid, id: string) {
      const gone = world.nodes.get(id);
      if (gone === undefined) return;
      world.nodes.delete(id);
      for (const [child, node] of world.nodes) if (node.parent === id) world.nodes.set(child, { ...node, parent: gone.parent });
      if (world.currentNodes.get(gone.instance) !== id) return;
      if (gone.parent === null) world.currentNodes.delete(gone.instance);
      else world.currentNodes.set(gone.instance, gone.parent);
    },
    tidyCheckpoints: async () => undefined,
    formOf: async () => 'raw',
    flattenDisks: async () => undefined,
    instancesWithDisks: async () => [...world.disks.keys()],
    images: async () => [],
    dropImage: async () => false,
  };
  return withEffects(base as unknown as NodeStorage, 'storage', crash, ['ensureImage', 'createDiskFromImage', 'createBlankDisk', 'growDisk', 'fillDisk', 'replaceFromImage',
    'replaceWithBlank', 'dropReplacement', 'keepDisks', 'revertDisks', 'forgetKept', 'holdStill', 'letGo', 'buryDisk', 'buryDisks', 'reap', 'takeSnapshot', 'takeCheckpointCopy', 'dropSnapshot', 'createCheckpoint', 'restoreCheckpoint', 'deleteCheckpoint']);
}

/** A disk that is not held is evidence of nothing; each run of the guest writes to its disks. */
const evidence = (world: World, instance: InstanceUuid): Record<string, string> => {
  const guest = world.folders.get(instance);
  const starts = guest === undefined || guest === 'empty' ? 0 : guest.starts;
  const state = !world.still.has(instance) ? 'not held' : world.heldAt.get(instance) === writtenBy(world, instance) ? `as after start ${starts}` : 'written since';
  return Object.fromEntries([...(world.disks.get(instance)?.keys() ?? [])].map((role) => [role, state]));
};

const writtenBy = (world: World, instance: InstanceUuid): number | undefined => world.disks.get(instance)?.get('root')?.writtenBy;

/** A guest that runs changes its disks. */
function writeDisks(world: World, instance: InstanceUuid): void {
  world.runs += 1;
  const disks = world.disks.get(instance);
  for (const [role, disk] of [...(disks ?? [])]) disks?.set(role, { ...disk, writtenBy: world.runs });
}

/** As the real one: with its hash, if it is known. */
async function fetchDisk(world: World, image: GlanceImage, octets: AsyncIterable<Uint8Array>): Promise<void> {
  const content = await octetsOf(octets);
  const isRight = image.hashAlgorithm !== 'sha256' || createHash('sha256').update(content).digest('hex') === image.hashValue;
  if (!isRight) throw new AgentError('image-unacceptable', 'x', { wire: novaFaults.imageUnacceptable(image.id, 'the image does not have the hash that Glance recorded') });
  if (content.startsWith('{')) world.imageWriters.set(image.id, (JSON.parse(content) as { writtenBy?: number }).writtenBy);
}

async function octetsOf(octets: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of octets) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

const writerOf = (world: World, image: string): { writtenBy?: number } => {
  const writtenBy = world.imageWriters.get(image);
  return writtenBy === undefined ? {} : { writtenBy };
};

const keptFile = (name: string, value: unknown): KeptFile => {
  const content = Buffer.from(JSON.stringify(value));
  return { name, bytes: BigInt(content.length), open: async function* () { yield content; } };
};

/** The effect's middle comes last, after arguments that may be left out. */
const halfOf = (rest: readonly unknown[]): Half | undefined => rest.at(-1) as Half | undefined;
const busOf = (rest: readonly unknown[]): DiskBus | null => (rest.length > 1 ? (rest[0] as DiskBus | null) : null);
const busAt = (world: World, instance: InstanceUuid, role: DiskRole): DiskBus | null => world.disks.get(instance)?.get(role)?.bus ?? null;

const GiB = 1n << 30n;

function diskInfo(world: World, instance: InstanceUuid, role: DiskRole): DiskInfo {
  const disk = world.disks.get(instance)?.get(role);
  return {
    role, bus: disk?.bus ?? null, form: 'raw', dataset: `pool/${instance}/${role}`, devicePath: `/dev/zvol/pool/${instance}/${role}`, bytes: disk?.bytes ?? GiB, madeFor: disk?.madeFor ?? null,
  };
}

async function makeDisk(world: World, instance: InstanceUuid, role: DiskRole, what: Pick<FakeDisk, 'image' | 'bus' | 'bytes'>, half?: Half): Promise<void> {
  const disks = world.disks.get(instance) ?? new Map<DiskRole, FakeDisk>();
  world.disks.set(instance, disks);
  if (!disks.has(role)) disks.set(role, { isGrown: false, madeFor: null, ...what });
  await half?.();
  disks.set(role, { madeFor: null, ...disks.get(role), ...what, isGrown: true });
}

/** In the order of the real one: the successor, the grave of the old disk, the name. */
async function replaceDisk(world: World, instance: InstanceUuid, role: DiskRole, disk: FakeDisk, half?: Half): Promise<void> {
  const disks = world.disks.get(instance) ?? new Map<DiskRole, FakeDisk>();
  world.disks.set(instance, disks);
  if (disks.get(role)?.madeFor === disk.madeFor) return;
  refuseWhileOpen(world, instance);
  const key = `${instance}/${role}`;
  world.successors.set(key, disk);
  await half?.();
  if (disks.delete(role)) world.graveyard.push(key);
  world.kept.delete(key);
  await half?.();
  disks.set(role, disk);
  world.successors.delete(key);
}

function refuseWhileOpen(world: World, instance: InstanceUuid): void {
  const guest = world.folders.get(instance);
  if (guest !== undefined && guest !== 'empty' && guest.isRunning) throw missing('dataset is busy');
}

export function fakePlugger(world: World, crash: CrashRecorder): Plugger {
  const base = {
    async plug(instance: InstanceUuid, vif: { id: string; devname: string; address: string }, _signal: AbortSignal, half?: Half) {
      world.taps.set(vif.devname, instance);
      await half?.();
      const port = world.ports.get(vif.id);
      if (port === undefined) throw missing('port');
      port.isActive = true;
      queueMicrotask(() => world.deliver?.(instance, 'network-vif-plugged', vif.id));
      return { port: vif.id, tapName: vif.devname, mac: vif.address, mtu: 1500, isOurs: true };
    },
    async unplug(instance: InstanceUuid, port: string) {
      const known = world.ports.get(port);
      if (known !== undefined) known.isActive = false;
      for (const [tap, owner] of world.taps) if (owner === instance && tap === `tap${port.slice(0, 11)}`) world.taps.delete(tap);
    },
    listOwned: async () => [...world.taps].map(([tapName, instance]) => ({ tapName, instance, port: instance.replaceAll('1', 'a') })),
  };
  return withEffects(base as unknown as Plugger, 'plugger', crash, ['plug', 'unplug']);
}

export const capabilities: HostCapabilities = {
  architecture: 'amd64', release: '13.2', osReleaseDate: 1302001, cpuModel: 'sim', cpuVendor: 'AMD', cpuFeatures: [], hasVmm: true, canVirtualize: true, maxVcpusPerGuest: 16,
  deviceModels: new Set(['virtio-blk', 'virtio-net', 'ahci', 'nvme', 'e1000']), hasSnapshot: false, sandbox: 'unknown', hasLibvdsk: false, hasResourceLimits: true, hasTcpConsole: false, bootromKey: 'lpc', hasFramebuffer: true, firmware: { code: '/c', vars: '/v' }, suspendExit: null, findings: [],
  saveRestore: { status: 'untested', reason: 'no self-test has restored a guest here', family: null, models: [] },
};

const readyHost: HostCapabilities['saveRestore'] = { status: 'ready', reason: 'self-test passed', family: 'kern-structs', models: ['hostbridge', 'lpc', 'virtio-blk', 'virtio-net', 'ahci'] };

export function fakeDriver(world: World, crash: CrashRecorder): HypervisorDriver {
  const guestOf = (instance: InstanceUuid): Guest | undefined => {
    const found = world.folders.get(instance);
    return found === undefined || found === 'empty' ? undefined : found;
  };
  const stateOf = (instance: InstanceUuid): GuestState => {
    const guest = guestOf(instance);
    if (guest === undefined) return { kind: 'absent' };
    return guest.isRunning ? { kind: 'running', pid: 1, startedAtSeconds: 1, isPaused: guest.isPaused === true } : { kind: 'stopped', verdict: null };
  };
  const powerOf = (instance: InstanceUuid): PowerState => {
    const state = stateOf(instance);
    if (state.kind === 'running') return state.isPaused ? powerStates.paused : powerStates.running;
    if (guestOf(instance)?.save !== undefined) return powerStates.suspended;
    return state.kind === 'stopped' ? powerStates.shutdown : powerStates.noState;
  };
  const end = (guest: Guest): void => {
    guest.isRunning = false;
    guest.isPaused = false;
  };
  const running = (instance: InstanceUuid): Guest => {
    const guest = guestOf(instance);
    if (guest?.isRunning === true) return guest;
    throw new AgentError('guest-not-running', `guest ${instance} does not run`, { wire: novaFaults.instanceNotRunning(instance) });
  };
  const base = {
    capabilities: { ...capabilities, get saveRestore() { return world.canSave ? readyHost : capabilities.saveRestore; } },
    list: async () => [...world.folders.keys()],
    state: async (instance: InstanceUuid) => stateOf(instance),
    powerState: async (instance: InstanceUuid) => powerOf(instance),
    powerStates: async (instances: readonly InstanceUuid[]) => new Map(instances.map((instance) => [instance, powerOf(instance)])),
    async define(definition: Guest['definition'], half?: Half) {
      const known = guestOf(definition.instance);
      if (known?.isRunning === true) throw missing('define of a running guest');
      if (known === undefined) world.folders.set(definition.instance, 'empty');
      await half?.();
      world.folders.set(definition.instance, { ...known, definition, isRunning: false, starts: known?.starts ?? 0, variablesSince: known?.variablesSince ?? null });
    },
    definition: async (instance: InstanceUuid) => guestOf(instance)?.definition,
    plannedSlots: async (planned: Guest['definition']) => Object.fromEntries([...planned.disks.map(({ role }) => `disk:${role}`), ...planned.nics.map(({ port }) => `nic:${port}`)].map((key, at) => [key, `0:${at + 2}:0`])),
    async start(instance: InstanceUuid) {
      const guest = guestOf(instance);
      if (guest === undefined || !world.disks.has(instance)) throw missing('guest or disk');
      for (const { role } of guest.definition.disks) if (world.disks.get(instance)?.has(role) !== true) throw missing(`the ${role} disk`);
      if (guest.isRunning) return;
      for (const nic of guest.definition.nics) if (!world.taps.has(nic.tapName)) throw missing('tap');
      guest.isRunning = true;
      guest.starts += 1;
      guest.memory = guest.starts;
      writeDisks(world, instance);
      guest.variablesSince ??= guest.starts;
    },
    whyNoSuspend: async (instance: InstanceUuid) => (!world.canSave ? 'no self-test has restored a guest here' : running(instance).isPaused === true ? 'the guest is paused: unpause it first' : null),
    hasSave: async (instance: InstanceUuid) => guestOf(instance)?.save !== undefined,
    async suspend(instance: InstanceUuid, { holdDisks }: Parameters<HypervisorDriver['suspend']>[1], half?: Half) {
      const guest = guestOf(instance);
      if (guest?.save !== undefined && !guest.isRunning) return;
      const partial = world.partialSaves.get(instance);
      if (guest === undefined || (!guest.isRunning && partial === undefined)) throw new AgentError('guest-not-running', 'x', { wire: novaFaults.instanceNotRunning(instance) });
      const memory = partial ?? guest.memory ?? 0;
      world.partialSaves.set(instance, memory);
      await half?.();
      end(guest);
      const disks = await holdDisks();
      await half?.();
      guest.save = { memory, disks, writtenBy: writtenBy(world, instance) };
      world.partialSaves.delete(instance);
    },
    async resume(instance: InstanceUuid, { disks, onUp }: Parameters<HypervisorDriver['resume']>[1], half?: Half) {
      const guest = guestOf(instance);
      if (guest?.isRunning !== true) {
        if (guest?.save === undefined) throw new AgentError('save-missing', 'x', { wire: novaFaults.instanceResumeFailure('no save') });
        if (JSON.stringify(guest.save.disks) !== JSON.stringify(disks)) throw new AgentError('save-mismatch', 'x', { wire: novaFaults.instanceResumeFailure('its root disk is not as it was') });
        for (const nic of guest.definition.nics) if (!world.taps.has(nic.tapName)) throw missing('tap');
        if (world.restores === 'refused') throw new AgentError('guest-resume-failed', 'x', { wire: novaFaults.instanceResumeFailure('bhyve did not take the save back') });
        guest.isRunning = true;
        guest.memory = guest.save.memory;
        if (guest.save.writtenBy !== writtenBy(world, instance)) world.torn.push(instance);
        writeDisks(world, instance);
        onUp?.();
      }
      await half?.();
      delete guest.save;
    },
    isSaving: async (instance: InstanceUuid) => world.partialSaves.has(instance),
    async keepSave(instance: InstanceUuid, id: string, half?: Half) {
      const memory = guestOf(instance)?.save?.memory;
      if (memory === undefined) throw new AgentError('save-missing', 'x');
      await half?.();
      world.keptFiles.set(id, { instance, memory, writtenBy: guestOf(instance)?.save?.writtenBy, variablesSince: guestOf(instance)?.variablesSince ?? null });
      return { sum: `memory ${memory}`, bytes: 1n << 27n };
    },
    async keepVariables(instance: InstanceUuid, id: string) {
      if (guestOf(instance) !== undefined) world.keptFiles.set(id, { instance, memory: null, variablesSince: guestOf(instance)?.variablesSince ?? null });
    },
    whyNoReturn: async (_instance: InstanceUuid, id: string, memory: CheckpointMemory) => (memory.sum === `memory ${world.keptFiles.get(id)?.memory}` ? null : 'its memory is not on this host any more'),
    async putBackSave(instance: InstanceUuid, id: string, disks: Readonly<Record<string, string>>, half?: Half) {
      const guest = guestOf(instance);
      const memory = world.keptFiles.get(id)?.memory;
      if (guest === undefined || memory === undefined || memory === null) throw new AgentError('save-missing', 'x');
      delete guest.save;
      await half?.();
      guest.save = { memory, disks, writtenBy: world.keptFiles.get(id)?.writtenBy };
    },
    async putBackVariables(instance: InstanceUuid, id: string) {
      const guest = guestOf(instance);
      const kept = world.keptFiles.get(id);
      if (guest !== undefined && kept !== undefined) guest.variablesSince = kept.variablesSince;
    },
    keptFiles: async (_instance: InstanceUuid, id: string) => {
      const kept = world.keptFiles.get(id);
      if (kept === undefined) return [];
      return [keptFile('nvram.fd', kept.variablesSince), ...(kept.memory === null ? [] : [keptFile('ram', { memory: kept.memory, writtenBy: kept.writtenBy }), keptFile('manifest.json', kept.memory)])];
    },
    async importKept(instance: InstanceUuid, id: string, files: readonly KeptFile[], { memory }: { memory: CheckpointMemory | null }, half?: Half) {
      const read = async (name: string): Promise<unknown> => {
        const file = files.find((one) => one.name === name);
        return file === undefined ? null : JSON.parse(await octetsOf(file.open()));
      };
      const variablesSince = await read('nvram.fd') as number | null;
      const ram = memory === null ? { memory: null } : await read('ram') as { memory: number; writtenBy?: number };
      await half?.();
      world.keptFiles.set(id, { instance, variablesSince, ...ram });
    },
    seal: async (instance: InstanceUuid, id: string, { sum }: CheckpointMemory) => `sealed ${instance} ${id} ${sum}`,
    kept: async (instance: InstanceUuid) => [...world.keptFiles].filter(([, kept]) => kept.instance === instance).map(([id]) => parseCheckpointId(id)),
    dropKept: async (_instance: InstanceUuid, id: string) => { world.keptFiles.delete(id); },
    async dropSave(instance: InstanceUuid) { delete guestOf(instance)?.save; },
    async stop(instance: InstanceUuid) {
      const guest = guestOf(instance);
      if (guest !== undefined) end(guest);
      return null;
    },
    pause: async (instance: InstanceUuid) => void (running(instance).isPaused = true),
    unpause: async (instance: InstanceUuid) => void (running(instance).isPaused = false),
    injectNmi: async (instance: InstanceUuid) => void running(instance),
    async softReboot(instance: InstanceUuid, _options: unknown, half?: Half) {
      const guest = guestOf(instance);
      if (guest === undefined) return false;
      guest.isRunning = false;
      await half?.();
      guest.isRunning = true;
      guest.starts += 1;
      return true;
    },
    async forgetVariables(instance: InstanceUuid) {
      const guest = guestOf(instance);
      if (guest !== undefined) guest.variablesSince = null;
    },
    async destroy(instance: InstanceUuid, half?: Half) {
      const guest = guestOf(instance);
      if (guest !== undefined) end(guest);
      await half?.();
      world.folders.delete(instance);
      for (const [id, kept] of world.keptFiles) if (kept.instance === instance) world.keptFiles.delete(id);
    },
    adopt: async () => undefined,
    onEvent: () => undefined,
  };
  return withEffects(base as unknown as HypervisorDriver, 'driver', crash, ['define', 'start', 'stop', 'softReboot', 'pause', 'unpause', 'suspend', 'resume', 'dropSave', 'keepSave', 'keepVariables', 'importKept', 'putBackSave', 'putBackVariables', 'dropKept', 'forgetVariables', 'destroy']);
}

export function fakeConfigDrive(world: World, crash: CrashRecorder): ConfigDriveWriter {
  const base: ConfigDriveWriter = {
    isRequired: () => true,
    async write({ instance, isForRescue }) {
      const uuid = instance.get('uuid') as InstanceUuid;
      if (!world.folders.has(uuid)) world.folders.set(uuid, 'empty');
      if (isForRescue === true) world.rescueDrives.add(uuid);
      return `/state/${uuid}/${isForRescue === true ? 'config-rescue' : 'config'}.iso`;
    },
    existing: async (instance) => (world.folders.has(instance) ? `/state/${instance}/config.iso` : null),
    removeForRescue: async (instance) => { world.rescueDrives.delete(instance); },
  };
  return withEffects(base, 'configDrive', crash, ['write', 'removeForRescue']);
}
