/** The driver interface and its implementation for bhyve. */
export * from './types.js';
export * from './bhyve/index.js';
export * from './saves/index.js';
