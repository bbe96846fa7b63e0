/** Sections of our own: unknown names in them are errors. */
import { address, boolean, choice, dictionary, integer, list, matching, path, port } from './kinds.js';
import { option, optional } from './option.js';

const datasetPattern = /^[A-Za-z][A-Za-z0-9_.:-]*(\/[A-Za-z0-9_.:-]+)+$/;

export const agentSection = {
  device_root: option(path, '/dev', 'Where device nodes are. Only the lab changes this.'),
  boot_messages: option(path, '/var/run/dmesg.boot', "The kernel's messages of the last boot: where FreeBSD says what the processor can do."),
  path: option(list(path), '/sbin,/bin,/usr/sbin,/usr/bin,/usr/local/sbin,/usr/local/bin', 'Folders in which the tools are looked for, once, at start.'),
  http_bind: option(address, '127.0.0.1', 'Address of /healthz, /readyz and /metrics. There is no log-in: keep it on loopback or a private network.'),
  http_port: option(integer({ min: 0, max: 65535 }), '9797', 'Port of the same; 0 = off.'),
  log_level: optional(choice('trace', 'debug', 'info', 'warn', 'error'), 'Not set: debug if [DEFAULT] debug is true, otherwise info. trace prints messages of the bus (without secrets).'),
  log_file: optional(path, 'Not set: standard output, which daemon(8) sends to a file or to syslog. Re-opened on SIGHUP.'),
};

export const bhyveSection = {
  firmware_dirs: option(list(path), '/usr/local/share/edk2-bhyve,/usr/local/share/uefi-firmware,/usr/local/share/u-boot/u-boot-bhyve-arm64',
    'Folders with the boot ROM: BHYVE_UEFI_CODE.fd and BHYVE_UEFI_VARS.fd on amd64, u-boot.bin on arm64.'),
  vnc_port_min: option(port, '5900', 'First port for VNC.'),
  vnc_port_max: option(port, '6899', 'Last port for VNC; one per running guest.'),
  snapshot_image_format: option(choice('raw', 'qcow2'), 'raw',
    'Form of the images that snapshot, backup and shelve make. raw is streamed, zeros included (a store of Glance with thin provisioning does not keep them); qcow2 leaves them out, and is written into state_path first.'),
  snapshot_compression: option(boolean, 'false', 'Compress qcow2 images.'),
  snapshot_upload_rate_mib: option(integer({ min: 0 }), '0', 'MiB per second that one image may take on its way to Glance; 0 = no limit.'),
  save_restore: option(choice('auto', 'sandboxed', 'off'), 'auto', 'auto: suspend and resume work once nova-bhyve selftest save-restore has passed on this host, with the bhyve and the kernel that it has; sandboxed: the same, but refused where bhyve has no sandbox (FreeBSD 13 built with BHYVE_SNAPSHOT); off: they are refused.'),
  save_location: option(choice('auto', 'state', 'disk'), 'auto', "Where bhyve writes the memory of a guest that is saved. state: below state_path; disk: beside the guest's first disk, which must be a file then (FreeBSD-UPB's bhyve with Capsicum reaches nothing else); auto: as the program of bhyve needs it."),
  console_log_limit_mib: option(integer({ min: 1, max: 4096 }), '16', "Size in MiB at which a guest's console log is cut."),
};

export const zfsSection = {
  root: option(matching('a dataset below a pool', datasetPattern, 'POOL/NAME, e.g. zroot/nova'), 'zroot/nova',
    'Everything that the agent makes is below this dataset; it never leaves it. Made at the first start; the pool must exist.'),
};

export const l2AgentSection = {
  enabled: option(boolean, 'false', 'Report to Neutron as an Open vSwitch agent and wire the ports of this host onto FreeBSD bridges.'),
  bridge_mappings: option(dictionary, '', 'physical_network:bridge, as in the Open vSwitch agent.', { sample: 'physnet1:bridge0' }),
  interface_mappings: option(dictionary, '', 'physical_network:interface that leads to it; VLAN interfaces are made on top of it.', { sample: 'physnet1:em1' }),
  report_interval: option(integer({ min: 1 }), '30', "Seconds between two reports; well below Neutron's agent_down_time (75)."),
};

export const migrationSection = {};
export const checkpointSection = {
  max_per_instance: option(integer({ min: 0 }), '16', 'Checkpoints that a server may have; each keeps what its disks have changed since, and those with memory keep that below state_path. 0: none.'),
};
