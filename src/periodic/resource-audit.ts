import type { ComputeDeps } from '../compute/index.js';
import type { Duty } from './duty.js';

/** ComputeNode, provider, inventories, traits and forgotten allocations (update_resources_interval; 0 means every minute). */
export const resourceAudit = (deps: ComputeDeps, everySeconds: number): Duty => ({
  name: 'resource-audit',
  everySeconds,
  atStart: false, // the start-up has just made one
  run: () => deps.tracker.audit(deps.ownContext(), { startup: false }),
});
