export { createDiskChain, type DiskChainOptions } from './create-disk-chain.js';
export type { ChainFile, ChainNode, ChainView, CheckpointKind, DiskChain, InternalSnapshot } from './types.js';
