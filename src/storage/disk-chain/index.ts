export { createDiskChain, type DiskChainOptions } from './create-disk-chain.js';
export type { ChainFile, ChainNode, ChainView, CheckpointKind, CheckpointPurpose, DiskChain, InternalSnapshot } from './types.js';
export { readFile } from './read-chain.js';
