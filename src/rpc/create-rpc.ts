/** Connects the parts of this folder. */
import { randomUUID } from 'node:crypto';
import type { Clock } from '../lib/clock.js';
import { AgentError } from '../lib/errors.js';
import type { Logger, Metrics } from '../observe/index.js';
import { baseEndpoints } from './base-endpoints.js';
import type { ChannelDeps } from './channels.js';
import { createRpcClient } from './client.js';
import type { LoginMethod, TlsOptions } from './connect-options.js';
import { createConnection, defaultRetry, type RetryOptions } from './connection.js';
import { createNotifier, type Notifier } from './notifier.js';
import { createPublisher, type Publisher } from './publisher.js';
import { createSelfCall, type SelfCall } from './self-call.js';
import { createRpcServer, type SupervisedServer } from './server.js';
import { checkTopologyOptions, defaultTopology, type TopologyOptions } from './topology.js';
import { parseTransportUrl } from './transport-url.js';
import type { Rpc, RpcEndpoint, RpcServer } from './types.js';

export interface RpcOptions {
  /** [DEFAULT]transport_url */
  readonly transportUrl: string;
  /** [DEFAULT]host: our server name on the topics. */
  readonly host: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** [DEFAULT]control_exchange; 'nova'. Ours, and that of targets that name none. */
  readonly exchange?: string;
  /** Default compute and compute-alt (nova-contract 5.1: both, with every release). The first one is called by our own ping. */
  readonly topics?: readonly string[];
  /** [oslo_messaging_rabbit], see TopologyOptions; oslo's defaults. */
  readonly topology?: Partial<TopologyOptions>;
  /** [oslo_messaging_rabbit]ssl and its files; null or absent: no TLS. `?ssl=1&ssl_ca_file=…` in the URL is honoured too. */
  readonly tls?: TlsOptions | null;
  /** [oslo_messaging_rabbit]rabbit_login_method; default AMQPLAIN as in oslo. */
  readonly loginMethod?: LoginMethod;
  /** [oslo_messaging_rabbit]heartbeat_timeout_threshold; 60. */
  readonly heartbeatSeconds?: number;
  /** [DEFAULT]rpc_response_timeout; 60 s. */
  readonly responseTimeoutMs?: number;
  /** [DEFAULT]report_interval; 10 s: how often we call ourselves. */
  readonly reportIntervalMs?: number;
  readonly retry?: Partial<RetryOptions>;
  /** Unacknowledged deliveries a queue; 64. */
  readonly prefetch?: number;
  /** Messages handled at once; 512. */
  readonly maxInFlight?: number;
  readonly random?: () => number;
}

const TLS_QUERY = ['ssl', 'ssl_ca_file', 'ssl_cert_file', 'ssl_key_file'];

function tlsOf(options: Pick<RpcOptions, 'tls'>, query: Readonly<Record<string, string>>): TlsOptions | null {
  const asked = query['ssl'];
  const isOn = asked === undefined ? options.tls !== undefined && options.tls !== null && options.tls.isOn !== false : ['1', 'true', 'yes', 'on'].includes(asked.toLowerCase());
  if (!isOn) return null;
  return {
    ...options.tls,
    ...(query['ssl_ca_file'] === undefined ? {} : { caFile: query['ssl_ca_file'] }),
    ...(query['ssl_cert_file'] === undefined ? {} : { certFile: query['ssl_cert_file'] }),
    ...(query['ssl_key_file'] === undefined ? {} : { keyFile: query['ssl_key_file'] }),
  };
}

interface Connected { readonly channelDeps: ChannelDeps; readonly publisher: Publisher; readonly topology: TopologyOptions; readonly exchange: string }

type ConnectOptions = Pick<RpcOptions, 'transportUrl' | 'clock' | 'metrics' | 'exchange' | 'topology' | 'tls' | 'loginMethod' | 'heartbeatSeconds' | 'retry' | 'random'>;

/** One connection to the broker with a channel for sending; not started yet. */
function connect(options: ConnectOptions, log: Logger): Connected {
  const url = parseTransportUrl(options.transportUrl);
  const topology: TopologyOptions = { ...defaultTopology, ...options.topology };
  checkTopologyOptions(topology);
  const { clock, metrics } = options;
  const ignored = Object.keys(url.query).filter((key) => !TLS_QUERY.includes(key));
  if (ignored.length > 0) log.warn({ options: ignored }, 'options in transport_url ignored; set them in [oslo_messaging_rabbit]');
  const random = options.random ?? Math.random;
  const retry = { ...defaultRetry, ...options.retry };
  const connection = createConnection({
    hosts: url.hosts, retry, clock, log, metrics, random,
    dial: {
      virtualHost: url.virtualHost,
      tls: tlsOf(options, url.query),
      loginMethod: options.loginMethod ?? 'AMQPLAIN',
      heartbeatSeconds: options.heartbeatSeconds ?? 60,
      connectTimeoutMs: 10_000,
      // As nova-compute names itself, so that operators' tools recognise us.
      connectionName: `nova-compute:${process.pid}:${randomUUID()}`,
    },
  });
  const channelDeps: ChannelDeps = { connection, retry, clock, log, metrics, random };
  return { channelDeps, publisher: createPublisher(channelDeps), topology, exchange: options.exchange ?? 'nova' };
}

/** Notifications over a connection of their own; throws as createRpc does. */
export function openNotifier(options: ConnectOptions & { readonly log: Logger; readonly hasEnvelope: boolean }): Notifier {
  const log = options.log.child({ part: 'notifier' });
  const { channelDeps, exchange, publisher, topology } = connect(options, log);
  channelDeps.connection.start();
  return createNotifier({ connection: channelDeps.connection, publisher, topology, exchange, hasEnvelope: options.hasEnvelope, clock: options.clock, log });
}

/**
 * Starts to connect at once and for ever. Throws only for options that can never work: AgentError `rpc-transport-url`,
 * `rpc-topology-refused`.
 */
export function createRpc(options: RpcOptions): Rpc {
  const { clock, metrics } = options;
  const { channelDeps, exchange, publisher, topology } = connect(options, options.log.child({ part: 'rpc' }));
  const { connection, log } = channelDeps;
  const topics = options.topics ?? ['compute', 'compute-alt'];
  const intervalMs = options.reportIntervalMs ?? 10_000;
  const client = createRpcClient({ ...channelDeps, publisher, topology, exchange, responseTimeoutMs: options.responseTimeoutMs ?? 60_000 });
  let server: SupervisedServer | undefined;
  let selfCall: SelfCall | undefined;
  let selfCalls: Promise<void> = Promise.resolve();
  connection.start();

  function createServer(endpoints: readonly RpcEndpoint[]): RpcServer {
    if (server !== undefined) throw new AgentError('bad-endpoints', 'there is one server a process');
    const made = createRpcServer({
      ...channelDeps, publisher, topology, exchange, host: options.host, topics,
      endpoints: [...endpoints, ...baseEndpoints(topics[0] ?? 'compute')],
      prefetch: options.prefetch ?? 64, maxInFlight: options.maxInFlight ?? 512,
    });
    server = made;
    selfCall = createSelfCall({
      client, clock, log, metrics, intervalMs, connection,
      target: { topic: topics[0] ?? 'compute', server: options.host, namespace: 'baseapi', version: '1.0' },
      timeoutMs: Math.max(1_000, intervalMs),
      isSaturated: () => made.isSaturated,
      rebuildChannels(reason) {
        made.rebuild(reason);
        client.rebuild(reason);
        publisher.rebuild(reason);
      },
    });
    const calling = selfCall;
    let isCalling = false;
    return {
      get inFlight() {
        return made.inFlight;
      },
      async start() {
        await made.start();
        if (isCalling) return;
        isCalling = true;
        selfCalls = calling.run(connection.closing);
      },
      stop: (stopping) => made.stop(stopping),
      drained: (signal) => made.drained(signal),
      dispatch: (wire) => made.dispatch(wire),
    };
  }

  return {
    client,
    server: createServer,
    async connected(signal) {
      await connection.wait(signal);
    },
    health() {
      const { connected, blocked, since, reason } = connection.state();
      const own = selfCall?.state();
      const isUp = connected && !blocked;
      const source = isUp && own !== undefined ? own : { since, reason };
      return { connected: isUp, callable: isUp && (own?.callable ?? false), since: source.since.toISOString(), reason: source.reason };
    },
    async close() {
      await server?.close();
      await client.close();
      await publisher.close();
      await connection.close();
      await selfCalls;
    },
  };
}
