/**
 * Config drives: what a guest reads at its first boot, as a small CD. Promises: the tree is Nova's (nova-contract 13), every version of it;
 * what a user gave is content, never a path; secrets exist in the image (0600) and, for a moment, in a staging folder (0700) only.
 */
export { buildConfigDrive } from './build-config-drive.js';
export { configDriveLabel, writeConfigDrive, type WriteConfigDrive } from './write-config-drive.js';
export { configDriveInput, configDriveName, createConfigDriveWriter, isRequired, type ConfigDriveWriter, type ConfigDriveWriterOptions, type InstanceExtras } from './from-instance.js';
export type { ConfigDriveInput, ConfigDriveVif } from './input.js';
