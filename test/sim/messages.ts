/** Messages as nova-api and nova-conductor send them, on a World's rows. */
import type { InstanceUuid } from '../../src/lib/ids.js';
import { createObject, type NovaObjectOf } from '../../src/objects/index.js';
import type { WireMessage } from '../../src/rpc/index.js';
import { messageTo } from './wire.js';
import { flavors, imageId, migrationUuid, newImageId, newInstance, ourHost, profile, rowOf, type World } from './world.js';

function setTask(world: World, uuid: InstanceUuid, task: string): NovaObjectOf<'Instance'> {
  const row = rowOf(world, uuid);
  if (row === undefined) throw new Error('no such row');
  row.set('task_state', task);
  row.resetChanges();
  world.rows.set(uuid, row.toWire());
  return row;
}

/** The scheduler has chosen us: row, allocation, message. */
export function buildMessage(world: World, uuid: InstanceUuid, flavor: keyof typeof flavors = 'small'): WireMessage {
  const instance = newInstance(uuid, { flavor: flavors[flavor] });
  world.rows.set(uuid, instance.toWire());
  world.allocations.add(uuid);
  return messageTo('build_and_run_instance', {
    instance: instance.toWire(), image: { id: imageId, properties: {} }, request_spec: null, filter_properties: { retry: { num_attempts: 1, hosts: [] } }, admin_password: 'secret',
    injected_files: [], requested_networks: null, security_groups: [], block_device_mapping: null, node: ourHost, limits: {}, host_list: [], accel_uuids: [],
  });
}

export const deleteMessage = (world: World, uuid: InstanceUuid): WireMessage =>
  messageTo('terminate_instance', { instance: setTask(world, uuid, 'deleting').toWire(), bdms: null });
export const stopMessage = (world: World, uuid: InstanceUuid): WireMessage =>
  messageTo('stop_instance', { instance: setTask(world, uuid, 'powering-off').toWire(), clean_shutdown: true });
export const pauseMessage = (world: World, uuid: InstanceUuid): WireMessage =>
  messageTo('pause_instance', { instance: setTask(world, uuid, 'pausing').toWire() });
export const unpauseMessage = (world: World, uuid: InstanceUuid): WireMessage =>
  messageTo('unpause_instance', { instance: setTask(world, uuid, 'unpausing').toWire() });
export const suspendMessage = (world: World, uuid: InstanceUuid): WireMessage =>
  messageTo('suspend_instance', { instance: setTask(world, uuid, 'suspending').toWire() });
export const resumeMessage = (world: World, uuid: InstanceUuid): WireMessage =>
  messageTo('resume_instance', { instance: setTask(world, uuid, 'resuming').toWire() });
export const softDeleteMessage = (world: World, uuid: InstanceUuid): WireMessage =>
  messageTo('soft_delete_instance', { instance: setTask(world, uuid, 'soft-deleting').toWire() });
export const restoreMessage = (world: World, uuid: InstanceUuid): WireMessage =>
  messageTo('restore_instance', { instance: setTask(world, uuid, 'restoring').toWire() });
export const startMessage = (world: World, uuid: InstanceUuid): WireMessage =>
  messageTo('start_instance', { instance: setTask(world, uuid, 'powering-on').toWire() });
export const rebootMessage = (world: World, uuid: InstanceUuid, type: 'SOFT' | 'HARD'): WireMessage =>
  messageTo('reboot_instance', { instance: setTask(world, uuid, type === 'SOFT' ? 'rebooting' : 'rebooting_hard').toWire(), block_device_info: null, reboot_type: type });

export const rescueMessage = (world: World, uuid: InstanceUuid): WireMessage =>
  messageTo('rescue_instance', { instance: setTask(world, uuid, 'rescuing').toWire(), rescue_password: 'secret', rescue_image_ref: null, clean_shutdown: true });
export const unrescueMessage = (world: World, uuid: InstanceUuid): WireMessage =>
  messageTo('unrescue_instance', { instance: setTask(world, uuid, 'unrescuing').toWire() });
export const rebuildMessage = (world: World, uuid: InstanceUuid): WireMessage =>
  messageTo('rebuild_instance', {
    instance: setTask(world, uuid, 'rebuilding').toWire(), orig_image_ref: imageId, image_ref: imageId, injected_files: [], new_pass: 'secret', orig_sys_metadata: {}, bdms: null,
    recreate: false, on_shared_storage: false, preserve_ephemeral: false, migration: null, scheduled_node: null, limits: null, request_spec: null, accel_uuids: [],
  });

/** The conductor has moved the old allocation to the migration, and the scheduler has made the new one. */
export function resizeMessage(world: World, uuid: InstanceUuid): WireMessage {
  const migration = createObject(profile, 'Migration', {
    id: 1, uuid: migrationUuid, instance_uuid: uuid, status: 'pre-migrating', migration_type: 'resize', source_compute: ourHost, source_node: ourHost, dest_compute: null, dest_node: null,
    old_instance_type_id: 1, new_instance_type_id: 2,
  });
  world.migrations.set(1, migration.toWire());
  world.allocations.add(migrationUuid);
  return messageTo('prep_resize', {
    instance: setTask(world, uuid, 'resize_prep').toWire(), flavor: flavors.large.toWire(), image: {}, request_spec: null, filter_properties: {}, node: ourHost, clean_shutdown: true,
    migration: migration.toWire(), host_list: [],
  });
}

const settlement = (world: World, method: string, instance: NovaObjectOf<'Instance'> | undefined, status: string): WireMessage => {
  const wire = structuredClone(world.migrations.get(1)) as unknown as { 'nova_object.data': Record<string, unknown> };
  wire['nova_object.data']['status'] = status;
  world.migrations.set(1, structuredClone(wire) as never);
  return messageTo(method, { instance: instance?.toWire(), migration: wire, request_spec: null });
};
export const confirmMessage = (world: World, uuid: InstanceUuid): WireMessage => settlement(world, 'confirm_resize', rowOf(world, uuid), 'confirming');
export const revertMessage = (world: World, uuid: InstanceUuid): WireMessage => settlement(world, 'revert_resize', setTask(world, uuid, 'resize_reverting'), 'reverting');

/** nova-api makes the image before it asks. */
function queueImage(world: World): void {
  world.glance.set(newImageId, { status: 'queued', diskFormat: null });
}
export function snapshotMessage(world: World, uuid: InstanceUuid): WireMessage {
  queueImage(world);
  return messageTo('snapshot_instance', { instance: setTask(world, uuid, 'image_snapshot_pending').toWire(), image_id: newImageId });
}
/** An image that a user asked to be a checkpoint. */
export function checkpointMessage(world: World, uuid: InstanceUuid, kind: 'disk' | 'full' = 'disk', store: 'local' | 'glance' = 'local'): WireMessage {
  world.glance.set(newImageId, { status: 'queued', diskFormat: null, properties: { bhyve_checkpoint: kind, bhyve_checkpoint_store: store } });
  return messageTo('snapshot_instance', { instance: setTask(world, uuid, 'image_snapshot_pending').toWire(), image_id: newImageId });
}
/** Back to it; nova-api has put the new image and its properties into the row. */
export function restoreCheckpointMessage(world: World, uuid: InstanceUuid): WireMessage {
  const row = setTask(world, uuid, 'rebuilding');
  row.set('image_ref', newImageId);
  row.set('system_metadata', { image_bhyve_checkpoint: 'disk', image_bhyve_checkpoint_id: newImageId, image_min_disk: '1' });
  row.resetChanges();
  world.rows.set(uuid, row.toWire());
  return messageTo('rebuild_instance', {
    instance: row.toWire(), orig_image_ref: imageId, image_ref: newImageId, injected_files: [], new_pass: 'secret', orig_sys_metadata: {}, bdms: null,
    recreate: false, on_shared_storage: false, preserve_ephemeral: false, migration: null, scheduled_node: null, limits: null, request_spec: null, accel_uuids: [],
  });
}
export function backupMessage(world: World, uuid: InstanceUuid): WireMessage {
  queueImage(world);
  return messageTo('backup_instance', { instance: setTask(world, uuid, 'image_backup').toWire(), image_id: newImageId, backup_type: 'daily', rotation: 1 });
}
export function shelveMessage(world: World, uuid: InstanceUuid): WireMessage {
  queueImage(world);
  return messageTo('shelve_instance', { instance: setTask(world, uuid, 'shelving').toWire(), image_id: newImageId, clean_shutdown: true, accel_uuids: [] });
}
export const offloadMessage = (world: World, uuid: InstanceUuid): WireMessage =>
  messageTo('shelve_offload_instance', { instance: setTask(world, uuid, 'shelving_offloading').toWire(), clean_shutdown: false, accel_uuids: [] });
/** The conductor has let the scheduler choose: a new allocation. */
export function unshelveMessage(world: World, uuid: InstanceUuid): WireMessage {
  world.allocations.add(uuid);
  return messageTo('unshelve_instance', {
    instance: setTask(world, uuid, 'unshelving').toWire(), image: { id: newImageId, properties: {} }, filter_properties: { limits: {} }, node: ourHost, request_spec: null, accel_uuids: [],
  });
}
