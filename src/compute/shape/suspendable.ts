/** Flavors that want their servers to be suspendable say so to the scheduler; what image and disks ask for must not take that away again. Pure. */
import { canSaveNvme, type HostCapabilities } from '../../virt/index.js';

const wish = 'trait:CUSTOM_BHYVE_SAVE_RESTORE';

/** `buses`: those that image and disks name. A sentence if a server with them could not be suspended here though its flavor wants it; null otherwise. */
export function whyNotSuspendable(extraSpecs: Readonly<Record<string, string>>, buses: readonly (string | null | undefined)[], capabilities: Pick<HostCapabilities, 'saveRestore'>): string | null {
  if (extraSpecs[wish] !== 'required' || canSaveNvme(capabilities.saveRestore) || !buses.some((bus) => bus?.toLowerCase() === 'nvme')) return null;
  return `the flavor wants a server that can be suspended (${wish}=required), and this host does not save NVMe disks: use virtio or sata disks, or a flavor that requires the trait CUSTOM_BHYVE_SAVE_NVME`;
}
