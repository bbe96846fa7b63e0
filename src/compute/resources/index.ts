/** Claims, the resource audit, the provider in Placement, and the node's identity. Theory: tracker.ts, provider-report.ts, identity.ts. */
export { createResourceTracker, type ResourceTracker } from './tracker.js';
export type { ResourceOptions, ResourceTrackerDeps } from './audit.js';
export { readProviderAdditions, type ProviderAdditions } from './provider-config.js';
export { establishIdentity, type IdentityDeps } from './identity.js';
