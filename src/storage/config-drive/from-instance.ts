/** Nova's objects to the builder's input, and whether an instance needs a config drive at all. */
import { randomBytes } from 'node:crypto';
import type { Host } from '../../host/index.js';
import type { NovaObject, NovaObjectOf } from '../../objects/index.js';
import type { InstanceUuid } from '../../lib/ids.js';
import type { ConfigDriveDevice, ConfigDriveInput, ConfigDriveVif, KeyPair } from './input.js';
import { writeConfigDrive } from './write-config-drive.js';

type Instance = NovaObjectOf<'Instance'>;

/** `force_config_drive` is for new servers only: a guest that came up without one must not suddenly get one. */
export function isRequired(instance: Instance, imageProperties: Readonly<Record<string, string>>, forceConfigDrive: boolean): boolean {
  if ((instance.maybe('config_drive') ?? '') !== '') return true;
  if (imageProperties['img_config_drive'] === 'mandatory') return true;
  return forceConfigDrive && (instance.maybe('launched_at') ?? null) === null;
}

export interface InstanceExtras {
  readonly networkInfo: readonly ConfigDriveVif[];
  readonly injectedFiles: readonly (readonly [string, Uint8Array])[];
  readonly adminPassword: string | null;
  /** [api]dhcp_domain; '' for none. */
  readonly dhcpDomain: string;
  readonly vendorData: Readonly<Record<string, unknown>> | null;
  /** Of DynamicJSON, by target; absent: none. */
  readonly dynamicVendorData?: Readonly<Record<string, unknown>>;
  readonly randomSeed: Uint8Array;
}

/** Reads only what the instance came with; nothing is loaded. */
export function configDriveInput(instance: Instance, extras: InstanceExtras): ConfigDriveInput {
  const hostname = instance.maybe('hostname') ?? '';
  const userData = instance.maybe('user_data') ?? null;
  return {
    uuid: instance.get('uuid'), name: instance.maybe('display_name') ?? null, hostname: extras.dhcpDomain === '' ? hostname : `${hostname}.${extras.dhcpDomain}`,
    projectId: instance.maybe('project_id') ?? null, launchIndex: instance.maybe('launch_index') ?? 0, availabilityZone: instance.maybe('availability_zone') ?? null,
    reservationId: instance.maybe('reservation_id') ?? null, metadata: instance.maybe('metadata') ?? {}, keyPair: keyPairOf(instance),
    flavorName: instance.maybe('flavor')?.maybe('name') ?? null, rootDeviceName: instance.maybe('root_device_name') ?? null,
    ephemeralDevice: instance.maybe('default_ephemeral_device') ?? null, swapDevice: instance.maybe('default_swap_device') ?? null,
    securityGroups: (instance.maybe('security_groups')?.maybe('objects') ?? []).map((group) => group.maybe('name') ?? ''), ec2: ec2Of(instance),
    userData: userData === null ? null : Buffer.from(userData, 'base64'), injectedFiles: extras.injectedFiles, adminPassword: extras.adminPassword,
    networkInfo: extras.networkInfo, vendorData: extras.vendorData, dynamicVendorData: extras.dynamicVendorData ?? {}, randomSeed: extras.randomSeed, devices: devicesOf(instance),
  };
}

/** Tagged devices that the row knows; one of a kind or bus that is not ours is left to those who made it. */
function devicesOf(instance: Instance): readonly ConfigDriveDevice[] {
  const devices = instance.maybe('device_metadata')?.maybe('devices') ?? [];
  return devices.flatMap((device): ConfigDriveDevice[] => {
    const bus = device.maybe('bus') as NovaObject | undefined;
    const [address, tags] = [bus?.maybe('address') as string | undefined, (device.maybe('tags') ?? []) as string[]];
    if (bus?.objectName !== 'PCIDeviceBus' || address === undefined) return [];
    const text = (field: string): string | null => (device.maybe(field) as string | null | undefined) ?? null;
    switch (device.objectName) {
      case 'NetworkInterfaceMetadata': return [{ type: 'nic', mac: text('mac') ?? '', address, tags }];
      case 'DiskMetadata': return [{ type: 'disk', serial: text('serial'), path: text('path'), address, tags }];
      default: return [];
    }
  });
}

/** The key pair as it was when the server was made; the row's own copy where the list did not come along. */
function keyPairOf(instance: Instance): KeyPair | null {
  const name = instance.maybe('key_name') ?? '';
  if (name === '') return null;
  const first = instance.maybe('keypairs')?.maybe('objects')?.[0];
  if (first !== undefined) return { name: first.get('name'), type: first.maybe('type') ?? 'ssh', publicKey: first.get('public_key') };
  const data = instance.maybe('key_data') ?? null;
  return data === null ? null : { name, type: 'ssh', publicKey: data };
}

/** Nova numbers EC2 names in tables of its own; without them the row's number is as unique. */
function ec2Of(instance: Instance): ConfigDriveInput['ec2'] {
  const loaded = (instance as NovaObject).maybe('ec2_ids') as NovaObject | null | undefined;
  const text = (field: string): string | null => (loaded?.maybe(field) as string | null | undefined) ?? null;
  return {
    instanceId: text('instance_id') ?? `i-${(instance.maybe('id') ?? 0).toString(16).padStart(8, '0')}`,
    amiId: text('ami_id'), kernelId: text('kernel_id'), ramdiskId: text('ramdisk_id'),
  };
}

export interface ConfigDriveWriterOptions {
  readonly host: Host;
  /** The instance's folder, made on demand. */
  readonly folderOf: (instance: InstanceUuid) => Promise<string>;
  readonly forceConfigDrive: boolean;
  readonly dhcpDomain: string;
  /** Parsed content of [api]vendordata_jsonfile_path; {} when not set, null: no vendor data at all. */
  readonly vendorData?: Readonly<Record<string, unknown>> | null;
  /** Asked for each drive that is written; null: DynamicJSON is not wanted. */
  readonly dynamicVendorData?: { fetch(instance: Instance): Promise<Readonly<Record<string, unknown>>> } | null;
  readonly randomSeed?: () => Uint8Array;
}

/** The names of the images in the instance's folder. A rescue has one of its own: the server's holds what cannot be made again. */
export const configDriveName = 'config.iso';
const rescueDriveName = 'config-rescue.iso';

export interface ConfigDriveWriter {
  isRequired(instance: Instance, imageProperties: Readonly<Record<string, string>>): boolean;
  /** Returns the image's path. Writing again replaces it. */
  write(args: { readonly instance: Instance; readonly isForRescue?: boolean } & Pick<InstanceExtras, 'networkInfo' | 'injectedFiles' | 'adminPassword'>): Promise<string>;
  /** The path of the server's own image; null if it has none. */
  existing(instance: InstanceUuid): Promise<string | null>;
  /** Removes the image of a rescue; that there is none is fine. */
  removeForRescue(instance: InstanceUuid): Promise<void>;
}

/** What compute/ calls. */
export function createConfigDriveWriter(options: ConfigDriveWriterOptions): ConfigDriveWriter {
  const { host, folderOf, forceConfigDrive, dhcpDomain, vendorData = {}, dynamicVendorData = null, randomSeed = () => randomBytes(512) } = options;
  return {
    isRequired: (instance, properties) => isRequired(instance, properties, forceConfigDrive),
    write: async ({ instance, isForRescue = false, ...given }) => {
      const instanceFolder = await folderOf(instance.get('uuid') as InstanceUuid);
      const path = `${instanceFolder}/${isForRescue ? rescueDriveName : configDriveName}`;
      const input = configDriveInput(instance, { ...given, dhcpDomain, vendorData, dynamicVendorData: (await dynamicVendorData?.fetch(instance)) ?? {}, randomSeed: randomSeed() });
      await writeConfigDrive(host, { instanceFolder, path, input });
      return path;
    },
    async existing(instance) {
      const path = `${await folderOf(instance)}/${configDriveName}`;
      return (await host.files.exists(path)) ? path : null;
    },
    async removeForRescue(instance) {
      const folder = await folderOf(instance);
      await host.files.remove(`${folder}/${rescueDriveName}`, folder);
    },
  };
}
