/** Every configuration file of the control plane, as data. Options are OpenStack's own names. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { address, databaseUrl, ports, transportUrl, type Layout, type Secrets, type ServiceUser } from './layout.js';

type Option = string | number | boolean;
export type Ini = Readonly<Record<string, Readonly<Record<string, Option>>>>;

/** Renders sections in oslo.config's format. */
export const renderIni = (ini: Ini): string =>
  Object.entries(ini).map(([section, options]) =>
    `[${section}]\n${Object.entries(options).map(([key, value]) => `${key} = ${String(value)}\n`).join('')}`).join('\n');

/** A service's own login, as keystoneauth reads it from any section. */
export const login = (secrets: Secrets, user: ServiceUser): Record<string, Option> => ({
  auth_type: 'password', auth_url: `http://${address}:${ports.keystone}`, username: user, password: secrets.services[user],
  project_name: 'service', user_domain_name: 'Default', project_domain_name: 'Default', region_name: 'RegionOne',
});

const tokenCheck = (secrets: Secrets, user: ServiceUser): Record<string, Option> => {
  const { region_name: _region, ...identity } = login(secrets, user);
  return {
    ...identity, www_authenticate_uri: `http://${address}:${ports.keystone}`, memcached_servers: `${address}:${ports.memcached}`,
    service_token_roles: 'service', service_token_roles_required: true,
  };
};

const cache = { enabled: true, backend: 'dogpile.cache.pymemcache', memcache_servers: `${address}:${ports.memcached}` };

function infrastructure({ etc, cloud, run }: Layout, secrets: Secrets): Record<string, string> {
  return {
    'rabbitmq/rabbitmq.conf': `listeners.tcp.1 = ${address}:${ports.rabbitmq}
load_definitions = ${join(etc, 'rabbitmq/definitions.json')}
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 50MB
log.console = true
log.console.level = info
log.file = false
`,
    'rabbitmq/definitions.json': `${JSON.stringify({
      users: [{ name: 'openstack', password: secrets.rabbitmq, tags: 'administrator' }],
      vhosts: [{ name: 'openstack' }],
      permissions: [{ user: 'openstack', vhost: 'openstack', configure: '.*', write: '.*', read: '.*' }],
    })}\n`,
    'rabbitmq/enabled_plugins': '[].\n',
    // Tests want speed, not durability: the state of this cloud is worth nothing after a power cut.
    'my.cnf': renderIni({ mariadbd: {
      user: 'mysql', datadir: join(cloud, 'mysql'), socket: join(run, 'mysql/mysql.sock'), 'pid-file': join(run, 'mysql/mariadbd.pid'),
      'bind-address': address, port: ports.mariadb, max_connections: 400, 'character-set-server': 'utf8mb3', 'skip-name-resolve': 1,
      innodb_flush_log_at_trx_commit: 0, innodb_doublewrite: 0, innodb_buffer_pool_size: '192M', 'skip-log-bin': 1,
    } }),
  };
}

function identity({ cloud }: Layout, secrets: Secrets): Record<string, string> {
  return {
    'keystone/keystone.conf': renderIni({
      DEFAULT: { use_stderr: true },
      database: { connection: databaseUrl(secrets, 'keystone') },
      token: { provider: 'fernet', expiration: 43_200 },
      // Passwords of a cloud that nobody can reach; at the usual 12 rounds each log-in costs a quarter of a second, and tests make users by the hundred.
      identity: { password_hash_rounds: 4 },
      fernet_tokens: { key_repository: join(cloud, 'keystone/fernet-keys') },
      credential: { key_repository: join(cloud, 'keystone/credential-keys') },
      cache,
    }),
  };
}

function images({ etc, cloud }: Layout, secrets: Secrets): Record<string, string> {
  return {
    'glance/glance-api.conf': renderIni({
      DEFAULT: {
        use_stderr: true, bind_host: address, bind_port: ports.glance, workers: 1, enabled_import_methods: '[]',
        image_cache_dir: join(cloud, 'glance/cache'), node_staging_uri: `file://${join(cloud, 'glance/staging')}`,
      },
      database: { connection: databaseUrl(secrets, 'glance') },
      glance_store: { stores: 'file', default_store: 'file', filesystem_store_datadir: join(cloud, 'glance/images') },
      oslo_concurrency: { lock_path: join(cloud, 'lock') },
      paste_deploy: { flavor: 'keystone', config_file: join(etc, 'glance/glance-api-paste.ini') },
      keystone_authtoken: tokenCheck(secrets, 'glance'),
    }),
    'glance/glance-api-paste.ini': readFileSync('/etc/glance/glance-api-paste.ini', 'utf8'),
    'glance/schema-image.json': readFileSync('/etc/glance/schema-image.json', 'utf8'),
    'placement/placement.conf': renderIni({
      DEFAULT: { use_stderr: true },
      api: { auth_strategy: 'keystone' },
      placement_database: { connection: databaseUrl(secrets, 'placement') },
      keystone_authtoken: tokenCheck(secrets, 'placement'),
    }),
  };
}

const unlimited = (...names: string[]): Record<string, Option> => Object.fromEntries(names.map((name) => [name, -1]));

/** ml2 with the openvswitch driver alone: what binds a port must be the agent's own L2 report, nothing else. */
function network({ cloud }: Layout, secrets: Secrets): Record<string, string> {
  return {
    'neutron/neutron.conf': renderIni({
      DEFAULT: {
        use_stderr: true, bind_host: address, bind_port: ports.neutron, api_workers: 1, rpc_workers: 1, rpc_state_report_workers: 1,
        core_plugin: 'ml2', service_plugins: 'router', auth_strategy: 'keystone', api_paste_config: '/etc/neutron/api-paste.ini',
        state_path: join(cloud, 'neutron'), transport_url: transportUrl(secrets), notify_nova_on_port_status_changes: true,
        notify_nova_on_port_data_changes: true, send_events_interval: 1, agent_down_time: 75,
        // No DHCP agent runs here, and ports must not wait for one.
        dhcp_agent_notification: false,
      },
      database: { connection: databaseUrl(secrets, 'neutron') },
      keystone_authtoken: tokenCheck(secrets, 'neutron'),
      nova: login(secrets, 'nova'),
      placement: login(secrets, 'placement'),
      oslo_concurrency: { lock_path: join(cloud, 'lock') },
      quotas: unlimited('default_quota', 'quota_network', 'quota_subnet', 'quota_port', 'quota_router', 'quota_floatingip',
        'quota_security_group', 'quota_security_group_rule'),
      ml2: { type_drivers: 'flat,vlan,local', tenant_network_types: 'vlan', mechanism_drivers: 'openvswitch', extension_drivers: 'port_security' },
      ml2_type_flat: { flat_networks: 'physnet1' },
      ml2_type_vlan: { network_vlan_ranges: 'physnet1:100:199' },
      securitygroup: { enable_security_group: true, enable_ipset: false },
    }),
  };
}

/** Sections that a nova.conf has on a controller and on a compute host alike. */
export function novaShared(layout: Layout, secrets: Secrets): Ini {
  return {
    oslo_concurrency: { lock_path: join(layout.cloud, 'lock') },
    placement: login(secrets, 'placement'),
    neutron: login(secrets, 'neutron'),
    glance: login(secrets, 'glance'),
    service_user: { send_service_user_token: true, ...login(secrets, 'nova') },
    vnc: {
      enabled: true, server_listen: address, server_proxyclient_address: address, novncproxy_host: address, novncproxy_port: ports.novncproxy,
      novncproxy_base_url: `http://${address}:${ports.novncproxy}/vnc_auto.html`,
    },
    serial_console: {
      enabled: true, base_url: `ws://${address}:${ports.serialproxy}/`, proxyclient_address: address, serialproxy_host: address, serialproxy_port: ports.serialproxy,
    },
  };
}

/** Options of nova-api alone, on top of nova.conf: a test sets some for a while (ControlPlane.setApiOptions). */
export const apiOptionsFile = 'nova-api/nova-api.conf';

function compute(layout: Layout, secrets: Secrets): Record<string, string> {
  const shared = novaShared(layout, secrets);
  return {
    [apiOptionsFile]: '# nothing\n',
    'nova/nova.conf': renderIni({
      ...shared,
      DEFAULT: {
        use_stderr: true, transport_url: transportUrl(secrets), state_path: join(layout.cloud, 'nova'), my_ip: address, report_interval: 10,
        service_down_time: 60, osapi_compute_listen: address, osapi_compute_workers: 1, enabled_apis: 'osapi_compute',
        // The scheduler's first discovery of hosts would otherwise come up to a minute late.
        periodic_fuzzy_delay: 0, allow_resize_to_same_host: true,
      },
      neutron: { ...shared['neutron'], service_metadata_proxy: true, metadata_proxy_shared_secret: secrets.metadata },
      api: { auth_strategy: 'keystone' },
      wsgi: { api_paste_config: '/etc/nova/api-paste.ini' },
      api_database: { connection: databaseUrl(secrets, 'nova_api') },
      database: { connection: databaseUrl(secrets, 'nova') },
      keystone_authtoken: tokenCheck(secrets, 'nova'),
      conductor: { workers: 1 },
      scheduler: { workers: 1, discover_hosts_in_cells_interval: 5 },
      cache,
      quota: unlimited('instances', 'cores', 'ram', 'server_groups', 'server_group_members', 'key_pairs'),
    }),
  };
}

export const openrc = (secrets: Secrets, user: 'admin' | 'demo'): string =>
  Object.entries({
    OS_AUTH_URL: `http://${address}:${ports.keystone}/v3`, OS_IDENTITY_API_VERSION: 3, OS_REGION_NAME: 'RegionOne',
    OS_USERNAME: user, OS_PASSWORD: secrets[user], OS_PROJECT_NAME: user, OS_USER_DOMAIN_NAME: 'Default', OS_PROJECT_DOMAIN_NAME: 'Default',
    OS_COMPUTE_API_VERSION: '2.92', OS_PLACEMENT_API_VERSION: '1.39', OS_VOLUME_API_VERSION: '3',
  }).map(([key, value]) => `export ${key}=${value}\n`).join('');

/** Writes a file if its content differs; true if it did. Only root reads it, unless `mode` says otherwise. */
export function writeIfChanged(path: string, content: string, mode = 0o600): boolean {
  if (existsSync(path) && readFileSync(path, 'utf8') === content) return false;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content, { mode });
  return true;
}

/** Renders all; returns which folders of etc/ (which stand for their daemons) changed. */
export function writeConfiguration(layout: Layout, secrets: Secrets): Set<string> {
  const files = {
    ...infrastructure(layout, secrets), ...identity(layout, secrets), ...images(layout, secrets), ...network(layout, secrets), ...compute(layout, secrets),
  };
  const changed = new Set<string>();
  for (const [name, content] of Object.entries(files)) {
    // MariaDB and RabbitMQ drop to users of their own before they read theirs; RabbitMQ's hold a password and are given to it (control-plane.ts).
    const mode = name === 'my.cnf' ? 0o644 : 0o600;
    if (writeIfChanged(join(layout.etc, name), content, mode)) changed.add(name.split('/')[0]!);
  }
  writeIfChanged(layout.openrc, openrc(secrets, 'admin'));
  writeIfChanged(layout.demoOpenrc, openrc(secrets, 'demo'));
  return changed;
}
