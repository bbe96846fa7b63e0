/** What a config drive is made from. Plain values: the builder knows neither Nova's objects nor the machine. */

interface Address { readonly address: string; readonly type: string; readonly version: number }
export interface ConfigDriveSubnet {
  readonly cidr: string;
  readonly version: number;
  readonly dns: readonly Address[];
  readonly gateway: Address | null;
  readonly ips: readonly (Address & { readonly floating_ips?: readonly Address[] })[];
  readonly routes: readonly { readonly cidr: string; readonly gateway: Address | null }[];
  readonly meta: Readonly<Record<string, unknown>>;
}
/** The part of a network_info element that guests are told (network/types.ts has the whole). */
export interface ConfigDriveVif {
  readonly id: string;
  readonly address: string;
  readonly type: string | null;
  readonly devname: string;
  readonly network: { readonly id: string; readonly subnets: readonly ConfigDriveSubnet[]; readonly meta: Readonly<Record<string, unknown>> } | null;
}

/** A tagged device at its PCI address; `serial` and `path` are a disk's. */
export type ConfigDriveDevice = { readonly address: string; readonly tags: readonly string[] } &
  ({ readonly type: 'nic'; readonly mac: string } | { readonly type: 'disk'; readonly serial: string | null; readonly path: string | null });

export interface KeyPair { readonly name: string; readonly type: string; readonly publicKey: string }

export interface ConfigDriveInput {
  readonly uuid: string;
  readonly name: string | null;
  /** With the domain already added ([api]dhcp_domain). */
  readonly hostname: string;
  readonly projectId: string | null;
  readonly launchIndex: number;
  readonly availabilityZone: string | null;
  readonly reservationId: string | null;
  readonly metadata: Readonly<Record<string, string>>;
  /** Only the first of the instance's key pairs is told. */
  readonly keyPair: KeyPair | null;
  readonly flavorName: string | null;
  /** `/dev/vda` */
  readonly rootDeviceName: string | null;
  readonly ephemeralDevice: string | null;
  readonly swapDevice: string | null;
  readonly securityGroups: readonly string[];
  /** EC2 names of the instance and its images, where known. */
  readonly ec2: { readonly instanceId: string; readonly amiId: string | null; readonly kernelId: string | null; readonly ramdiskId: string | null };
  /** Decoded; null when the user gave none (which is not the same as empty). */
  readonly userData: Uint8Array | null;
  /** Path that the guest should write to, and content. The path is told to the guest as text and used for nothing here. */
  readonly injectedFiles: readonly (readonly [path: string, content: Uint8Array])[];
  readonly adminPassword: string | null;
  readonly networkInfo: readonly ConfigDriveVif[];
  /** [api]vendordata_jsonfile_path's content; {} when not set, null when the operator wants none. */
  readonly vendorData: Readonly<Record<string, unknown>> | null;
  /** What the targets of [api]vendordata_dynamic_targets say, by name. */
  readonly dynamicVendorData: Readonly<Record<string, unknown>>;
  /** 512 octets that nobody can guess. */
  readonly randomSeed: Uint8Array;
  /** Tagged disks and interfaces. */
  readonly devices: readonly ConfigDriveDevice[];
}
