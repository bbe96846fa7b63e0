/** Background duties, one file each; see duty.ts for what they promise. */
export { startDuties, cronExpression, type Duty, type DutyDeps } from './duty.js';
export { runHeartbeat } from './heartbeat.js';
export { powerSync } from './power-sync.js';
export { resourceAudit } from './resource-audit.js';
export { schedulerSync } from './scheduler-sync.js';
export { runningDeleted, type RunningDeletedOptions } from './running-deleted.js';
export { reclaimDeleted } from './reclaim-deleted.js';
export { pendingDeletes } from './pending-deletes.js';
export { buildTimeout } from './build-timeout.js';
export { rebootTimeout } from './reboot-timeout.js';
export { imageCache } from './image-cache.js';
export { nodeUpkeep } from './node-upkeep.js';
export { healInfoCache } from './heal-info-cache.js';
export { releaseCheck } from './release-check.js';
export { consoleTokens } from './console-tokens.js';
export { rescueTimeout } from './rescue-timeout.js';
export { unconfirmedResizes } from './unconfirmed-resizes.js';
