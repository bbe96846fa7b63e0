/** Typed calls to nova-conductor. Theory: types.ts (what is promised), conductor.ts (what can go wrong), repeat.ts (asking again). */
export type * from './types.js';
export { createConductor, type ConductorDeps } from './conductor.js';
