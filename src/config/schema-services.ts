/** Options of the libraries that nova.conf carries: keystoneauth1 sections and oslo.messaging's RabbitMQ driver. */
import { boolean, choice, float, integer, list, path, text, url } from './kinds.js';
import { option, optional } from './option.js';

/** keystoneauth1: how to log in. Password and application credential; nothing else. */
const authOptions = {
  auth_type: optional(choice('password', 'v3password', 'v3applicationcredential'), 'How to log in to Keystone.', { aliases: ['auth_plugin'] }),
  auth_section: optional(text, 'Another section from which the log-in is taken.'),
  auth_url: optional(url, 'Keystone, e.g. http://controller:5000.'),
  username: optional(text, 'User.', { aliases: ['user_name'] }),
  user_id: optional(text, 'User, by id.'),
  password: optional(text, 'Password.', { secret: true }),
  user_domain_name: optional(text, "The user's domain."),
  user_domain_id: optional(text, "The user's domain, by id."),
  project_name: optional(text, 'Project.', { aliases: ['tenant_name'] }),
  project_id: optional(text, 'Project, by id.', { aliases: ['tenant_id'] }),
  project_domain_name: optional(text, "The project's domain."),
  project_domain_id: optional(text, "The project's domain, by id."),
  default_domain_name: optional(text, 'Domain of user and project where they have none.'),
  default_domain_id: optional(text, 'Domain of user and project where they have none, by id.'),
  application_credential_id: optional(text, 'Application credential.'),
  application_credential_name: optional(text, 'Application credential by name; needs the user as well.'),
  application_credential_secret: optional(text, 'Secret of the application credential.', { secret: true }),
};

/** The options that `auth_section` takes from elsewhere. */
export const authOptionNames: ReadonlySet<string> = new Set(Object.keys(authOptions).filter((name) => name !== 'auth_section'));

const sessionOptions = {
  cafile: optional(path, 'CA certificates (PEM); not set: those of the system.'),
  certfile: optional(path, 'Client certificate (PEM).'),
  keyfile: optional(path, 'Key of the client certificate (PEM).'),
  insecure: option(boolean, 'false', 'Do not verify the server. For tests only.'),
  timeout: optional(integer({ min: 1 }), 'Seconds for one request.'),
};

const adapterOptions = (serviceType: string) => ({
  region_name: optional(text, 'Region of the endpoint.'),
  service_type: option(text, serviceType, 'Type in the catalogue.'),
  service_name: optional(text, 'Name in the catalogue.'),
  valid_interfaces: option(list(choice('internal', 'public', 'admin', 'internalURL', 'publicURL', 'adminURL')), 'internal,public', 'Kinds of endpoints, best first.'),
  endpoint_override: optional(url, 'Use this endpoint instead of the catalogue.'),
});

export const placementSection = { ...authOptions, ...sessionOptions, ...adapterOptions('placement') };

export const neutronSection = {
  ...authOptions, ...sessionOptions, ...adapterOptions('network'),
  http_retries: option(integer({ min: 0 }), '3', 'How often a request that may be repeated is repeated.'),
  extension_sync_interval: option(integer({ min: 0 }), '600', "Seconds that Neutron's extensions are remembered."),
};

export const glanceSection = {
  ...authOptions, ...sessionOptions, ...adapterOptions('image'),
  num_retries: option(integer({ min: 0 }), '3', 'How often a download is tried again before its first byte.'),
  verify_glance_signatures: option(boolean, 'false', 'Signatures of images cannot be verified here: true is refused at start.'),
  enable_certificate_validation: option(boolean, 'false', 'The same for the certificates behind them.'),
  api_servers: option(list(url), '', 'Endpoints to use in turn instead of the catalogue.'),
};

export const cinderSection = {
  ...authOptions, ...sessionOptions,
  catalog_info: option(text, 'volumev3::publicURL', 'service_type:service_name:interface in the catalogue.'),
  os_region_name: optional(text, 'Region of the endpoint.'),
  endpoint_template: optional(text, 'Use this endpoint instead of the catalogue; %(project_id)s is replaced.'),
  http_retries: option(integer({ min: 0 }), '3', 'How often a request that may be repeated is repeated.'),
};

export const serviceUserSection = {
  ...authOptions, ...sessionOptions,
  send_service_user_token: option(boolean, 'false', "Send our own token beside the user's, so that a long operation survives the end of the user's token."),
};

export const vendordataDynamicAuthSection = { ...authOptions, ...sessionOptions };

export const rabbitSection = {
  ssl: option(boolean, 'false', 'TLS to the broker.', { aliases: ['rabbit_use_ssl'] }),
  ssl_ca_file: optional(path, 'CA certificates (PEM).', { aliases: ['kombu_ssl_ca_certs'] }),
  ssl_cert_file: optional(path, 'Client certificate (PEM).', { aliases: ['kombu_ssl_certfile'] }),
  ssl_key_file: optional(path, 'Key of the client certificate (PEM).', { aliases: ['kombu_ssl_keyfile'] }),
  ssl_version: optional(text, 'Read so that a shared nova.conf works, without effect: it is always TLS 1.2 or newer.', { aliases: ['kombu_ssl_version'] }),
  ssl_enforce_hostname_verification: option(boolean, 'true',
    "Whether the broker's certificate must carry the host name of transport_url. Stricter than oslo.messaging, whose default is false: without it any certificate of the authority passes for the broker's."),
  amqp_durable_queues: option(boolean, 'false', 'Durable queues. Must be the same in every service of the cloud.'),
  amqp_auto_delete: option(boolean, 'false', 'Queues that vanish with their last consumer. Must be the same in every service of the cloud.'),
  rabbit_ha_queues: option(boolean, 'false', 'Old-style mirrored queues. Must be the same in every service of the cloud.'),
  rabbit_quorum_queue: option(boolean, 'false', 'Quorum queues for the named topics. Must be the same in every service of the cloud.'),
  rabbit_transient_quorum_queue: option(boolean, 'false', 'Quorum queues for replies and fanouts too (RabbitMQ 4 needs this or a policy). Must be the same in every service of the cloud.'),
  rabbit_quorum_delivery_limit: option(integer({ min: 0 }), '0', 'x-delivery-limit of quorum queues; 0 = do not send it.'),
  rabbit_quorum_max_memory_length: option(integer({ min: 0 }), '0', 'x-max-in-memory-length of quorum queues; 0 = do not send it.', { aliases: ['rabbit_quroum_max_memory_length'] }),
  rabbit_quorum_max_memory_bytes: option(integer({ min: 0 }), '0', 'x-max-in-memory-bytes of quorum queues; 0 = do not send it.', { aliases: ['rabbit_quroum_max_memory_bytes'] }),
  rabbit_stream_fanout: option(boolean, 'false', 'Streams for fanouts: not supported, refused at start.'),
  rabbit_transient_queues_ttl: option(integer({ min: 0 }), '1800', 'Seconds until an unused reply or fanout queue is dropped by the broker; 0 = never.'),
  rabbit_qos_prefetch_count: option(integer({ min: 0, max: 65535 }), '0', 'Messages that the broker sends ahead; 0 = our own limit.'),
  heartbeat_timeout_threshold: option(integer({ min: 0 }), '60', 'Seconds without a sign of the broker after which the connection counts as lost; 0 = no heartbeat.'),
  heartbeat_rate: option(integer({ min: 1 }), '2', 'Read so that a shared nova.conf works, without effect: how often heartbeats are sent and checked follows from the threshold.'),
  kombu_reconnect_delay: option(float({ min: 0, max: 4.5 }), '1.0', 'Read so that a shared nova.conf works, without effect: waits between attempts are random, up to rabbit_interval_max.'),
  kombu_failover_strategy: option(choice('round-robin', 'shuffle'), 'round-robin', 'Read so that a shared nova.conf works, without effect: the hosts of transport_url are tried in a random order, each once a round.'),
  rabbit_retry_interval: option(integer({ min: 0 }), '1', 'Read so that a shared nova.conf works, without effect: see kombu_reconnect_delay.'),
  rabbit_retry_backoff: option(integer({ min: 0 }), '2', 'Read so that a shared nova.conf works, without effect: see kombu_reconnect_delay.'),
  rabbit_interval_max: option(integer({ min: 1 }), '30', 'Most seconds between two attempts to reach the broker.'),
  rabbit_login_method: option(choice('PLAIN', 'AMQPLAIN', 'EXTERNAL'), 'AMQPLAIN', 'SASL mechanism.'),
  direct_mandatory_flag: option(boolean, 'true', 'Read so that a shared nova.conf works, without effect: the broker is always asked to say so when a reply queue does not exist any more.'),
  enable_cancel_on_failover: option(boolean, 'false', 'Read so that a shared nova.conf works, without effect: a cancelled consumer is always set up anew.'),
};

export const messagingNotificationsSection = {
  driver: option(list(choice('messaging', 'messagingv2', 'log', 'noop')), '', 'How notifications are sent; not set: not at all. messagingv2 is what Ceilometer and others read.'),
  transport_url: optional(text, 'The bus for notifications; not set: that of [DEFAULT] transport_url.', { secret: true }),
  topics: option(list(text), 'notifications', 'Topics of unversioned notifications; a queue TOPIC.info, TOPIC.error of each.'),
  retry: option(integer({ min: -1 }), '-1', 'Read so that a shared nova.conf works, without effect: a notification is tried again until it is sent, while at most 1000 wait.'),
};

export const notificationsSection = {
  notification_format: option(choice('unversioned', 'versioned', 'both'), 'unversioned', 'Which notifications are sent.'),
  versioned_notifications_topics: option(list(text), 'versioned_notifications', 'Topics of versioned notifications.'),
  notify_on_state_change: optional(choice('vm_state', 'vm_and_task_state'), 'Read so that a shared nova.conf works, without effect: compute.instance.update is sent by the conductor, which has an option of the same name.'),
  default_level: option(choice('DEBUG', 'INFO', 'WARN', 'ERROR', 'CRITICAL'), 'INFO', 'Read so that a shared nova.conf works, without effect: Nova does not use it either.'),
  bdms_in_notifications: option(boolean, 'false', 'Also tell of the volumes of a server in versioned notifications.'),
};
