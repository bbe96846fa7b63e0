/**
 * Which notifications an RPC method gives, by its wire name: Nova's words of both kinds (nova/rpc.py lists the old ones, NotificationAction
 * the new ones). A method that is not here gives none but the one about an exception.
 */
export type PayloadKind = 'action' | 'create' | 'rescue' | 'rebuild' | 'snapshot' | 'resize-prep' | 'volume';

export interface EventNames {
  /** `compute.instance.<legacy>.start`, null: no old notification. */
  readonly legacy: string | null;
  /** `instance.<action>.start` */
  readonly action: string;
  readonly payload?: PayloadKind;
  /** Nova gives an `.error` of its own, beside the notification about the exception. */
  readonly hasError?: true;
  /** The old notification is one, at the end, without a phase. */
  readonly isLegacyOnce?: true;
}

const alike = (name: string, more: Partial<EventNames> = {}): EventNames => ({ legacy: name, action: name, ...more });

/** Outermost first. */
const byRpc: Readonly<Record<string, readonly EventNames[]>> = {
  terminate_instance: [alike('delete'), alike('shutdown')],
  soft_delete_instance: [alike('soft_delete')],
  restore_instance: [alike('restore')],
  start_instance: [alike('power_on')],
  stop_instance: [alike('power_off')],
  reboot_instance: [alike('reboot', { hasError: true })],
  pause_instance: [alike('pause')],
  unpause_instance: [alike('unpause')],
  suspend_instance: [alike('suspend')],
  resume_instance: [alike('resume')],
  trigger_crash_dump: [alike('trigger_crash_dump')],
  rebuild_instance: [alike('rebuild', { payload: 'rebuild', hasError: true })],
  rescue_instance: [alike('rescue', { payload: 'rescue' })],
  unrescue_instance: [alike('unrescue')],
  snapshot_instance: [alike('snapshot', { payload: 'snapshot' })],
  backup_instance: [alike('snapshot', { payload: 'snapshot' })],
  shelve_instance: [alike('shelve')],
  shelve_offload_instance: [alike('shelve_offload')],
  unshelve_instance: [alike('unshelve')],
  prep_resize: [{ legacy: 'resize.prep', action: 'resize_prep', payload: 'resize-prep' }],
  resize_instance: [alike('resize', { hasError: true })],
  finish_resize: [{ legacy: 'finish_resize', action: 'resize_finish' }],
  confirm_resize: [{ legacy: 'resize.confirm', action: 'resize_confirm' }],
  finish_revert_resize: [{ legacy: 'resize.revert', action: 'resize_revert' }],
  attach_interface: [{ legacy: null, action: 'interface_attach', hasError: true }],
  detach_interface: [{ legacy: null, action: 'interface_detach' }],
  attach_volume: [{ legacy: 'volume.attach', action: 'volume_attach', payload: 'volume', hasError: true, isLegacyOnce: true }],
  detach_volume: [{ legacy: 'volume.detach', action: 'volume_detach', payload: 'volume', isLegacyOnce: true }],
  pre_live_migration: [{ legacy: 'live_migration.pre', action: 'live_migration_pre' }],
  live_migration_force_complete: [{ legacy: 'live.migration.force.complete', action: 'live_migration_force_complete' }],
  live_migration_abort: [{ legacy: 'live.migration.abort', action: 'live_migration_abort' }],
  post_live_migration_at_destination: [{ legacy: 'live_migration.post.dest', action: 'live_migration_post_dest' }],
  rollback_live_migration_at_destination: [{ legacy: 'live_migration.rollback.dest', action: 'live_migration_rollback_dest' }],
};

/**
 * Methods that change what is paid for: each tells what was there until now, as `exists`, before anything else; a rescue does so once it has begun
 * (the calls of notify_usage_exists in nova/compute/manager.py).
 */
export const usageFirst: ReadonlySet<string> = new Set(['rebuild_instance', 'prep_resize', 'revert_resize', 'finish_revert_resize', 'shelve_instance']);
export const usageAfterStart: ReadonlySet<string> = new Set(['rescue_instance']);

export const eventsOf = (rpc: string): readonly EventNames[] => byRpc[rpc] ?? [];

/** A build gives these itself: its failures do not leave the method. */
export const createEvent: EventNames = alike('create', { payload: 'create', hasError: true });
