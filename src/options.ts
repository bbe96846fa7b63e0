/** From the configuration file's words to the options that each part takes. Pure; nothing here knows how a part works. */
import type { Config } from './config/index.js';
import type { ComputeOptions, ResourceOptions } from './compute/index.js';
import type { Auth, EndpointOptions, TlsOptions } from './openstack/index.js';
import type { TopologyOptions, TlsOptions as BrokerTls } from './rpc/index.js';
import type { TlsFiles } from './console/index.js';
import type { SerialOptions, VncOptions } from './virt/index.js';
import { AgentError } from './lib/errors.js';

type AuthSection = Config['vendordata_dynamic_auth']; // what all sections with a log-in have
type AdapterSection = Config['placement'] | Config['neutron'] | Config['glance'];

const orAbsent = <T>(value: T | null): T | undefined => value ?? undefined;

/** keystoneauth's options of one section. AgentError `config-invalid` when the section cannot log in. */
export function authOf(section: AuthSection, name: string): Auth {
  const missing = (option: string): never => {
    throw new AgentError('config-invalid', `[${name}] ${option} is not set; without it the agent cannot log in to Keystone`);
  };
  const authUrl = section.auth_url ?? missing('auth_url');
  const domainName = section.default_domain_name;
  const domainId = section.default_domain_id;
  const user = {
    username: orAbsent(section.username), userId: orAbsent(section.user_id),
    userDomainName: orAbsent(section.user_domain_name ?? domainName), userDomainId: orAbsent(section.user_domain_id ?? domainId),
  };
  if (section.auth_type === 'v3applicationcredential') {
    return {
      kind: 'application-credential', authUrl, ...user, id: orAbsent(section.application_credential_id), name: orAbsent(section.application_credential_name),
      secret: section.application_credential_secret ?? missing('application_credential_secret'),
    };
  }
  return {
    kind: 'password', authUrl, ...user, password: section.password ?? missing('password'),
    projectName: orAbsent(section.project_name), projectId: orAbsent(section.project_id),
    projectDomainName: orAbsent(section.project_domain_name ?? domainName), projectDomainId: orAbsent(section.project_domain_id ?? domainId),
  };
}

export const tlsOf = (section: AuthSection): TlsOptions => ({
  cafile: orAbsent(section.cafile), insecure: section.insecure, certfile: orAbsent(section.certfile), keyfile: orAbsent(section.keyfile),
});

export const endpointOf = (section: AdapterSection): EndpointOptions => ({
  serviceType: section.service_type, regionName: orAbsent(section.region_name), validInterfaces: section.valid_interfaces, endpointOverride: orAbsent(section.endpoint_override),
});

export function topologyOf(section: Config['oslo_messaging_rabbit']): TopologyOptions {
  return {
    durableQueues: section.amqp_durable_queues, autoDelete: section.amqp_auto_delete, quorumQueue: section.rabbit_quorum_queue,
    transientQuorumQueue: section.rabbit_transient_quorum_queue, transientQueuesTtlSeconds: section.rabbit_transient_queues_ttl, streamFanout: section.rabbit_stream_fanout,
    haQueues: section.rabbit_ha_queues, quorumDeliveryLimit: section.rabbit_quorum_delivery_limit, quorumMaxMemoryLength: section.rabbit_quorum_max_memory_length,
    quorumMaxMemoryBytes: section.rabbit_quorum_max_memory_bytes,
  };
}

/** Also with `ssl` off, since `?ssl=1` in transport_url turns it on. */
export function brokerTlsOf(section: Config['oslo_messaging_rabbit']): BrokerTls {
  return {
    isOn: section.ssl, verifyHostname: section.ssl_enforce_hostname_verification,
    ...(section.ssl_ca_file === null ? {} : { caFile: section.ssl_ca_file }),
    ...(section.ssl_cert_file === null ? {} : { certFile: section.ssl_cert_file }),
    ...(section.ssl_key_file === null ? {} : { keyFile: section.ssl_key_file }),
  };
}

export const brokerRetryOf = (section: Config['oslo_messaging_rabbit']): { readonly maxMs: number } => ({ maxMs: section.rabbit_interval_max * 1000 });

/** `node` is the hypervisor's own name; Nova's service host is [DEFAULT]host. */
export function computeOptionsOf(config: Config, node: string): ComputeOptions {
  const { DEFAULT: main } = config;
  return {
    host: main.host,
    node,
    instanceNameTemplate: main.instance_name_template,
    vifPluggingTimeoutMs: main.vif_plugging_timeout * 1000,
    isVifPluggingFatal: main.vif_plugging_is_fatal,
    shutdownTimeoutMs: main.shutdown_timeout * 1000,
    shutdownRetryMs: config.compute.shutdown_retry_interval * 1000,
    forceConfigDrive: main.force_config_drive,
    resumeGuestsOnHostBoot: main.resume_guests_state_on_host_boot,
    handlesLifecycleEvents: config.workarounds.handle_virt_lifecycle_events,
    isGroupPolicyUpcallDisabled: config.workarounds.disable_group_policy_check_upcall,
    defaultEphemeralFormat: main.default_ephemeral_format,
    defaultAccessIpNetwork: main.default_access_ip_network_name,
    trackInstanceChanges: config.filter_scheduler.track_instance_changes,
    consoleTokenTtlSeconds: config.consoleauth.token_ttl,
    isDeferredDeleteOn: main.reclaim_instance_interval > 0,
    shelvedOffloadSeconds: main.shelved_offload_time,
    snapshots: { format: config.bhyve.snapshot_image_format, isCompressed: config.bhyve.snapshot_compression, bytesPerSecond: config.bhyve.snapshot_upload_rate_mib * 1024 * 1024 },
    maxCheckpoints: config.checkpoint.max_per_instance,
    serial: config.serial_console.enabled ? { baseUrl: config.serial_console.base_url } : null,
    vnc: config.vnc.enabled ? { proxyClientAddress: config.vnc.server_proxyclient_address, novncProxyBaseUrl: config.vnc.novncproxy_base_url } : null,
  };
}

/** The files of guarded screens; null when they are not set. The configuration's check sees to it that all of them are, or none. */
export function screenFilesOf({ vnc }: Pick<Config, 'vnc'>): TlsFiles | null {
  const { enabled, tls_cert_file: certificate, tls_key_file: key, tls_client_ca_file: clientAuthority } = vnc;
  return !enabled || certificate === null || key === null || clientAuthority === null ? null : { certificate, key, clientAuthority };
}

/** Null when `[vnc]enabled` is false. */
export function screenOptionsOf(config: Config): VncOptions | null {
  const { vnc, bhyve } = config;
  if (!vnc.enabled) return null;
  const portRange = { first: bhyve.vnc_port_min, last: bhyve.vnc_port_max };
  const files = screenFilesOf(config);
  return files === null ? { address: vnc.server_listen, portRange } : { address: '127.0.0.1', portRange, guard: { address: vnc.server_listen, files } };
}

/** Null when `[serial_console]enabled` is false. A console that nobody used for as long as a token lives is closed. */
export function serialOptionsOf({ serial_console: section, consoleauth }: Config): SerialOptions | null {
  if (!section.enabled) return null;
  const [first = 0, last = 0] = section.port_range.split(':').map(Number);
  return { address: section.proxyclient_address, portRange: { first, last }, idleMs: consoleauth.token_ttl * 1000 };
}

/** What the resource tracker counts with. */
export function resourceOptionsOf(config: Config, node: string): ResourceOptions {
  const { DEFAULT: main, compute } = config;
  return {
    host: main.host, node, hostIp: main.my_ip,
    reserved: { vcpus: main.reserved_host_cpus, memoryMiB: main.reserved_host_memory_mb, diskMiB: main.reserved_host_disk_mb },
    ratios: { cpu: main.cpu_allocation_ratio, ram: main.ram_allocation_ratio, disk: main.disk_allocation_ratio },
    initialRatios: { cpu: main.initial_cpu_allocation_ratio, ram: main.initial_ram_allocation_ratio, disk: main.initial_disk_allocation_ratio },
    associationRefreshMs: compute.resource_provider_association_refresh * 1000,
    excludedImageTypes: compute.image_type_exclude_list,
  };
}
