/** Nova's words for an instance's life (nova/compute/vm_states.py and task_states.py); constant from Zed to 2026.2. */

export const vmStates = {
  active: 'active', building: 'building', paused: 'paused', suspended: 'suspended', stopped: 'stopped', rescued: 'rescued',
  resized: 'resized', softDeleted: 'soft-delete', deleted: 'deleted', error: 'error', shelved: 'shelved', shelvedOffloaded: 'shelved_offloaded',
} as const;

export const taskStates = {
  scheduling: 'scheduling', blockDeviceMapping: 'block_device_mapping', networking: 'networking', spawning: 'spawning',
  imageSnapshotPending: 'image_snapshot_pending', imagePendingUpload: 'image_pending_upload', imageUploading: 'image_uploading', imageSnapshot: 'image_snapshot',
  resizePrep: 'resize_prep', resizeMigrating: 'resize_migrating',
  rebooting: 'rebooting', rebootPending: 'reboot_pending', rebootStarted: 'reboot_started',
  rebootingHard: 'rebooting_hard', rebootPendingHard: 'reboot_pending_hard', rebootStartedHard: 'reboot_started_hard',
  pausing: 'pausing', unpausing: 'unpausing', poweringOff: 'powering-off', poweringOn: 'powering-on',
  deleting: 'deleting', softDeleting: 'soft-deleting', migrating: 'migrating',
  rebuilding: 'rebuilding', rebuildBlockDeviceMapping: 'rebuild_block_device_mapping', rebuildSpawning: 'rebuild_spawning',
} as const;

/** vm_states in which a soft reboot is allowed (nova.compute.api.AllowedRebootVMStates). */
export const softRebootable: readonly string[] = [vmStates.active];
export const hardRebootable: readonly string[] = [vmStates.active, vmStates.stopped, vmStates.paused, vmStates.suspended, vmStates.error];

export const softRebootTasks: readonly string[] = [taskStates.rebooting, taskStates.rebootPending, taskStates.rebootStarted];
export const hardRebootTasks: readonly string[] = [taskStates.rebootingHard, taskStates.rebootPendingHard, taskStates.rebootStartedHard];
