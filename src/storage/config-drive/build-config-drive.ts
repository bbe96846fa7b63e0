/** The tree of a config drive. Pure. */
import type { ConfigDriveInput } from './input.js';
import { contentPathOf, ec2MetaData, ec2Versions, hasSince, metaData, openstackVersions, type OpenstackVersion } from './meta-data.js';
import { networkData } from './network-data.js';

/** Relative path → octets. Every path is made of our own words; nothing that a user gave is part of one. */
export function buildConfigDrive(input: ConfigDriveInput): ReadonlyMap<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  for (const version of ec2Versions) {
    if (input.userData !== null) files.set(`ec2/${version}/user-data`, input.userData);
    files.set(`ec2/${version}/meta-data.json`, json(ec2MetaData(input)));
  }
  const network = json(networkData(input.networkInfo));
  const versions: readonly OpenstackVersion[] = [...openstackVersions, 'latest'];
  for (const version of versions) {
    const folder = `openstack/${version}`;
    files.set(`${folder}/meta_data.json`, json(metaData(input, version)));
    if (input.userData !== null) files.set(`${folder}/user_data`, input.userData);
    if (hasSince(version, '2013-10-17') && input.vendorData !== null) files.set(`${folder}/vendor_data.json`, json(input.vendorData));
    if (hasSince(version, '2015-10-15')) files.set(`${folder}/network_data.json`, network);
    if (hasSince(version, '2016-10-06')) files.set(`${folder}/vendor_data2.json`, json(vendorData2(input)));
  }
  input.injectedFiles.forEach(([, content], index) => files.set(`openstack${contentPathOf(index)}`, content));
  return files;
}

/** `static` is StaticJSON's name; a target of that name is not heard. */
const vendorData2 = ({ vendorData, dynamicVendorData }: ConfigDriveInput): unknown => ({ ...dynamicVendorData, ...(vendorData === null ? {} : { static: vendorData }) });

const json = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value), 'utf8');
