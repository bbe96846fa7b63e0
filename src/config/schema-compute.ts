/** Nova's own options that this agent obeys: names, sections and defaults are those of nova.conf (nova/conf, Zed to 2026.2). */
import { auditPeriodPattern } from '../lib/audit-period.js';
import { address, boolean, choice, float, integer, list, matching, path, text, url } from './kinds.js';
import { option, optional } from './option.js';

const seconds = integer({ min: 0 });
const interval = integer();

export const defaultSection = {
  host: option(matching('a host name', /^[A-Za-z0-9._@-]{1,255}$/, 'letters, digits, dots and dashes'), '$machine.hostname',
    "The name under which Nova knows this host. Must be what Neutron's agent reports as well. Changing it makes a new host of it.",
    { sample: '(the name of this machine)' }),
  my_ip: option(address, '$machine.address', 'Address of this host on the management network; reported as host_ip.',
    { sample: '(first address of this machine that is not loopback)' }),
  state_path: option(path, '/var/db/nova-bhyve', 'Where the agent keeps its identity, its journal and the folders of the instances.'),
  transport_url: option(matching('a rabbit URL', /^rabbit:\/\/\S+$/, 'rabbit://USER:PASSWORD@HOST:5672/VHOST'), '',
    'The message bus, as every service of this cloud has it. Several hosts: rabbit://u:p@a:5672,u:p@b:5672/vhost. Escape odd characters of a password as in a URL (%40 for @).',
    { secret: true, sample: 'rabbit://openstack:PASSWORD@controller:5672/' }),
  control_exchange: option(text, 'nova', 'Exchange of the RPC topics.'),
  rpc_response_timeout: option(integer({ min: 1 }), '60', 'Seconds to wait for the answer to an ordinary call.'),
  long_rpc_timeout: option(integer({ min: 1 }), '1800', 'Seconds to wait for the answer to a call that is watched by keep-alives.'),
  rpc_ping_enabled: option(boolean, 'false', 'Also answer oslo_rpc_server_ping, for monitoring from outside.'),
  report_interval: option(integer({ min: 1 }), '10', 'Seconds between two heartbeats in the service record.'),
  service_down_time: option(integer({ min: 1 }), '60', 'Seconds without a heartbeat after which Nova calls the service down; must be larger than report_interval.'),
  periodic_enable: option(boolean, 'true', 'Whether periodic duties run at all.'),
  periodic_fuzzy_delay: option(seconds, '60', 'Periodic duties begin after a random number of seconds up to this.'),
  graceful_shutdown_timeout: option(seconds, '60', 'Seconds that work under way gets when the service is stopped; the journal carries on after a restart.'),
  reserved_host_cpus: option(integer({ min: 0 }), '0', 'Processors kept for the host.'),
  reserved_host_memory_mb: option(integer({ min: 0 }), '512', 'Memory in MiB kept for the host. Give ZFS its share here (vfs.zfs.arc_max).'),
  reserved_host_disk_mb: option(integer({ min: 0 }), '0', 'Disk in MiB kept for the host.'),
  cpu_allocation_ratio: optional(float({ min: 0 }), 'Overcommit of processors, set again at each audit. Not set: the initial ratio is used once, then what Placement has is kept.'),
  ram_allocation_ratio: optional(float({ min: 0 }), 'The same for memory.'),
  disk_allocation_ratio: optional(float({ min: 0 }), 'The same for disk.'),
  initial_cpu_allocation_ratio: optional(float({ min: 0 }), "Ratio for a new provider. Not set: the default of the cloud's release."),
  initial_ram_allocation_ratio: optional(float({ min: 0 }), "Ratio for a new provider. Not set: the default of the cloud's release."),
  initial_disk_allocation_ratio: option(float({ min: 0 }), '1.0', 'Ratio for a new provider.'),
  vif_plugging_timeout: option(seconds, '300', 'Seconds to wait for Neutron to say that a port is wired; 0 = do not wait.'),
  vif_plugging_is_fatal: option(boolean, 'true', 'Whether a boot fails when Neutron does not say so in time.'),
  max_concurrent_builds: option(integer({ min: 0 }), '10', 'Instances built at a time; 0 = no limit.'),
  max_concurrent_snapshots: option(integer({ min: 0 }), '5', 'Snapshots taken at a time; 0 = no limit.'),
  resume_guests_state_on_host_boot: option(boolean, 'false', 'Start the guests that ran before when the host has been rebooted.'),
  sync_power_state_interval: option(interval, '600', 'Seconds between two comparisons of all power states; negative = never.'),
  update_resources_interval: option(interval, '0', 'Seconds between two resource audits; 0 = 60, negative = never.'),
  scheduler_instance_sync_interval: option(interval, '120', 'Seconds between two lists of instances sent to the schedulers; negative = never.'),
  heal_instance_info_cache_interval: option(interval, '60', 'Seconds between two refreshes of a network info cache (one instance each); negative = never.'),
  running_deleted_instance_action: option(choice('reap', 'log', 'shutdown', 'noop'), 'reap', 'What to do with a guest whose instance is deleted.'),
  running_deleted_instance_poll_interval: option(interval, '1800', 'Seconds between two searches for such guests; negative = never.'),
  running_deleted_instance_timeout: option(interval, '0', 'Seconds that must have passed since the deletion.'),
  reclaim_instance_interval: option(interval, '0', 'Seconds until a soft-deleted instance is really deleted; 0 = soft delete is off.'),
  rescue_timeout: option(seconds, '0', 'Seconds after which a rescue is ended; 0 = never.'),
  resize_confirm_window: option(seconds, '0', 'Seconds after which a resize that nobody confirms is confirmed; 0 = never.'),
  shelved_offload_time: option(integer({ min: -1 }), '0', 'Seconds after which a shelved server is taken off this host; 0 = at once, -1 = never.'),
  shelved_poll_interval: option(interval, '3600', 'Seconds between two looks for shelved servers whose time has come; negative = never.'),
  instance_build_timeout: option(seconds, '0', 'Seconds after which a build that does not end becomes an error; 0 = never.'),
  reboot_timeout: option(seconds, '0', 'Seconds after which a soft reboot that does not end becomes a hard one; 0 = never.'),
  instance_usage_audit: option(boolean, 'false', 'Tell the usage of each instance (compute.instance.exists) when a period is over. Needs [oslo_messaging_notifications]driver.'),
  instance_usage_audit_period: option(
    matching('hour, day, month or year, with @NUMBER for another beginning (day@18: at 18:00)', auditPeriodPattern, 'month@15'), 'month', 'The periods of that, in UTC.'),
  instance_delete_interval: option(interval, '300', 'Seconds between two attempts to clean up after deletions while the agent was away; negative = never.'),
  maximum_instance_delete_attempts: option(integer({ min: 1 }), '5', 'How often the files of one deleted instance are tried.'),
  shutdown_timeout: option(seconds, '60', 'Seconds that a guest gets to power off before it is forced (image property os_shutdown_timeout wins).'),
  network_allocate_retries: option(integer({ min: 0 }), '0', 'How often the allocation of ports is tried again.'),
  block_device_allocate_retries: option(integer({ min: 0 }), '60', 'How often a new volume is looked at before it must be available.'),
  instance_name_template: option(text, 'instance-%08x', "Name of an instance for operators: %08x or %d = the row's id, %(uuid)s and so on as in Nova."),
  force_config_drive: option(boolean, 'false', 'Give every instance a config drive.'),
  config_drive_format: option(choice('iso9660', 'vfat'), 'iso9660', 'Only iso9660 is made; vfat is refused at start.'),
  default_ephemeral_format: optional(text, 'File system of ephemeral disks for which the user names none: vfat, or ext2, ext3 or ext4 with e2fsprogs. Unset: they begin empty.'),
  default_access_ip_network_name: optional(text, 'Network whose addresses become access_ip_v4 and access_ip_v6.'),
  default_availability_zone: option(text, 'nova', 'Zone of a host that is in no aggregate with a zone; shown in metadata.'),
  debug: option(boolean, 'false', 'Log at level debug, unless [agent] log_level says otherwise.'),
};

export const computeSection = {
  shutdown_retry_interval: option(integer({ min: 1 }), '10', "Seconds between two presses of a guest's power button."),
  image_type_exclude_list: option(list(text), '', 'Image formats that this host does not take.'),
  vmdk_allowed_types: option(list(text), 'streamOptimized,monolithicSparse', 'VMDK sub-formats that are taken.'),
  resource_provider_association_refresh: option(seconds, '300', 'Seconds that traits and aggregates of our provider are remembered; 0 = until a restart.'),
  max_concurrent_disk_ops: option(integer({ min: 0 }), '0', 'Downloads and conversions of images at a time; 0 = no limit.'),
  max_disk_devices_to_attach: option(integer({ min: -1 }), '-1', 'Disks per guest; -1 = as many as there are PCI slots.'),
  provider_config_location: option(path, '/etc/nova/provider_config', "Folder with *.yaml that add custom inventories and traits to this node's resource provider (Nova's provider.yaml); it may be absent."),
  consecutive_build_service_disable_threshold: option(integer({ min: 0 }), '10', 'Failed builds in a row that are reported to the scheduler; 0 = do not report.'),
};

export const imageCacheSection = {
  manager_interval: option(integer({ min: -1 }), '2400', 'Seconds between two looks at the image cache; -1 = never, 0 = 60.',
    { aliases: ['DEFAULT.image_cache_manager_interval'] }),
  remove_unused_base_images: option(boolean, 'true', 'Whether images that nobody uses are dropped.', { aliases: ['DEFAULT.remove_unused_base_images'] }),
  remove_unused_original_minimum_age_seconds: option(integer(), '86400', 'How long an image must have been unused.',
    { aliases: ['DEFAULT.remove_unused_original_minimum_age_seconds'] }),
};

export const workaroundsSection = {
  disable_deep_image_inspection: option(boolean, 'false',
    'Nova takes images unseen with this. The agent does not: it is read so that a shared nova.conf works, and a warning says that it has no effect.'),
  disable_group_policy_check_upcall: option(boolean, 'false', 'Do not check server-group policies again on the host.'),
  handle_virt_lifecycle_events: option(boolean, 'true', 'Report at once when a guest stops or starts by itself.'),
};

export const filterSchedulerSection = {
  track_instance_changes: option(boolean, 'true', 'Tell the schedulers which instances are here.'),
};

export const schedulerSection = {
  max_attempts: option(integer({ min: 1 }), '3', 'How many hosts a build may try.'),
};

export const consoleauthSection = {
  token_ttl: option(integer({ min: 0 }), '600', 'Seconds that a console URL is valid.', { aliases: ['DEFAULT.console_token_ttl'] }),
};

export const vncSection = {
  enabled: option(boolean, 'true', 'Give guests a framebuffer that can be reached through nova-novncproxy.', { aliases: ['DEFAULT.vnc_enabled'] }),
  server_listen: option(address, '127.0.0.1', 'Address at which guests show their screens. Without the tls_* options bhyve itself listens there, without password: it must be reachable by the proxy only.'),
  server_proxyclient_address: option(address, '$server_listen', 'Address under which the proxy reaches it.'),
  novncproxy_base_url: option(url, 'http://127.0.0.1:6080/vnc_auto.html', 'Where users find the proxy.', { aliases: ['DEFAULT.novncproxy_base_url'] }),
  tls_cert_file: optional(path, 'Certificate (PEM, with what it is signed with) that this host shows to the proxy. With this and the next two, bhyve listens on 127.0.0.1 and has a password of its own for each guest, and only a proxy with a certificate reaches the screens, over TLS: set auth_schemes=vencrypt and vencrypt_* in its [vnc]. Nova has no such option for compute hosts.'),
  tls_key_file: optional(path, 'Its key (PEM, without a passphrase).'),
  tls_client_ca_file: optional(path, "Certificate (PEM) of the authority that the proxy's certificate is signed by; make one that signs nothing else."),
};

export const serialConsoleSection = {
  enabled: option(boolean, 'false', 'Give interactive serial consoles through nova-serialproxy.'),
  base_url: option(url, 'ws://127.0.0.1:6083/', 'Where users find the proxy.'),
  proxyclient_address: option(address, '127.0.0.1',
    'Address of this host at which the proxy reaches the consoles. A connection is let in only after the proxy has shown a token; it is plain text, so keep it on a private network.'),
  port_range: option(matching('a range of ports', /^[1-9]\d{0,4}:[1-9]\d{0,4}$/, 'FIRST:LAST, e.g. 10000:20000'), '10000:20000', 'Ports for them; one per console that is in use.'),
};

export const apiSection = {
  dhcp_domain: option(text, 'novalocal', "Domain added to a host name in a guest's metadata; may be empty.", { aliases: ['DEFAULT.dhcp_domain'] }),
  vendordata_providers: option(list(choice('StaticJSON', 'DynamicJSON')), 'StaticJSON', 'What fills vendor_data.json (StaticJSON) and vendor_data2.json (both) in config drives.'),
  vendordata_jsonfile_path: optional(path, 'The JSON object of StaticJSON.'),
  vendordata_dynamic_targets: option(list(text), '', 'Services that DynamicJSON asks about each guest, as NAME@URL.', { aliases: ['DEFAULT.vendordata_dynamic_targets'], secret: true }),
  vendordata_dynamic_ssl_certfile: optional(path, 'CA certificates (PEM) for them; not set: those of the system.', { aliases: ['DEFAULT.vendordata_dynamic_ssl_certfile'] }),
  vendordata_dynamic_connect_timeout: option(integer({ min: 3 }), '5', 'Seconds for the connection to one of them. An answer has this and the next together.', { aliases: ['DEFAULT.vendordata_dynamic_connect_timeout'] }),
  vendordata_dynamic_read_timeout: option(integer({ min: 0 }), '5', 'Seconds for its answer.', { aliases: ['DEFAULT.vendordata_dynamic_read_timeout'] }),
  vendordata_dynamic_failure_fatal: option(boolean, 'false', 'Whether a build fails when one of them does not answer; otherwise the guest is told nothing of it.'),
};
