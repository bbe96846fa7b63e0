import { createObject, type NovaObject } from '../objects/index.js';
import type { GuestDiagnostics } from '../virt/index.js';
import type { ReleaseProfile } from '../conductor/index.js';
import { diagnosticsOf } from './get-diagnostics.js';
import type { InstanceMethod } from './operation.js';
import { onlyInstance, questionWrappers, type OnlyInstance } from './questions.js';

/** The Diagnostics object of API microversion 2.48 and later (nova-contract 15). */
export const getInstanceDiagnostics: InstanceMethod<OnlyInstance> = {
  kind: 'instance',
  rpc: 'get_instance_diagnostics',
  args: onlyInstance,
  wrappers: questionWrappers,
  gate: null,
  isJournalled: false,
  async run(operation) {
    const found = await diagnosticsOf(operation, 'get_instance_diagnostics');
    const hasConfigDrive = operation.args.instance.get('config_drive') === 'True';
    return diagnosticsObject(operation.deps.conductor.profile, found, hasConfigDrive).toWire();
  },
};

function diagnosticsObject(profile: ReleaseProfile, found: GuestDiagnostics, hasConfigDrive: boolean): NovaObject {
  const child = (name: 'CpuDiagnostics' | 'NicDiagnostics' | 'DiskDiagnostics' | 'MemoryDiagnostics', fields: Record<string, unknown>): NovaObject =>
    createObject(profile, name, fields);
  return createObject(profile, 'Diagnostics', {
    state: found.state,
    driver: 'libvirt', // a closed enumeration in Nova's API, without bhyve
    hypervisor: 'bhyve',
    hypervisor_os: 'freebsd',
    uptime: found.uptimeSeconds,
    config_drive: hasConfigDrive,
    num_cpus: found.cpus.length,
    num_nics: found.nics.length,
    num_disks: found.disks.length,
    memory_details: child('MemoryDiagnostics', { maximum: found.memoryMaximumMiB, used: found.memoryUsedMiB }),
    cpu_details: found.cpus.map((cpu) => child('CpuDiagnostics', { id: cpu.id, time: cpu.timeNs === null ? null : Number(cpu.timeNs), utilisation: null })),
    nic_details: found.nics.map((nic) => child('NicDiagnostics', {
      mac_address: nic.mac, rx_octets: nic.rxOctets, rx_errors: nic.rxErrors, rx_drop: nic.rxDrop, rx_packets: nic.rxPackets, rx_rate: null,
      tx_octets: nic.txOctets, tx_errors: nic.txErrors, tx_drop: nic.txDrop, tx_packets: nic.txPackets, tx_rate: null,
    })),
    disk_details: found.disks.map((disk) => child('DiskDiagnostics', {
      read_bytes: disk.readBytes, read_requests: null, write_bytes: disk.writeBytes, write_requests: null, errors_count: null,
    })),
  });
}
