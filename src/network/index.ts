export type * from './types.js';
export * from './plugger/index.js';
export * from './ports/index.js';
export * from './l2-agent/index.js';
