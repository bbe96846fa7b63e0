import { parseInstanceUuid } from '../lib/ids.js';
import { novaFaults, refuse } from '../lib/nova-faults.js';
import type { GuestDiagnostics } from '../virt/index.js';
import type { InstanceMethod, Operation } from './operation.js';
import { onlyInstance, questionWrappers, type OnlyInstance } from './questions.js';

/** The free-form map of API microversions below 2.48. */
export const getDiagnostics: InstanceMethod<OnlyInstance> = {
  kind: 'instance',
  rpc: 'get_diagnostics',
  args: onlyInstance,
  wrappers: questionWrappers,
  gate: null,
  isJournalled: false,
  run: async (operation) => asMap(await diagnosticsOf(operation, 'get_diagnostics')),
};

/** Refuses a guest that does not run: InstanceInvalidState, which the API turns into 409. */
export async function diagnosticsOf({ args: { instance }, deps }: Operation<OnlyInstance>, method: string): Promise<GuestDiagnostics> {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  const found = await deps.driver.diagnostics(uuid);
  if (found.state !== 'running' && found.state !== 'paused') throw refuse(novaFaults.instanceInvalidState(uuid, 'power state', found.state, method));
  return found;
}

function asMap(found: GuestDiagnostics): Record<string, unknown> {
  const map: Record<string, unknown> = { memory: found.memoryMaximumMiB * 1024, 'memory-rss': (found.memoryUsedMiB ?? 0) * 1024 };
  for (const cpu of found.cpus) map[`cpu${cpu.id}_time`] = Number(cpu.timeNs ?? 0n);
  found.nics.forEach((nic, index) => {
    const name = `vnet${index}`;
    map[`${name}_rx`] = nic.rxOctets;
    map[`${name}_rx_packets`] = nic.rxPackets;
    map[`${name}_rx_errors`] = nic.rxErrors;
    map[`${name}_rx_drop`] = nic.rxDrop;
    map[`${name}_tx`] = nic.txOctets;
    map[`${name}_tx_packets`] = nic.txPackets;
    map[`${name}_tx_errors`] = nic.txErrors;
    map[`${name}_tx_drop`] = nic.txDrop;
  });
  found.disks.forEach((disk, index) => {
    const name = `vd${String.fromCharCode(97 + index)}`;
    map[`${name}_read`] = disk.readBytes ?? 0;
    map[`${name}_write`] = disk.writeBytes ?? 0;
  });
  return map;
}
