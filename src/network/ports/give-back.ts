/** Frees and deletes ports: on release, and to undo an allocation. A port that another instance holds is never touched. */
import { codeOf } from '../../lib/errors.js';
import type { PortId } from '../../lib/ids.js';
import type { Logger } from '../../observe/index.js';
import type { Calls } from './calls.js';
import { profileOf, type PortRecord } from './records.js';

/** Keys of a binding profile that belong to the instance's stay, not to the port. */
const stayKeys = ['pci_vendor_info', 'pci_slot', 'allocation', 'arq_uuid', 'physical_network', 'card_serial_number', 'vf_num', 'pf_mac_address',
  'device_mac_address', 'migrating_to'];

/** The port becomes free for other instances. A failure is logged and left: the port stays, only its owner can do something about it. */
export async function freePort(calls: Calls, id: PortId, instance: string, log: Logger): Promise<void> {
  try {
    const port = await calls.port(id);
    const device = port?.device_id ?? '';
    if (port === null || device !== instance) return;
    const isDns = await calls.hasExtension('dns-integration');
    const domain = isDns ? await calls.dnsDomainOf(port.network_id) : '';
    await calls.updatePort(id, {
      device_id: '', device_owner: '', 'binding:host_id': null, 'binding:profile': keptProfile(port), ...(isDns && domain === '' ? { dns_name: '' } : {}),
    });
    if (isDns && domain !== '') await calls.updatePortAsUser(id, { dns_name: '' });
  } catch (error) {
    if (codeOf(error) === 'http-not-found') return;
    log.warn({ err: error, port: id, instance }, 'port not freed; its owner must do it');
  }
}

/** The port stays the instance's, on no host. One that is gone is fine. */
export async function unbindPort(calls: Calls, port: PortRecord): Promise<void> {
  if ((port['binding:host_id'] ?? '') === '') return;
  try {
    await calls.updatePort(port.id, { 'binding:host_id': '', 'binding:profile': keptProfile(port) });
  } catch (error) {
    if (codeOf(error) !== 'http-not-found') throw error;
  }
}

function keptProfile(port: PortRecord): Record<string, unknown> {
  const profile = profileOf(port);
  for (const key of stayKeys) delete profile[key];
  return profile;
}

/** Deletes all that can be deleted, then throws the first failure, if any. */
export async function deletePorts(calls: Calls, ids: Iterable<PortId>, log: Logger): Promise<void> {
  const failures: unknown[] = [];
  for (const id of ids) {
    try {
      if (!(await calls.deletePort(id))) log.info({ port: id }, 'port was gone already');
    } catch (error) {
      log.warn({ err: error, port: id }, 'port not deleted');
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}
