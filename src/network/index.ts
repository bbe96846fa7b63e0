export type * from './types.js';
export * from './plugger/index.js';
