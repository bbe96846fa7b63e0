/** A guest as the compute service would ask for it. */
import { parseInstanceUuid } from '../../src/lib/ids.js';
import { noLimits, type GuestDefinition } from '../../src/virt/index.js';

export const instanceA = parseInstanceUuid('0f3c7d2a-5b1e-4c1e-9a57-0c5d7e3f1a21');
export const instanceB = parseInstanceUuid('0f3c7d2a-5b1e-4c1e-9a57-0c5d7e3f1a22');

export function guestDefinition(changes: Partial<GuestDefinition> = {}): GuestDefinition {
  const instance = changes.instance ?? instanceA;
  return {
    instance, name: 'instance-00000001', vcpus: 2, topology: { sockets: changes.vcpus ?? 2, cores: 1, threads: 1 }, memoryMiB: 512,
    disks: [{ role: 'root', path: `/dev/zvol/tank/nova/${instance}`, serial: instance, bus: 'virtio', kind: 'disk' }],
    configDrive: { path: `/var/db/nova-bhyve/instances/${instance}/config.iso` },
    nics: [{ port: '1a2b3c4d-5e6f-4a1b-8c9d-0e1f2a3b4c5d', tapName: 'tap1a2b3c4d-5e', mac: 'fa:16:3e:aa:bb:cc', mtu: 1450, model: 'virtio' }],
    hasVnc: true, hasTablet: true, hasRng: false, clock: 'utc', limits: noLimits,
    ...changes,
  };
}
