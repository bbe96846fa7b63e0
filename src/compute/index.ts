/**
 * nova-compute's duties: one file per RPC method, the wrappers around them, the resource tracker, the start-up. A message is journalled
 * before it is acknowledged; each method then reads as the story an operator would tell. What can go wrong and how it recovers:
 *
 *   killed before `begin`    the message is run again after the restart
 *   killed in a build        undone on this machine; the row becomes ERROR (nova-contract section 3)
 *   killed in anything else  run again; steps look before they act (what the operator of the host asks for: operator/carry-out.ts)
 *   row changed meanwhile    the expected-task check fails; we step back, what we made is removed
 */
export type { ComputeDeps, ComputeOptions } from './deps.js';
export { computeEndpoint, computeRpcVersion, registeredMethods } from './endpoint.js';
export { abilities, type Ability } from './abilities.js';
export { methodRegistry, type MethodEntry } from './method-registry.js';
export type { Availability } from './operation.js';
export { syncPowerState } from './power-state.js';
export { reapQuietly, removeFromMachine } from './machine-steps.js';
export { isInstanceGone, isTaskStateConflict } from './error-text.js';
export { powerAttributes } from './power-steps.js';
export { rebootAgain } from './reboot-instance.js';
export { saveState } from './save-state.js';
export { deleteWithoutJournal } from './terminate-instance.js';
export { confirmAsApi, unrescueAsApi } from './own-requests.js';
export { offloadShelved } from './shelve/shelve-offload-instance.js';
export { checkpointImagesOf } from './checkpoint-image.js';
export { dropCheckpoint, dropOrphans } from './drop-checkpoint.js';
export { partOf } from './stored-checkpoint.js';
export { carryOut, type Progress } from './operator/carry-out.js';
export { createCheckpointForOperator, type CreatedCheckpoint } from './operator/create-checkpoint.js';
export { deleteCheckpointForOperator } from './operator/delete-checkpoint.js';
export { flattenDisksForOperator } from './operator/flatten-disks.js';
export { createOrder, deleteOrder, flattenOrder, restoreOrder } from './operator/orders.js';
export { restoreCheckpointForOperator, type RestoredCheckpoint } from './operator/restore-checkpoint.js';
export { shelvedAtMs } from './shelve/shelved-keys.js';
export { joinCloud } from './startup/join-cloud.js';
export { planJournal } from './startup/finish-journal.js';
export * from './resources/index.js';
export { guestName } from './guest-definition.js';
export { createNotifications, noNotifications, type Notifications } from './notifications/notifications.js';
