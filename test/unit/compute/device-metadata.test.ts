import { expect, test } from 'vitest';
import { deviceMetadata } from '../../../src/compute/device-metadata.js';
import { profileNamed, createObject } from '../../../src/objects/index.js';
import { configDriveInput } from '../../../src/storage/config-drive/from-instance.js';
import { metaData } from '../../../src/storage/config-drive/meta-data.js';
import { guestDefinition } from '../../fakes/guest-definition.js';

const zed = profileNamed('zed');
const port = guestDefinition().nics[0]!.port;
const slots = { 'disk:root': '0:2:0', [`nic:${port}`]: '0:10:0' };
const extras = { networkInfo: [], injectedFiles: [], adminPassword: null, dhcpDomain: '', vendorData: {}, randomSeed: new Uint8Array(4) };

test('a server without tags has no device metadata', () => {
  expect(deviceMetadata(zed, guestDefinition(), slots, { nics: new Map(), disks: new Map() })).toBeNull();
});

test('tagged devices are told with the PCI address that they keep, in the row and in the config drive', () => {
  const made = deviceMetadata(zed, guestDefinition(), slots, { nics: new Map([[port, 'front']]), disks: new Map([['root', 'system']]) })!;
  expect(made.toWire()).toMatchObject({ 'nova_object.name': 'InstanceDeviceMetadata', 'nova_object.version': '1.0', 'nova_object.data': { devices: [
    { 'nova_object.name': 'NetworkInterfaceMetadata', 'nova_object.version': '1.2', 'nova_object.data': { mac: 'fa:16:3e:aa:bb:cc', tags: ['front'],
      bus: { 'nova_object.name': 'PCIDeviceBus', 'nova_object.data': { address: '0000:00:0a.0' } } } },
    { 'nova_object.name': 'DiskMetadata', 'nova_object.data': { tags: ['system'], bus: { 'nova_object.data': { address: '0000:00:02.0' } } } },
  ] } });
  const input = configDriveInput(createObject(zed, 'Instance', { uuid: guestDefinition().instance, device_metadata: made }), extras);
  const nic = { type: 'nic', mac: 'fa:16:3e:aa:bb:cc', bus: 'pci', address: '0000:00:0a.0', tags: ['front'] };
  const disk = { type: 'disk', serial: guestDefinition().instance, bus: 'pci', address: '0000:00:02.0', tags: ['system'] };
  expect(metaData(input, 'latest')['devices']).toEqual([{ vf_trusted: false, ...nic }, disk]);
  expect(metaData(input, '2017-02-22')['devices']).toEqual([nic, disk]);
  expect(metaData(input, '2015-10-15')).not.toHaveProperty('devices');
});
