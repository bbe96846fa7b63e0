/**
 * Every method of nova-compute's RPC API that this host does not carry out yet, and how it says so (nova-contract 6.1 and 17). A
 * refusal is quick, keeps the server's vm_state, clears its task and leaves a fault; nothing hangs and nothing ends in NoSuchMethod.
 */
import type { NovaFault } from '../../lib/errors.js';
import { novaFaults } from '../../lib/nova-faults.js';

export type CleanUp = 'leave-evacuation' | 'fail-migration';

export interface Refusal {
  readonly rpc: string;
  /** Nova's wrappers around it: T reverts the task, E is the action event, F the fault, M puts the migration into error. */
  readonly wrappers: string;
  /** What the caller gets. */
  readonly fault: (facts: { readonly instance: string; readonly args: Readonly<Record<string, unknown>> }) => NovaFault;
  readonly cleanUp?: CleanUp;
  /** For people. */
  readonly reason: string;
}

/** A sentence for users. */
const unsupported = (what: string) => (): NovaFault => novaFaults.notImplemented(`${what.charAt(0).toUpperCase()}${what.slice(1)} not supported by this host yet`);
const plain = (rpc: string, wrappers: string, what: string, cleanUp?: CleanUp): Refusal => ({
  rpc, wrappers, fault: unsupported(what), reason: `${what} not supported by this host yet`, ...(cleanUp === undefined ? {} : { cleanUp }),
});
const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');
const isTagged = (args: Readonly<Record<string, unknown>>): boolean => textOf(args['tag']) !== '';

export const instanceRefusals: readonly Refusal[] = [
  {
    rpc: 'quiesce_instance', wrappers: '', reason: 'quiescing is not supported by this host yet',
    fault: ({ instance }) => novaFaults.instanceQuiesceNotSupported(instance, 'this host has no guest agent'),
  },
  plain('unquiesce_instance', '', 'quiescing is'),
  plain('volume_snapshot_create', '', 'assisted volume snapshots are'),
  plain('volume_snapshot_delete', '', 'assisted volume snapshots are'),
  {
    rpc: 'prep_snapshot_based_resize_at_dest', wrappers: 'EF', reason: 'cross-cell resize is not supported by this host yet',
    fault: () => novaFaults.migrationPreCheckError('cross-cell resize is not supported by this host yet'),
  },
  plain('prep_snapshot_based_resize_at_source', 'TEF', 'cross-cell resize is', 'fail-migration'),
  plain('finish_snapshot_based_resize_at_dest', 'TEF', 'cross-cell resize is', 'fail-migration'),
  plain('confirm_snapshot_based_resize_at_source', 'EF', 'cross-cell resize is', 'fail-migration'),
  plain('revert_snapshot_based_resize_at_dest', 'TEF', 'cross-cell resize is', 'fail-migration'),
  plain('finish_revert_snapshot_based_resize_at_source', 'TEF', 'cross-cell resize is', 'fail-migration'),
  plain('pre_live_migration', 'EF', 'live migration is'),
  plain('live_migration', 'TEF', 'live migration is', 'fail-migration'),
  plain('live_migration_force_complete', 'EF', 'live migration is'),
  plain('live_migration_abort', 'EF', 'live migration is'),
  plain('post_live_migration_at_destination', 'EF', 'live migration is'),
  plain('rollback_live_migration_at_destination', 'EF', 'live migration is'),
  plain('drop_move_claim_at_destination', 'F', 'live migration is'),
  plain('remove_volume_connection', '', 'volumes are'),
  {
    rpc: 'reserve_block_device_name', wrappers: 'TF', reason: 'volumes are not supported by this host yet',
    fault: ({ args }) =>
      isTagged(args) ? novaFaults.volumeTaggedAttachNotSupported()
        : args['multiattach'] === true ? novaFaults.multiattachNotSupportedByVirtDriver(textOf(args['volume_id']))
          : novaFaults.invalidVolume('volumes are not supported by the host of this server yet'),
  },
  plain('attach_volume', 'EF', 'volumes are'),
  plain('detach_volume', 'EF', 'volumes are'),
  plain('swap_volume', 'EF', 'volumes are'),
  {
    rpc: 'attach_interface', wrappers: 'EF', reason: 'attaching interfaces is not supported by this host yet',
    fault: ({ instance, args }) => (isTagged(args) ? novaFaults.networkInterfaceTaggedAttachNotSupported() : novaFaults.attachInterfaceNotSupported(instance)),
  },
  plain('detach_interface', 'EF', 'detaching interfaces is'),
  plain('add_fixed_ip_to_instance', 'F', 'changing fixed addresses is'),
  plain('remove_fixed_ip_from_instance', 'F', 'changing fixed addresses is'),
  plain('inject_network_info', 'F', 'injecting network information is'),
  ...(['spice', 'mks'] as const).map((type): Refusal => ({
    rpc: `get_${type}_console`, wrappers: 'F', reason: `${type} consoles are not supported by this host yet`,
    fault: ({ args }) => novaFaults.consoleTypeUnavailable(typeof args['console_type'] === 'string' ? args['console_type'] : type),
  })),
  plain('get_rdp_console', 'F', 'rdp consoles are'),
  plain('allow_share', 'EF', 'shares are'),
  plain('deny_share', 'EF', 'shares are'),
];

/** Methods about the host, and those whose instance comes in another argument. */
export const hostRefusals: readonly Refusal[] = [
  plain('host_power_action', '', 'switching the host is'),
  plain('host_maintenance_mode', '', 'host maintenance mode is'),
  plain('check_instance_shared_storage', '', 'shared storage is'),
];
