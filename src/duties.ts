/** Which background duties run, and how often: from the configuration's words to periodic/. */
import type { ComputeDeps } from './compute/index.js';
import type { Config } from './config/index.js';
import type { NovaObjectOf } from './objects/index.js';
import {
  buildTimeout, consoleTokens, healInfoCache, imageCache, leftCheckpointParts, leftSnapshots, nodeUpkeep, pendingDeletes, powerSync, rebootTimeout, reclaimDeleted, releaseCheck, rescueTimeout, resourceAudit,
  runningDeleted, schedulerSync, shelvedOffload, unconfirmedResizes, unwantedCheckpoints, usageAudit, type Duty,
} from './periodic/index.js';

/** Nova's rule for intervals: 0 means every minute, a negative one never. */
const everySeconds = (value: number): number => (value === 0 ? 60 : value);

export function dutiesOf(deps: ComputeDeps, config: Config, service: NovaObjectOf<'Service'>): readonly Duty[] {
  const { DEFAULT: main, image_cache: cache } = config;
  return [
    resourceAudit(deps, everySeconds(main.update_resources_interval)),
    powerSync(deps, everySeconds(main.sync_power_state_interval)),
    schedulerSync(deps, everySeconds(main.scheduler_instance_sync_interval)),
    runningDeleted(deps, {
      everySeconds: everySeconds(main.running_deleted_instance_poll_interval), action: main.running_deleted_instance_action, timeoutSeconds: main.running_deleted_instance_timeout,
    }),
    pendingDeletes(deps, { everySeconds: everySeconds(main.instance_delete_interval), maxAttempts: main.maximum_instance_delete_attempts }),
    reclaimDeleted(deps, main.reclaim_instance_interval),
    buildTimeout(deps, main.instance_build_timeout),
    rebootTimeout(deps, main.reboot_timeout),
    rescueTimeout(deps, main.rescue_timeout),
    unconfirmedResizes(deps, main.resize_confirm_window),
    imageCache(deps, {
      everySeconds: everySeconds(cache.manager_interval), minimumAgeSeconds: cache.remove_unused_original_minimum_age_seconds, removesUnused: cache.remove_unused_base_images,
    }),
    healInfoCache(deps, everySeconds(main.heal_instance_info_cache_interval)),
    shelvedOffload(deps, main.shelved_offload_time > 0 ? everySeconds(main.shelved_poll_interval) : -1),
    consoleTokens(deps),
    releaseCheck(deps, service),
    nodeUpkeep(deps),
    leftSnapshots(deps),
    unwantedCheckpoints(deps),
    leftCheckpointParts(deps),
    usageAudit(deps, { isOn: main.instance_usage_audit, period: main.instance_usage_audit_period }),
  ];
}
