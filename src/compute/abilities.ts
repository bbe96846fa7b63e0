/**
 * What a user or an administrator can ask Nova for, and what this host makes of it. Most of it is an RPC method and takes that method's
 * availability; the rest is a statement here, which test/unit/compute/abilities.test.ts holds against the rules that refuse builds.
 */
import { assert } from '../lib/assert.js';
import { registeredMethods } from './endpoint.js';
import type { Availability } from './operation.js';
import { saveAvailability } from './suspend-instance.js';

export interface Ability {
  readonly what: string;
  readonly availability: Availability;
}

/** All of these methods are needed; the first that does not work is the reason. */
const byMethods = (what: string, ...methods: readonly string[]) => ({ what, methods });
const works = (what: string, reason?: string): Ability => ({ what, availability: { status: 'works', ...(reason === undefined ? {} : { reason }) } });
const refused = (what: string, reason: string): Ability => ({ what, availability: { status: 'refused', reason } });

const table: readonly (Ability | ReturnType<typeof byMethods>)[] = [
  // a server's life
  byMethods('create a server from an image', 'build_and_run_instance'),
  byMethods('delete', 'terminate_instance'),
  byMethods('deferred delete and restore', 'soft_delete_instance', 'restore_instance'),
  byMethods('start, stop, reboot (soft and hard)', 'start_instance', 'stop_instance', 'reboot_instance'),
  byMethods('pause and unpause', 'pause_instance', 'unpause_instance'),
  byMethods('suspend and resume', 'suspend_instance', 'resume_instance'),
  byMethods('rebuild', 'rebuild_instance'),
  byMethods('rescue and unrescue', 'rescue_instance', 'unrescue_instance'),
  byMethods('shelve, offload, unshelve', 'shelve_instance', 'shelve_offload_instance', 'unshelve_instance'),
  byMethods('snapshot to an image', 'snapshot_instance'),
  byMethods('backup with rotation', 'backup_instance'),
  works('checkpoints of all disks (image property bhyve_checkpoint=disk), and back to any of them by rebuild', 'kept on this host, [checkpoint] max_per_instance of a server; crash-consistent while it runs'),
  { what: 'checkpoints with memory (bhyve_checkpoint=full), and a guest that goes on from there by rebuild', availability: {
    ...saveAvailability, reason: `${saveAvailability.reason}; the guest stands still meanwhile, and goes back to the same bhyve, flavor, disks and ports` } },
  { what: 'suspend of servers with NVMe disks', availability: {
    status: 'needs-host-feature', reason: 'a bhyve with code for it, which no release has: NVMe must have come back in the self-test (trait CUSTOM_BHYVE_SAVE_NVME); elsewhere such a server is refused, and so is its creation by a flavor that requires CUSTOM_BHYVE_SAVE_RESTORE' } },
  works('checkpoints by the operator of the host (nova-bhyve checkpoint create, restore, delete)', 'of servers that are active or stopped; with memory as above'),
  works('checkpoints in Glance (bhyve_checkpoint_store=glance): all disks, variables and memory; boots new servers, and comes back to its own after shelving', 'memory comes back on the host that saved it only; parts are hidden images of the same owner, deleted with the image'),
  byMethods('resize, confirm, revert', 'prep_resize', 'resize_instance', 'finish_resize', 'confirm_resize', 'revert_resize', 'finish_revert_resize'),
  refused('cold migration to another host', 'not supported by this host yet'),
  byMethods('live migration', 'check_can_live_migrate_destination', 'pre_live_migration', 'live_migration'),
  refused('evacuation', 'not supported by this host yet'),
  // looking at it
  byMethods('console log', 'get_console_output'),
  byMethods('VNC console', 'get_vnc_console', 'validate_console_port'),
  byMethods('serial console', 'get_serial_console', 'validate_console_port'),
  refused('SPICE, MKS and RDP consoles', 'bhyve has VNC'),
  byMethods('diagnostics', 'get_diagnostics', 'get_instance_diagnostics'),
  byMethods('crash dump (NMI)', 'trigger_crash_dump'),
  byMethods('set the admin password of a running server', 'set_admin_password'),
  // disks and images
  works('images in raw, qcow2, VMDK, VDI, VHD, ISO', 'inspected before any converter sees them; minus [compute] image_type_exclude_list'),
  { what: 'disks of servers as qcow2 files ([bhyve] disk_format=qcow2)', availability: { status: 'needs-host-feature',
    reason: 'a bhyve with libvdsk (trait CUSTOM_BHYVE_LIBVDSK); on SATA only, so an image or a flavor that insists on virtio or NVMe is refused; a server keeps the form that it was made with; no suspend, no memory in checkpoints; for a checkpoint and an image of a running server its guest stands still while bhyve saves its memory, which is thrown away' } },
  { what: 'checkpoints of qcow2 disks inside or outside of them (image property bhyve_checkpoint_kind=internal or external)', availability: { status: 'needs-host-feature',
    reason: 'a bhyve with libvdsk, else with the server off; external ones unless asked for; one kind at a time; with internal ones no resize, no rebuild to another image and no snapshot' } },
  works('ephemeral and swap disks', 'ephemeral ones begin empty unless the user or default_ephemeral_format names vfat, ext2, ext3 or ext4 (the last three need mke2fs)'),
  works('boot from an ISO image', 'the image is the CD; ephemeral disks are what an installer finds'),
  refused('boot from volume', 'Cinder volumes are not supported by this host yet'),
  byMethods('attach and detach volumes', 'reserve_block_device_name', 'attach_volume', 'detach_volume'),
  byMethods('swap volumes', 'swap_volume'),
  byMethods('shares (Manila)', 'allow_share', 'deny_share'),
  works('config drive, metadata, user data, key pair, injected files', 'files go into the config drive, never into a guest file system'),
  byMethods('image pre-cache', 'cache_images'),
  refused('quiesced snapshots (os_require_quiesce) of running servers', 'bhyve guests have no agent; stop the server first'),
  // devices
  works('UEFI guests with virtio disks and network cards'),
  works('SATA and NVMe disks (hw_disk_bus, disk_bus of one disk)', "NVMe by image property bhyve_disk_bus=nvme, as Nova's API takes no nvme"),
  works('e1000 network cards (hw_vif_model)'),
  works('sockets, cores and threads of a guest (hw:cpu_*, hw_cpu_*), random numbers (hw_rng), no screen (hw_video_model=none), mouse (hw_pointer_model), clock by os_type'),
  { what: 'quotas of a flavor (quota:cpu_quota, cpu_period, disk_read/write_bytes/iops_sec)', availability: { status: 'needs-host-feature', reason: 'kern.racct.enable=1 in loader.conf; they hold the whole guest, not each disk' } },
  refused('other quotas of a flavor (cpu_shares, disk_total, bursts, vif, memory)', 'rctl(8) has nothing like them'),
  refused('BIOS guests (hw_firmware_type=bios)', 'guests boot by UEFI'),
  refused('IDE, SCSI, USB and other buses, network cards, screens and machine properties', 'bhyve has none of them; a property that is not known is refused too'),
  refused('secure boot, virtual TPM, memory encryption', 'bhyve has none of them'),
  works('device tags of ports and disks when a server is made', 'in the metadata service and in the config drive, with the PCI address that the device keeps'),
  refused('image certificate validation', 'not supported by this host'),
  refused('accelerators, PCI passthrough, SR-IOV, vGPU', 'not supported by this host; the scheduler is not told of any'),
  refused('NUMA topology, CPU pinning, huge pages', 'not supported by this host; the scheduler is not told of any'),
  // network
  works('flat and VLAN networks, several ports', "wired by the agent's own L2 agent ([l2_agent]) or a foreign one"),
  refused('VXLAN, GRE and Geneve networks', 'flat and VLAN can be wired'),
  byMethods('attach and detach interfaces', 'attach_interface', 'detach_interface'),
  byMethods('add and remove fixed addresses (old API)', 'add_fixed_ip_to_instance', 'remove_fixed_ip_from_instance'),
  // the host
  works('Placement inventory, traits, usages, ratios, reservations'),
  works("provider.yaml: custom inventories and traits", '[compute] provider_config_location'),
  works('vendor data in config drives', 'StaticJSON and DynamicJSON'),
  works('server groups, also checked late on this host', 'affinity, anti-affinity, max_server_per_host'),
  byMethods('disable and enable the host', 'set_host_enabled'),
  byMethods('uptime in hypervisor show', 'get_host_uptime'),
  byMethods('power and maintenance of the host', 'host_power_action', 'host_maintenance_mode'),
  works('notifications, unversioned and versioned', 'when [oslo_messaging_notifications] driver is set; usage audits (compute.instance.exists) with instance_usage_audit; volume usage is not sent'),
  works('running guests are taken up again after a restart; power sync; recovery of cut operations'),
];

/** In the order of the table. */
export function abilities(): readonly Ability[] {
  const byRpc = new Map(registeredMethods().map(({ rpc, availability }) => [rpc, availability]));
  return table.map((entry) => {
    if (!('methods' in entry)) return entry;
    const parts = entry.methods.map((rpc): Availability => {
      const availability = byRpc.get(rpc);
      assert(availability !== undefined, `no method ${rpc}`);
      return availability;
    });
    return { what: entry.what, availability: parts.find(({ status }) => status !== 'works') ?? parts[0] ?? { status: 'works' } };
  });
}
