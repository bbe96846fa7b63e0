/** meta_data.json and the EC2 form (nova/api/metadata/base.py; nova-contract 13). */
import type { ConfigDriveDevice, ConfigDriveInput } from './input.js';

/** Versions of the OpenStack form, oldest first; `latest` has what the newest has. */
export const openstackVersions = ['2012-08-10', '2013-04-04', '2013-10-17', '2015-10-15', '2016-06-30', '2016-10-06', '2017-02-22', '2018-08-27', '2020-10-14',
  '2025-04-04'] as const;
export type OpenstackVersion = (typeof openstackVersions)[number] | 'latest';

/** Older ones are skipped by Nova's default ([api]config_drive_skip_versions). */
export const ec2Versions = ['2009-04-04', 'latest'] as const;

/** Dates sort as text, and `latest` after all of them. */
export const hasSince = (version: OpenstackVersion, since: (typeof openstackVersions)[number]): boolean => version >= since;

export const contentPathOf = (index: number): string => `/content/${String(index).padStart(4, '0')}`;

export function metaData(input: ConfigDriveInput, version: OpenstackVersion): Record<string, unknown> {
  const { keyPair } = input;
  return {
    uuid: input.uuid,
    ...(Object.keys(input.metadata).length === 0 ? {} : { meta: input.metadata }),
    ...(input.injectedFiles.length === 0 ? {} : { files: input.injectedFiles.map(([path], index) => ({ path, content_path: contentPathOf(index) })) }),
    ...(input.adminPassword === null ? {} : { admin_pass: input.adminPassword }),
    ...(keyPair === null ? {} : {
      public_keys: { [keyPair.name]: keyPair.publicKey },
      keys: [{ name: keyPair.name, type: keyPair.type, data: keyPair.publicKey }],
    }),
    hostname: input.hostname, name: input.name, launch_index: input.launchIndex, availability_zone: input.availabilityZone,
    ...(hasSince(version, '2013-04-04') ? { random_seed: Buffer.from(input.randomSeed).toString('base64') } : {}),
    ...(hasSince(version, '2015-10-15') ? { project_id: input.projectId } : {}),
    ...(hasSince(version, '2016-06-30') ? { devices: input.devices.map((device) => deviceEntry(device, version)) } : {}),
    ...(hasSince(version, '2020-10-14') ? { dedicated_cpus: [] } : {}),
  };
}

function deviceEntry(device: ConfigDriveDevice, version: OpenstackVersion): Record<string, unknown> {
  const place = { bus: 'pci', address: device.address, tags: device.tags };
  if (device.type === 'nic') return { ...(hasSince(version, '2018-08-27') ? { vf_trusted: false } : {}), type: 'nic', mac: device.mac, ...place };
  return { type: 'disk', ...(device.serial === null ? {} : { serial: device.serial }), ...(device.path === null ? {} : { path: device.path }), ...place };
}

export function ec2MetaData(input: ConfigDriveInput): Record<string, unknown> {
  const { ec2, keyPair } = input;
  const addresses = input.networkInfo.flatMap((vif) => vif.network?.subnets ?? []).flatMap((subnet) => subnet.ips);
  const floating = addresses.flatMap((ip) => ip.floating_ips ?? [])[0]?.address ?? '';
  return {
    'ami-id': ec2.amiId, 'ami-launch-index': input.launchIndex, 'ami-manifest-path': 'FIXME', 'instance-id': ec2.instanceId, hostname: input.hostname,
    'local-ipv4': addresses.find((ip) => ip.version === 4)?.address ?? '', 'reservation-id': input.reservationId, 'security-groups': input.securityGroups,
    // Nova means to leave `_name` out of the drive, but does not: guests have always seen it.
    ...(keyPair === null ? {} : { 'public-keys': { 0: { _name: `0=${keyPair.name}`, 'openssh-key': keyPair.publicKey } } }),
    'local-hostname': input.hostname, 'public-hostname': input.hostname, 'public-ipv4': floating, 'instance-type': input.flavorName,
    'block-device-mapping': blockDevices(input),
    ...(ec2.kernelId === null ? {} : { 'kernel-id': ec2.kernelId }),
    ...(ec2.ramdiskId === null ? {} : { 'ramdisk-id': ec2.ramdiskId }),
    placement: { 'availability-zone': input.availabilityZone }, 'instance-action': 'none',
  };
}

function blockDevices(input: ConfigDriveInput): Record<string, string> {
  const root = input.rootDeviceName;
  if (root === null) return { ami: 'sda1', ephemeral0: 'sda2', root: '/dev/sda1', swap: 'sda3' };
  return {
    ami: root.replace(/^\/dev\//, ''), root,
    ...(input.ephemeralDevice === null ? {} : { ephemeral0: input.ephemeralDevice }),
    ...(input.swapDevice === null ? {} : { swap: input.swapDevice }),
  };
}
