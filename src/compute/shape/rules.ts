/**
 * What the image properties and flavor extra specs of Nova ask of a machine, each with the answer of this host. Extra specs `hw:x` mean the
 * same as properties `hw_x`. A `hw_` property or `hw:` extra spec that is not here is refused: it asks for something that we do not know.
 */
import type { HostCapabilities } from '../../virt/index.js';
import { isTrue } from './boolean.js';

export interface RuleFacts {
  readonly capabilities: HostCapabilities;
  /** Guests on this host may have screens ([vnc]enabled). */
  readonly hasScreens: boolean;
}

/** Null: given. Otherwise what the host has instead, to end the sentence "… is not supported by this host". */
export type Rule = (value: string, facts: RuleFacts) => string | null;

const given: Rule = () => null;
const never: Rule = () => '';
const unless = (...harmless: readonly string[]): Rule => (value) => (harmless.includes(value.toLowerCase()) ? null : '');
/** Asked for only when it is true. */
const ifTrue: Rule = (value) => (isTrue(value) ? '' : null);

/** Values that need a device model of bhyve. */
const models = (known: Readonly<Record<string, string>>): Rule => (value, { capabilities }) => {
  const model = known[value.toLowerCase()];
  if (model !== undefined && capabilities.deviceModels.has(model)) return null;
  return Object.keys(known).filter((name) => capabilities.deviceModels.has(known[name]!)).join(', ');
};

const architecture: Rule = (value, { capabilities }) => {
  const ours = capabilities.architecture === 'amd64' ? ['x86_64', 'amd64', 'i686', 'x86'] : ['aarch64', 'arm64'];
  return ours.includes(value.toLowerCase()) ? null : ours[0]!;
};

const video: Rule = (value, { capabilities, hasScreens }) => {
  const known = capabilities.hasFramebuffer && hasScreens ? ['none', 'gop'] : ['none'];
  return known.includes(value.toLowerCase()) ? null : known.join(', ');
};

/** bhyve's framebuffer has 16 MiB. */
const videoMemory: Rule = (value) => (Number(value) <= 16 ? null : '16 MiB');

const diskBuses = { virtio: 'virtio-blk', sata: 'ahci', nvme: 'nvme' } as const;

export const machineRules: Readonly<Record<string, Rule>> = {
  // Ours: Nova's API knows no bus `nvme`, neither as hw_disk_bus nor as disk_bus of a mapping.
  bhyve_disk_bus: models(diskBuses),
  hw_architecture: architecture,
  hw_emulation_architecture: architecture,
  hw_auto_disk_config: given,
  hw_boot_menu: ifTrue,
  hw_cdrom_bus: models({ sata: 'ahci' }),
  // Sockets, cores and threads are judged together (topology.ts).
  hw_cpu_cores: given, hw_cpu_sockets: given, hw_cpu_threads: given, hw_cpu_max_cores: given, hw_cpu_max_sockets: given, hw_cpu_max_threads: given,
  hw_max_cpu_cores: given, hw_max_cpu_sockets: given, hw_max_cpu_threads: given,
  hw_cpu_policy: unless('shared'),
  hw_cpu_thread_policy: unless('prefer'),
  hw_cpu_realtime: ifTrue,
  hw_cpu_realtime_mask: never, hw_cpu_dedicated_mask: never, hw_emulator_threads_policy: never,
  hw_device_id: given, hw_disk_type: given, hw_floppy_bus: given, hw_scsi_model: given, // of other drivers, or of a bus that is refused anyway
  hw_disk_bus: models(diskBuses),
  hw_ephemeral_encryption: ifTrue,
  hw_ephemeral_encryption_format: never,
  hw_ephemeral_encryption_secret_uuid: never,
  hw_firmware_type: (value) => (value.toLowerCase() === 'uefi' ? null : 'uefi'),
  hw_firmware_stateless: ifTrue,
  hw_hide_hypervisor_id: ifTrue,
  hw_input_bus: (value) => (['usb', 'ps2'].includes(value.toLowerCase()) ? null : 'usb, ps2'),
  hw_ipxe_boot: ifTrue,
  hw_locked_memory: ifTrue,
  // The chipset is bhyve's own; guests that ask for one of these find what they need.
  hw_machine_type: (value) => (/^(pc|q35|virt)\b/.test(value.toLowerCase()) ? null : 'q35, pc'),
  hw_maxphysaddr_bits: never, hw_maxphysaddr_mode: never,
  hw_mem_encryption: ifTrue,
  hw_mem_encryption_model: never,
  hw_mem_page_size: unless('small', 'any'),
  hw_numa_nodes: never,
  hw_pci_numa_affinity_policy: given,
  hw_pmem: never,
  hw_pmu: ifTrue,
  hw_pointer_model: (value) => (['usbtablet', 'ps2mouse'].includes(value.toLowerCase()) ? null : 'usbtablet, ps2mouse'),
  // A permission, not a demand: what needs an agent says so when it is asked for.
  hw_qemu_guest_agent: given,
  hw_redirected_usb_ports: unless('0'),
  hw_rescue_bus: models(diskBuses),
  hw_rescue_device: (value) => (['disk', 'cdrom'].includes(value.toLowerCase()) ? null : 'disk, cdrom'),
  hw_rng_model: models({ virtio: 'virtio-rnd' }),
  hw_serial_port_count: (value) => (value === '1' ? null : '1'),
  hw_sound_model: never,
  // Every guest has one: it cannot be taken away.
  hw_time_hpet: (value) => (isTrue(value) ? null : 'true'),
  hw_tpm_model: never, hw_tpm_version: never, hw_tpm_secret_security: never,
  hw_usb_model: never,
  hw_video_model: video,
  hw_video_ram: videoMemory,
  hw_vif_model: models({ virtio: 'virtio-net', e1000: 'e1000' }),
  hw_vif_multiqueue_enabled: ifTrue,
  hw_viommu_model: never,
  hw_virtio_packed_ring: ifTrue,
  hw_vm_mode: (value) => (value.toLowerCase() === 'hvm' ? null : 'hvm'),
  hw_watchdog_action: unless('disabled'),
  img_hide_hypervisor_id: ifTrue,
  img_hv_type: (value) => (value.toLowerCase() === 'bhyve' ? null : 'bhyve'),
  kernel_id: never,
  os_secure_boot: unless('disabled', 'optional'),
};

/** Extra specs outside `hw:` and `quota:` that ask something of a machine. The rest is the scheduler's and Placement's, or another driver's. */
export const extraSpecRules: Readonly<Record<string, Rule>> = {
  'hw_rng:rate_bytes': (value) => (Number(value) > 0 ? '' : null),
  'os:secure_boot': unless('disabled', 'optional'),
  'pci_passthrough:alias': never,
  'accel:device_profile': never,
  'hide_hypervisor_id': ifTrue,
};
