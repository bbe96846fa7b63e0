/** Messages as nova-api and nova-conductor send them, on a World's rows. */
import { randomBytes } from 'node:crypto';
import type { InstanceUuid } from '../../src/lib/ids.js';
import type { NovaObjectOf } from '../../src/objects/index.js';
import type { WireMessage } from '../../src/rpc/index.js';
import { imageId, newInstance, ourHost, rowOf, type World } from './world.js';

function message(method: string, args: Readonly<Record<string, unknown>>): WireMessage {
  return {
    method, args, version: '6.0', _unique_id: randomBytes(16).toString('hex'), _context_request_id: 'req-00000000-0000-4000-8000-000000000000',
    _context_project_id: 'project-1', _context_user_id: 'user-1', _context_is_admin: false, _context_roles: ['member'], _context_auth_token: 'secret-token',
  };
}

function setTask(world: World, uuid: InstanceUuid, task: string): NovaObjectOf<'Instance'> {
  const row = rowOf(world, uuid);
  if (row === undefined) throw new Error('no such row');
  row.set('task_state', task);
  row.resetChanges();
  world.rows.set(uuid, row.toWire());
  return row;
}

/** The scheduler has chosen us: row, allocation, message. */
export function buildMessage(world: World, uuid: InstanceUuid): WireMessage {
  const instance = newInstance(uuid);
  world.rows.set(uuid, instance.toWire());
  world.allocations.add(uuid);
  return message('build_and_run_instance', {
    instance: instance.toWire(), image: { id: imageId, properties: {} }, request_spec: null, filter_properties: { retry: { num_attempts: 1, hosts: [] } }, admin_password: 'secret',
    injected_files: [], requested_networks: null, security_groups: [], block_device_mapping: null, node: ourHost, limits: {}, host_list: [], accel_uuids: [],
  });
}

export const deleteMessage = (world: World, uuid: InstanceUuid): WireMessage =>
  message('terminate_instance', { instance: setTask(world, uuid, 'deleting').toWire(), bdms: null });
export const stopMessage = (world: World, uuid: InstanceUuid): WireMessage =>
  message('stop_instance', { instance: setTask(world, uuid, 'powering-off').toWire(), clean_shutdown: true });
export const pauseMessage = (world: World, uuid: InstanceUuid): WireMessage =>
  message('pause_instance', { instance: setTask(world, uuid, 'pausing').toWire() });
export const unpauseMessage = (world: World, uuid: InstanceUuid): WireMessage =>
  message('unpause_instance', { instance: setTask(world, uuid, 'unpausing').toWire() });
export const softDeleteMessage = (world: World, uuid: InstanceUuid): WireMessage =>
  message('soft_delete_instance', { instance: setTask(world, uuid, 'soft-deleting').toWire() });
export const restoreMessage = (world: World, uuid: InstanceUuid): WireMessage =>
  message('restore_instance', { instance: setTask(world, uuid, 'restoring').toWire() });
export const startMessage = (world: World, uuid: InstanceUuid): WireMessage =>
  message('start_instance', { instance: setTask(world, uuid, 'powering-on').toWire() });
export const rebootMessage = (world: World, uuid: InstanceUuid, type: 'SOFT' | 'HARD'): WireMessage =>
  message('reboot_instance', { instance: setTask(world, uuid, type === 'SOFT' ? 'rebooting' : 'rebooting_hard').toWire(), block_device_info: null, reboot_type: type });
