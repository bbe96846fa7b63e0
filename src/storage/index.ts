export * from './types.js';
export { createStorage, defaultStorageLimits, type StorageLimits, type StorageOptions } from './create-storage.js';
export * from './config-drive/index.js';
export { isDiskBus, isDiskRole, rolePlace } from './disk-roles.js';
