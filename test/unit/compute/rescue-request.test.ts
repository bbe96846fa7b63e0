import { expect, test } from 'vitest';
import { rescueAttachment } from '../../../src/compute/rescue/rescue-request.js';

const server = 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa';

test('a rescue disk goes on virtio unless something else is asked for, and with qcow2 disks on SATA', () => {
  expect(rescueAttachment(server, {}, 'raw')).toEqual({ kind: 'disk', bus: 'virtio', keepsDisks: false });
  expect(rescueAttachment(server, { hw_disk_bus: 'virtio' }, 'raw', 'qcow2')).toEqual({ kind: 'disk', bus: 'sata', keepsDisks: false });
  expect(rescueAttachment(server, {}, 'iso', 'qcow2')).toEqual({ kind: 'cdrom', bus: 'sata', keepsDisks: false });
  expect(rescueAttachment(server, { hw_rescue_bus: 'sata' }, 'raw', 'qcow2')).toEqual({ kind: 'disk', bus: 'sata', keepsDisks: true });
});

test('a rescue that insists on another bus than that of qcow2 disks is refused', () => {
  expect(() => rescueAttachment(server, { hw_rescue_bus: 'virtio' }, 'raw', 'qcow2')).toThrow(/hw_rescue_bus=virtio for a server on qcow2 disks/);
});
