/** Whether this host can run servers on the disks that `[bhyve] disk_format` wants for new ones. */
import type { Config } from './config/index.js';
import { AgentError } from './lib/errors.js';
import type { HostCapabilities } from './virt/index.js';

/** AgentError `host-unusable`: a bhyve without libvdsk would show its guest the file instead of the disk in it. */
export function refuseFormatWithoutReader({ bhyve }: Pick<Config, 'bhyve'>, { hasLibvdsk }: Pick<HostCapabilities, 'hasLibvdsk'>): void {
  if (bhyve.disk_format !== 'qcow2' || hasLibvdsk) return;
  throw new AgentError('host-unusable', '[bhyve] disk_format is qcow2, and the bhyve of this host opens raw disks only (no libvdsk): set it to raw, or install a bhyve with libvdsk');
}
