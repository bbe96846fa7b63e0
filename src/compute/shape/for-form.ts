import type { DiskForm } from '../../storage/index.js';
import type { HostCapabilities } from '../../virt/index.js';

/**
 * What this host has for a server on disks of this form. libvdsk was tried with AHCI only, and makes checkpoints of no others: an image or a mapping that insists on
 * another bus is refused, and nobody else notices that it is SATA.
 */
export function capabilitiesFor<T extends Pick<HostCapabilities, 'deviceModels'>>(capabilities: T, form: DiskForm): T {
  if (form === 'raw') return capabilities;
  return { ...capabilities, deviceModels: new Set([...capabilities.deviceModels].filter((model) => model !== 'virtio-blk' && model !== 'nvme')) };
}
