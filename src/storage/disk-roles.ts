/** What a disk is to its instance; the role is the last part of its dataset's name and a mark on it. */
import type { DiskBus, DiskRole } from './types.js';

const ROLE = /^(?:root|swap|rescue|eph(?:0|[1-9]\d?))$/;

/** Whether a mark names a role that this agent knows; another agent's disks are left alone. */
export const isDiskRole = (text: string): text is DiskRole => ROLE.test(text);

/** Sorts a guest's disks: root, ephemerals in their order, swap, rescue. */
export function rolePlace(role: DiskRole): number {
  switch (role) {
    case 'root': return 0;
    case 'swap': return 1000;
    case 'rescue': return 1001;
    default: return 1 + Number(role.slice('eph'.length));
  }
}

export const isDiskBus = (text: string | null | undefined): text is DiskBus => text === 'virtio' || text === 'sata' || text === 'nvme';
