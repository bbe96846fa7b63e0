/** The host as Nova and Placement see it. */
import { AgentError } from '../../lib/errors.js';
import type { Host } from '../../host/index.js';
import { canSaveNvme, type HostCapabilities, type HostInventory } from '../types.js';
import { cpuTraits } from './cpu-features.js';

const MiB = 1024 * 1024;

/** What guests have here by the configuration. */
export interface GuestFacts { readonly hasScreens: boolean; readonly hasSataDisksOnly: boolean }

/** Reads the host now. `hypervisorHostname` replaces kern.hostname where the operator gave a name. */
export async function readInventory(host: Host, capabilities: HostCapabilities, guests: GuestFacts, hypervisorHostname: string | undefined): Promise<HostInventory> {
  const numberOf = async (name: string): Promise<number> => {
    const value = Number(await host.sysctl(name));
    if (!Number.isFinite(value)) throw new AgentError('host-unusable', `sysctl ${name} gives no number`);
    return value;
  };
  const optional = async (name: string): Promise<number> => Number((await host.sysctl(name)) ?? 0) || 0;
  // At the same time: the host asks sysctl(8) once for all of them.
  const [vcpus, physicalBytes, pageBytes, cores, threads, arcBytes, ...free] = await Promise.all([
    numberOf('hw.ncpu'), numberOf('hw.physmem'), numberOf('hw.pagesize'), optional('kern.smp.cores'), optional('kern.smp.threads_per_core'),
    optional('kstat.zfs.misc.arcstats.size'), ...['free', 'inactive', 'laundry', 'cache'].map((name) => optional(`vm.stats.vm.v_${name}_count`)),
  ]);
  const freePages = free.reduce((sum, pages) => sum + pages, 0);
  // The ARC is wired, but shrinks when guests need the memory.
  const freeBytes = freePages * pageBytes + arcBytes;
  const isArm = capabilities.architecture === 'arm64';
  return {
    vcpus,
    memoryMiB: Math.floor(physicalBytes / MiB),
    memoryUsedMiB: Math.max(0, Math.floor((physicalBytes - freeBytes) / MiB)),
    hypervisorVersion: hypervisorVersion(capabilities.release),
    hypervisorHostname: hypervisorHostname ?? (await host.sysctl('kern.hostname')) ?? 'localhost',
    cpuInfo: JSON.stringify({
      arch: isArm ? 'aarch64' : 'x86_64',
      model: capabilities.cpuModel,
      vendor: capabilities.cpuVendor,
      topology: topology(vcpus, Math.max(1, cores), Math.max(1, threads)),
      features: capabilities.cpuFeatures.map((feature) => feature.toLowerCase()),
    }),
    supportedArchitectures: isArm ? ['aarch64'] : ['x86_64', 'i686'],
    traits: hostTraits(capabilities, guests),
  };
}

/** FreeBSD tells cores and threads but not sockets; the product must be the CPUs that are there. */
function topology(vcpus: number, cores: number, threads: number): Record<string, number> {
  return cores * threads === vcpus ? { cells: 1, sockets: 1, cores, threads } : { cells: 1, sockets: 1, cores: vcpus, threads: 1 };
}

/** `13.2-RELEASE-p11` → 13002000: Nova compares major·10⁶ + minor·10³ + patch, and a patch level does not change what bhyve can read. */
export function hypervisorVersion(release: string): number {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(release) ?? [];
  return major === undefined ? 0 : Number(major) * 1_000_000 + Number(minor) * 1000;
}

/** Only what a guest can really have here: a trait that is set too much lets the scheduler send what we must refuse. */
export function hostTraits(capabilities: HostCapabilities, { hasScreens, hasSataDisksOnly }: GuestFacts): string[] {
  const models = ([
    ['virtio-blk', 'COMPUTE_STORAGE_BUS_VIRTIO'], ['ahci', 'COMPUTE_STORAGE_BUS_SATA'], ['virtio-net', 'COMPUTE_NET_VIF_MODEL_VIRTIO'], ['e1000', 'COMPUTE_NET_VIF_MODEL_E1000'],
  ] as const).filter(([model]) => capabilities.deviceModels.has(model) && !(model === 'virtio-blk' && hasSataDisksOnly)).map(([, trait]) => trait);
  const shared = [...models, 'COMPUTE_GRAPHICS_MODEL_NONE', 'COMPUTE_DEVICE_TAGGING'];
  if (capabilities.architecture === 'arm64') return [...shared, 'HW_ARCH_AARCH64', 'COMPUTE_ARCH_AARCH64', 'COMPUTE_FIRMWARE_UEFI'].sort();
  return [
    ...shared,
    // `gop` is what Nova calls bhyve's framebuffer.
    ...(capabilities.hasFramebuffer && hasScreens ? ['COMPUTE_GRAPHICS_MODEL_GOP'] : []),
    'HW_ARCH_X86_64', 'COMPUTE_ARCH_X86_64', 'COMPUTE_FIRMWARE_UEFI',
    ...(capabilities.hasSnapshot ? ['CUSTOM_BHYVE_SNAPSHOT'] : []),
    ...(capabilities.hasLibvdsk ? ['CUSTOM_BHYVE_LIBVDSK'] : []),
    ...saveTraits(capabilities),
    ...cpuTraits(capabilities.cpuFeatures),
  ].sort();
}

/**
 * A guest that is to be suspended belongs on a host whose self-test has passed; one with two disks where bhyve saves each device, not each type; one with an NVMe
 * disk where the self-test had one. None of them where bhyve saves beside disks that are files only: servers have volumes of ZFS.
 */
const saveTraits = ({ saveRestore: saves, sandbox }: HostCapabilities): string[] => (saves.status !== 'ready' || sandbox === 'first-disk' ? [] : [
  'CUSTOM_BHYVE_SAVE_RESTORE', ...(saves.family === 'kern-structs' ? ['CUSTOM_BHYVE_SAVE_MULTI'] : []), ...(canSaveNvme(saves) ? ['CUSTOM_BHYVE_SAVE_NVME'] : []),
]);
