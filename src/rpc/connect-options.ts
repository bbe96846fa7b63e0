/** How one broker host is dialled: login, TLS, heartbeat. */
import { readFile } from 'node:fs/promises';
import { credentials, type Options, type SocketOptions } from 'amqplib';
import { AgentError } from '../lib/errors.js';
import type { BrokerHost } from './transport-url.js';

/** [oslo_messaging_rabbit] ssl*. Files are read anew for each connection, so renewed certificates are taken up. */
export interface TlsOptions {
  /** ssl; absent: true. `?ssl=` in transport_url overrides it. */
  readonly isOn?: boolean;
  /** ssl_ca_file; absent: the system's authorities. */
  readonly caFile?: string;
  /** ssl_cert_file, ssl_key_file */
  readonly certFile?: string;
  readonly keyFile?: string;
  /** ssl_enforce_hostname_verification; true unless set, which is stricter than oslo's default. The chain is always verified. */
  readonly verifyHostname?: boolean;
}

export type LoginMethod = 'PLAIN' | 'AMQPLAIN' | 'EXTERNAL';

export interface DialOptions {
  readonly virtualHost: string;
  readonly tls: TlsOptions | null;
  /** rabbit_login_method */
  readonly loginMethod: LoginMethod;
  /** heartbeat_timeout_threshold; 0 turns heartbeats off. */
  readonly heartbeatSeconds: number;
  readonly connectTimeoutMs: number;
  /** What `rabbitmqctl list_connections` shows. */
  readonly connectionName: string;
}

async function read(file: string | undefined, option: string): Promise<Buffer | undefined> {
  if (file === undefined || file === '') return undefined;
  try {
    return await readFile(file);
  } catch (error) {
    throw new AgentError('rpc-tls-file', `[oslo_messaging_rabbit]${option}: ${file} cannot be read`, { retry: 'later', cause: error });
  }
}

async function tlsSocketOptions(tls: TlsOptions): Promise<SocketOptions> {
  const [ca, cert, key] = await Promise.all([read(tls.caFile, 'ssl_ca_file'), read(tls.certFile, 'ssl_cert_file'), read(tls.keyFile, 'ssl_key_file')]);
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    rejectUnauthorized: true,
    ...(tls.verifyHostname === false ? { checkServerIdentity: () => undefined } : {}),
  };
}

function login(method: LoginMethod, host: BrokerHost): NonNullable<SocketOptions['credentials']> {
  switch (method) {
    case 'PLAIN': return credentials.plain(host.username, host.password);
    case 'AMQPLAIN': return credentials.amqplain(host.username, host.password);
    case 'EXTERNAL': return credentials.external();
  }
}

/** The two arguments of amqplib's connect. Throws AgentError `rpc-tls-file`. */
export async function dialArguments(host: BrokerHost, options: DialOptions): Promise<[Options.Connect, SocketOptions]> {
  const connect: Options.Connect = {
    protocol: options.tls === null ? 'amqp' : 'amqps',
    hostname: host.hostname,
    port: host.port,
    // amqplib unescapes it once more.
    vhost: encodeURIComponent(options.virtualHost),
    heartbeat: options.heartbeatSeconds,
    channelMax: 2047,
    frameMax: 131072,
  };
  const socket: SocketOptions = {
    noDelay: true,
    keepAlive: true,
    timeout: options.connectTimeoutMs,
    credentials: login(options.loginMethod, host),
    clientProperties: { connection_name: options.connectionName, product: 'nova-bhyve-agent' },
    ...(options.tls === null ? {} : await tlsSocketOptions(options.tls)),
  };
  return [connect, socket];
}
