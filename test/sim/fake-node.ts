/** Disks, taps, guests and config drives as the compute methods see them, on a World. */
import { AgentError } from '../../src/lib/errors.js';
import type { InstanceUuid } from '../../src/lib/ids.js';
import { novaFaults } from '../../src/lib/nova-faults.js';
import { rolePlace, type ConfigDriveWriter, type DiskInfo, type DiskRole, type NodeStorage } from '../../src/storage/index.js';
import type { Plugger } from '../../src/network/index.js';
import { powerStates, type GuestState, type HostCapabilities, type HypervisorDriver } from '../../src/virt/index.js';
import type { FakeDisk, Guest, World } from './world.js';
import { withEffects, type CrashRecorder } from './crash.js';
import { missing } from './fake-cloud.js';

type Half = () => Promise<void>;

export function fakeStorage(world: World, crash: CrashRecorder): NodeStorage {
  const base = {
    prepare: async () => undefined,
    usage: async () => ({ totalBytes: 1n << 40n, availableBytes: 1n << 39n, usedBytes: 0n }),
    async ensureImage(image: { id: string }) {
      world.images.add(image.id);
      return { id: image.id, virtualBytes: 4096n, detectedFormat: 'raw' };
    },
    async createDiskFromImage(instance: InstanceUuid, role: DiskRole, image: string, _bytes: bigint | null, half?: Half) {
      if (!world.images.has(image)) throw missing('image is not cached');
      const found = world.disks.get(instance)?.get(role);
      if (found !== undefined && found.image !== image) throw missing('another image in the place of the disk');
      await makeDisk(world, instance, role, image, half);
      return diskInfo(instance, role);
    },
    async createBlankDisk(instance: InstanceUuid, role: DiskRole, _bytes: bigint, half?: Half) {
      await makeDisk(world, instance, role, null, half);
      return diskInfo(instance, role);
    },
    async growDisk(instance: InstanceUuid, role: DiskRole) {
      if (world.disks.get(instance)?.has(role) !== true) throw missing(`${role} disk`);
      return diskInfo(instance, role);
    },
    disks: async (instance: InstanceUuid) => [...(world.disks.get(instance)?.keys() ?? [])].sort((a, b) => rolePlace(a) - rolePlace(b)).map((role) => diskInfo(instance, role)),
    async buryDisk(instance: InstanceUuid, role: DiskRole) {
      if (world.disks.get(instance)?.delete(role) === true) world.graveyard.push(`${instance}/${role}`);
    },
    async buryDisks(instance: InstanceUuid) {
      if (world.folders.get(instance) !== undefined && world.folders.get(instance) !== 'empty' && (world.folders.get(instance) as Guest).isRunning) throw missing('dataset is busy');
      if (world.disks.delete(instance)) world.graveyard.push(instance);
    },
    async reap() {
      const destroyed = world.graveyard.splice(0).length;
      return { destroyed, left: 0 };
    },
    instancesWithDisks: async () => [...world.disks.keys()],
    images: async () => [],
    dropImage: async () => false,
  };
  return withEffects(base as unknown as NodeStorage, 'storage', crash, ['ensureImage', 'createDiskFromImage', 'createBlankDisk', 'growDisk', 'buryDisk', 'buryDisks', 'reap']);
}

const diskInfo = (instance: InstanceUuid, role: DiskRole): DiskInfo =>
  ({ role, dataset: `pool/${instance}/${role}`, devicePath: `/dev/zvol/pool/${instance}/${role}`, bytes: 1n << 30n });

async function makeDisk(world: World, instance: InstanceUuid, role: DiskRole, image: string | null, half?: Half): Promise<void> {
  const disks = world.disks.get(instance) ?? new Map<DiskRole, FakeDisk>();
  world.disks.set(instance, disks);
  if (!disks.has(role)) disks.set(role, { isGrown: false, image });
  await half?.();
  disks.set(role, { isGrown: true, image });
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
  deviceModels: new Set(), hasSnapshot: false, hasTcpConsole: false, bootromKey: 'lpc', hasFramebuffer: true, firmware: { code: '/c', vars: '/v' }, suspendExit: null, findings: [],
};

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
    capabilities,
    list: async () => [...world.folders.keys()],
    state: async (instance: InstanceUuid) => stateOf(instance),
    powerState: async (instance: InstanceUuid) => {
      const state = stateOf(instance);
      if (state.kind === 'running') return state.isPaused ? powerStates.paused : powerStates.running;
      return state.kind === 'stopped' ? powerStates.shutdown : powerStates.noState;
    },
    async define(definition: Guest['definition'], half?: Half) {
      const known = guestOf(definition.instance);
      if (known?.isRunning === true) throw missing('define of a running guest');
      if (known === undefined) world.folders.set(definition.instance, 'empty');
      await half?.();
      world.folders.set(definition.instance, { definition, isRunning: false, starts: known?.starts ?? 0 });
    },
    definition: async (instance: InstanceUuid) => guestOf(instance)?.definition,
    async start(instance: InstanceUuid) {
      const guest = guestOf(instance);
      if (guest === undefined || !world.disks.has(instance)) throw missing('guest or disk');
      if (guest.isRunning) return;
      for (const nic of guest.definition.nics) if (!world.taps.has(nic.tapName)) throw missing('tap');
      guest.isRunning = true;
      guest.starts += 1;
    },
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
    async destroy(instance: InstanceUuid, half?: Half) {
      const guest = guestOf(instance);
      if (guest !== undefined) end(guest);
      await half?.();
      world.folders.delete(instance);
    },
    adopt: async () => undefined,
    onEvent: () => undefined,
  };
  return withEffects(base as unknown as HypervisorDriver, 'driver', crash, ['define', 'start', 'stop', 'softReboot', 'pause', 'unpause', 'destroy']);
}

export function fakeConfigDrive(world: World, crash: CrashRecorder): ConfigDriveWriter {
  const base: ConfigDriveWriter = {
    isRequired: () => true,
    async write({ instance }) {
      const uuid = instance.get('uuid') as InstanceUuid;
      if (!world.folders.has(uuid)) world.folders.set(uuid, 'empty');
      return `/state/${uuid}/config.iso`;
    },
  };
  return withEffects(base, 'configDrive', crash, ['write']);
}
