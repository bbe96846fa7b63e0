/**
 * The traits of our provider: the union of what is ours and what others set. We add and remove only traits of the owned set;
 * everything else, CUSTOM_ ones of operators above all, stays. Pure. Names: nova-contract 8.
 */

const named = (prefix: string, ...names: string[]): string[] => names.map((name) => `${prefix}${name}`);

/** Image formats that storage takes; minus `[compute]image_type_exclude_list`. */
const imageTypes = ['RAW', 'QCOW2', 'VMDK', 'VDI', 'VHD', 'ISO'];

/** Traits that only the compute service may decide about; an operator's setting of one of them is undone, as in Nova. */
const ownedTraits: ReadonlySet<string> = new Set([
  'COMPUTE_NODE', 'COMPUTE_STATUS_DISABLED', 'OWNER_NOVA',
  ...named('COMPUTE_', 'NET_ATTACH_INTERFACE', 'NET_ATTACH_INTERFACE_WITH_TAG', 'DEVICE_TAGGING', 'VOLUME_ATTACH_WITH_TAG', 'VOLUME_EXTEND', 'VOLUME_MULTI_ATTACH',
    'TRUSTED_CERTS', 'ACCELERATORS', 'SAME_HOST_COLD_MIGRATE', 'RESCUE_BFV', 'SECURITY_UEFI_SECURE_BOOT', 'EPHEMERAL_ENCRYPTION',
    'EPHEMERAL_ENCRYPTION_LUKS', 'EPHEMERAL_ENCRYPTION_PLAIN', 'REMOTE_MANAGED_PORTS', 'SOCKET_PCI_NUMA_AFFINITY', 'ADDRESS_SPACE_PASSTHROUGH',
    'ADDRESS_SPACE_EMULATED', 'STORAGE_VIRTIO_FS', 'MEM_BACKING_FILE', 'FIRMWARE_UEFI', 'FIRMWARE_BIOS'),
  ...named('COMPUTE_IMAGE_TYPE_', ...imageTypes, 'VHDX', 'PLOOP', 'AMI', 'AKI', 'ARI'),
  ...named('COMPUTE_STORAGE_BUS_', 'VIRTIO', 'SATA', 'SCSI', 'IDE', 'USB', 'FDC', 'LXC', 'UML', 'XEN', 'NVME'),
  ...named('COMPUTE_NET_VIF_MODEL_', 'VIRTIO', 'E1000', 'E1000E', 'NE2K_PCI', 'NETFRONT', 'PCNET', 'RTL8139', 'LAN9118', 'SPAPR_VLAN', 'VMXNET', 'VMXNET3', 'SRIOV', 'IGB'),
  ...named('COMPUTE_GRAPHICS_MODEL_', 'VGA', 'GOP', 'NONE', 'CIRRUS', 'QXL', 'VIRTIO', 'VMVGA', 'XEN', 'BOCHS'),
  ...named('HW_ARCH_', 'X86_64', 'I686', 'AARCH64'), ...named('COMPUTE_ARCH_', 'X86_64', 'AARCH64'),
  ...named('HW_CPU_X86_', '3DNOW', 'ABM', 'AESNI', 'AMXBF16', 'AMXINT8', 'AMXTILE', 'AVX', 'AVX2', 'AVX512F', 'AVX512CD', 'AVX512ER', 'AVX512PF', 'AVX512BW', 'AVX512DQ',
    'AVX512VL', 'AVX512IFMA', 'AVX512VBMI', 'AVX512VBMI2', 'AVX512VNNI', 'AVX512BITALG', 'AVX512VPOPCNTDQ', 'AVX512VAES', 'AVX512GFNI', 'AVX512VPCLMULQDQ', 'BMI',
    'BMI2', 'CLMUL', 'F16C', 'FMA3', 'FMA4', 'MMX', 'MPX', 'SHA', 'SSE', 'SSE2', 'SSE3', 'SSE41', 'SSE42', 'SSE4A', 'SSSE3', 'TBM', 'XOP'),
]);

/** The agent's own custom traits; operators are told in the README not to use this prefix. */
const OWN_CUSTOM = 'CUSTOM_BHYVE_';

const isOwned = (trait: string): boolean => ownedTraits.has(trait) || trait.startsWith(OWN_CUSTOM);

export interface TraitWish {
  /** What the hypervisor gives (HostInventory.traits). */
  readonly host: readonly string[];
  readonly excludedImageTypes: readonly string[];
  readonly needsOwnerNova: boolean;
  /** Service.disabled; null when it is not known: the trait stays as it is. */
  readonly isDisabled: boolean | null;
  /** What the operator's provider.yaml adds; custom ones only. */
  readonly additional?: readonly string[];
}

/** Traits that should be set, before asking which of them this Placement knows. */
export function ownTraits(wish: TraitWish): string[] {
  const excluded = new Set(wish.excludedImageTypes.map((type) => type.toUpperCase()));
  return [
    'COMPUTE_NODE',
    ...(wish.needsOwnerNova ? ['OWNER_NOVA'] : []),
    ...named('COMPUTE_IMAGE_TYPE_', ...imageTypes.filter((type) => !excluded.has(type))),
    ...wish.host,
    ...(wish.additional ?? []),
    ...(wish.isDisabled === true ? ['COMPUTE_STATUS_DISABLED'] : []),
  ];
}

/** What the provider's traits should be, sorted. `usable` are those of ownTraits that Placement has. */
export function wantedTraits(wish: TraitWish, stored: readonly string[], usable: ReadonlySet<string>): string[] {
  const foreign = stored.filter((trait) => !isOwned(trait) || (trait === 'COMPUTE_STATUS_DISABLED' && wish.isDisabled === null));
  return [...new Set([...foreign, ...ownTraits(wish).filter((trait) => usable.has(trait))])].sort();
}

/** The same with or without the trait that keeps the scheduler away. */
export function withDisabledTrait(stored: readonly string[], isDisabled: boolean): string[] {
  const others = stored.filter((trait) => trait !== 'COMPUTE_STATUS_DISABLED');
  return (isDisabled ? [...others, 'COMPUTE_STATUS_DISABLED'] : others).sort();
}

export const isCustom = (trait: string): boolean => trait.startsWith('CUSTOM_');
export const sameTraits = (left: readonly string[], right: readonly string[]): boolean =>
  left.length === right.length && [...left].sort().join() === [...right].sort().join();
