export * from './states.js';
export * from './gate.js';
export * from './event-waiters.js';
export * from './power-sync.js';
export * from './recovery.js';
