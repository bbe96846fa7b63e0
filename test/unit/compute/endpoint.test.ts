import { describe, expect, test } from 'vitest';
import { computeEndpoint } from '../../../src/compute/endpoint.js';
import type { ComputeDeps } from '../../../src/compute/deps.js';
import { hostRefusals, instanceRefusals } from '../../../src/compute/refusals/table.js';

/** Every method of nova-compute's RPC API 6.0 to 6.5 (nova/compute/rpcapi.py, Zed to 2026.2). */
const methods = `build_and_run_instance terminate_instance soft_delete_instance restore_instance start_instance stop_instance reboot_instance pause_instance
 unpause_instance suspend_instance resume_instance trigger_crash_dump set_admin_password snapshot_instance backup_instance quiesce_instance unquiesce_instance
 volume_snapshot_create volume_snapshot_delete shelve_instance shelve_offload_instance unshelve_instance rescue_instance unrescue_instance rebuild_instance prep_resize
 resize_instance finish_resize confirm_resize revert_resize finish_revert_resize prep_snapshot_based_resize_at_dest prep_snapshot_based_resize_at_source
 finish_snapshot_based_resize_at_dest confirm_snapshot_based_resize_at_source revert_snapshot_based_resize_at_dest finish_revert_snapshot_based_resize_at_source
 check_can_live_migrate_destination check_can_live_migrate_source pre_live_migration live_migration live_migration_force_complete live_migration_abort
 post_live_migration_at_destination rollback_live_migration_at_destination drop_move_claim_at_destination remove_volume_connection check_instance_shared_storage
 reserve_block_device_name attach_volume detach_volume swap_volume attach_interface detach_interface add_fixed_ip_to_instance remove_fixed_ip_from_instance inject_network_info
 get_console_output get_vnc_console get_spice_console get_serial_console get_mks_console get_rdp_console validate_console_port get_diagnostics get_instance_diagnostics
 get_host_uptime set_host_enabled host_power_action host_maintenance_mode external_instance_event cache_images allow_share deny_share`.split(/\s+/);

const endpoint = computeEndpoint({} as ComputeDeps);

describe('the compute endpoint', () => {
  test('serves every method, so that nothing ends in NoSuchMethod', () => {
    expect([...endpoint.methods.keys()].sort()).toEqual([...methods].sort());
    expect(endpoint.version).toBe('6.5');
  });

  test('refuses in words for people, without kwargs where Python could not rebuild the exception', () => {
    for (const refusal of [...instanceRefusals, ...hostRefusals]) {
      const fault = refusal.fault({ instance: 'i', args: {} });
      if (fault.module === 'builtins') expect([refusal.rpc, fault.kwargs]).toEqual([refusal.rpc, {}]);
      expect(refusal.reason).toMatch(/not supported by this host yet/);
    }
  });

  test.each([
    ['reserve_block_device_name', {}, 'InvalidVolume'], ['reserve_block_device_name', { tag: 't' }, 'VolumeTaggedAttachNotSupported'],
    ['reserve_block_device_name', { multiattach: true }, 'MultiattachNotSupportedByVirtDriver'], ['attach_interface', {}, 'AttachInterfaceNotSupported'],
    ['attach_interface', { tag: 't' }, 'NetworkInterfaceTaggedAttachNotSupported'], ['get_serial_console', { console_type: 'serial' }, 'ConsoleTypeUnavailable'],
    ['prep_snapshot_based_resize_at_dest', {}, 'MigrationPreCheckError'], ['set_admin_password', {}, 'NotImplementedError'], ['quiesce_instance', {}, 'InstanceQuiesceNotSupported'],
  ])('%s %j is refused as %s', (rpc, args, className) => {
    const refusal = instanceRefusals.find((one) => one.rpc === rpc);
    expect(refusal?.fault({ instance: 'i', args }).className).toBe(className);
  });

  test('whatever leaves a task behind reverts it', () => {
    const withTask = ['pause_instance', 'unpause_instance', 'suspend_instance', 'resume_instance', 'rescue_instance', 'snapshot_instance', 'shelve_instance', 'rebuild_instance',
      'prep_resize', 'soft_delete_instance', 'set_admin_password'];
    for (const rpc of withTask) expect([rpc, instanceRefusals.find((one) => one.rpc === rpc)?.wrappers]).toEqual([rpc, 'TEF']);
  });
});
