/** The real parts, made from the configuration. main.ts and the operator's commands use what they need of them. */
import type { Config } from './config/index.js';
import { createConductor, type Conductor } from './conductor/index.js';
import { claimFolder, createHost, type Host } from './host/index.js';
import { systemClock } from './lib/clock.js';
import type { Logger, Metrics } from './observe/index.js';
import { createGlanceClient, createNeutronClient, createPlacementClient, createSession, createVendorDataClient, type GlanceClient, type NeutronClient, type PlacementClient, type Session, type VendorDataClient } from './openstack/index.js';
import { authOf, brokerRetryOf, brokerTlsOf, endpointOf, screenOptionsOf, serialOptionsOf, tlsOf, topologyOf } from './options.js';
import { createRpc, type Rpc } from './rpc/index.js';
import { createStorage, type ChainGuests, type NodeStorage } from './storage/index.js';
import { createBhyveDriver, runSelfTest, type HypervisorDriver, type SelfTestReport } from './virt/index.js';

const clock = systemClock;
const MiB = 1024 * 1024;

/** What this machine has; enough for the operator's commands. */
export interface NodeParts {
  readonly host: Host;
  readonly driver: HypervisorDriver;
  readonly storage: NodeStorage;
  /** Tries whether guests can be saved and restored here, and stores what it found. */
  readonly selfTest: (note: (text: string) => void, signal: AbortSignal) => Promise<SelfTestReport>;
}

export function makeNode(config: Config, log: Logger, metrics: Metrics): NodeParts {
  const { agent, bhyve, zfs, DEFAULT: main } = config;
  const host = createHost({ deviceRoot: agent.device_root, path: agent.path.join(':'), clock, log: log.child({ part: 'host' }), metrics });
  const common = {
    host, clock, metrics, log: log.child({ part: 'bhyve' }), statePath: main.state_path, firmwareDirs: bhyve.firmware_dirs,
    vnc: screenOptionsOf(config), bootMessagesPath: agent.boot_messages, saveLocation: bhyve.save_location,
  };
  const driver = createBhyveDriver({
    ...common, hypervisorHostname: main.host, serial: serialOptionsOf(config), consoleLogMaxBytes: bhyve.console_log_limit_mib * MiB, mayRestore: bhyve.save_restore !== 'off', needsSandbox: bhyve.save_restore === 'sandboxed',
    hasSataDisksOnly: bhyve.disk_format === 'qcow2',
  });
  const limit = config.compute.max_concurrent_disk_ops;
  const guests: ChainGuests = {
    isRunning: async (instance) => (await driver.state(instance)).kind === 'running', moveDisks: driver.moveDisks, checkpointDisks: driver.checkpointDisks,
  };
  const storage = createStorage({
    chains: { folder: `${main.state_path}/chains`, newDisks: bhyve.disk_format, guests }, host, clock, log: log.child({ part: 'storage' }), metrics, root: zfs.root, scratch: `${main.state_path}/scratch`, ...(limit > 0 ? { limits: { maxConversions: limit } } : {}),
  });
  return { host, driver, storage, selfTest: (note, signal) => runSelfTest({ ...common, note, signal, claim: claimFolder }) };
}

/** What the cloud gives. */
export interface CloudParts {
  readonly rpc: Rpc;
  readonly conductor: Conductor;
  readonly placement: PlacementClient;
  readonly neutron: NeutronClient;
  readonly glance: GlanceClient;
  /** Null: DynamicJSON is not wanted. */
  readonly vendorData: VendorDataClient | null;
  /** Base URL of Glance. */
  readonly glanceUrl: () => Promise<string>;
  /**
   * Logs in to Keystone for Placement, whose first request would wait for that. Never rejects: what is wrong is in the log, and
   * the request that needs the log-in meets it again.
   */
  logInEarly(): Promise<void>;
  close(): Promise<void>;
}

export function makeCloud(config: Config, log: Logger, metrics: Metrics, signal: AbortSignal): CloudParts {
  const { DEFAULT: main, oslo_messaging_rabbit: rabbit } = config;
  const rpc = createRpc({
    transportUrl: main.transport_url, host: main.host, clock, log, metrics, exchange: main.control_exchange, topology: topologyOf(rabbit), tls: brokerTlsOf(rabbit), retry: brokerRetryOf(rabbit),
    loginMethod: rabbit.rabbit_login_method, heartbeatSeconds: rabbit.heartbeat_timeout_threshold, responseTimeoutMs: main.rpc_response_timeout * 1000,
    reportIntervalMs: main.report_interval * 1000, ...(rabbit.rabbit_qos_prefetch_count > 0 ? { prefetch: rabbit.rabbit_qos_prefetch_count } : {}),
  });
  const conductor = createConductor({ rpc: rpc.client, clock, log: log.child({ part: 'conductor' }), signal });
  const httpLog = log.child({ part: 'http' });
  const sessions: Session[] = [];
  const session = (section: 'placement' | 'neutron' | 'glance' | 'service_user' | 'vendordata_dynamic_auth'): Session => {
    // [glance] often has no log-in of its own: its requests carry the user's token, and only TLS options and the catalogue are needed.
    const login = section === 'glance' && config.glance.auth_url === null ? 'neutron' : section;
    const made = createSession({
      section, auth: authOf(config[login], login), tls: tlsOf(config[section]), clock, log: httpLog,
      ...(config[section].timeout === null ? {} : { timeoutMs: config[section].timeout * 1000 }),
    });
    sessions.push(made);
    return made;
  };
  const serviceUser = config.service_user.send_service_user_token ? session('service_user') : null;
  const placementSession = session('placement');
  const placement = createPlacementClient({ session: placementSession, endpoint: endpointOf(config.placement), clock });
  const neutron = createNeutronClient({
    session: session('neutron'), serviceUser, endpoint: endpointOf(config.neutron), extensionsMs: config.neutron.extension_sync_interval * 1000, clock,
  });
  const glanceSession = session('glance');
  const glance = createGlanceClient({
    session: glanceSession, serviceUser, endpoint: endpointOf(config.glance), apiServers: config.glance.api_servers, numRetries: config.glance.num_retries, clock, log: httpLog,
  });
  const vendorData = vendorDataOf(config, () => session('vendordata_dynamic_auth'), httpLog);
  return {
    rpc, conductor, placement, neutron, glance, vendorData,
    glanceUrl: async () => config.glance.api_servers[0] ?? await glanceSession.endpoint(endpointOf(config.glance)),
    async logInEarly() {
      await placementSession.token(signal).catch((err: unknown) => httpLog.debug({ err }, 'no early log-in; the first request tries again'));
    },
    async close() {
      sessions.forEach((one) => one.close());
      vendorData?.close();
      await rpc.close();
    },
  };
}

function vendorDataOf({ api, vendordata_dynamic_auth: login }: Config, session: () => Session, log: Logger): VendorDataClient | null {
  if (!api.vendordata_providers.includes('DynamicJSON')) return null;
  return createVendorDataClient({
    targets: api.vendordata_dynamic_targets, session: login.auth_type === null ? null : session(), caFile: api.vendordata_dynamic_ssl_certfile,
    timeoutMs: (api.vendordata_dynamic_connect_timeout + api.vendordata_dynamic_read_timeout) * 1000, isFailureFatal: api.vendordata_dynamic_failure_fatal, clock, log,
  });
}
