/**
 * A private RabbitMQ (Debian's package) for one test file: own node name, ports, folders and cookie, so it can be killed at will beside
 * a running cloud. About 5 s to start. Everything is gone after destroy().
 */
import { spawn, execFile, type ChildProcess } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect as tcpConnect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { connect, type Channel, type ChannelModel } from 'amqplib';
import { signCertificates } from './certificates.js';
import { waitUntil } from './wait-until.js';

const BIN = '/usr/lib/rabbitmq/bin';
const PATH = '/usr/sbin:/usr/bin:/sbin:/bin';
const run = promisify(execFile);

export interface Rabbit {
  readonly port: number;
  readonly tlsPort: number;
  readonly virtualHost: string;
  readonly user: string;
  /** With characters that must be escaped in a URL. */
  readonly password: string;
  readonly transportUrl: string;
  readonly tlsTransportUrl: string;
  /** ca.pem, client.pem, client.key; the broker asks for a client certificate. */
  readonly certificates: string;
  /** The broker process is stopped and started with what it kept on disk; transient queues are gone. */
  restart(): Promise<void>;
  kill(): Promise<void>;
  start(): Promise<void>;
  /** SIGSTOP: connections stay open and nothing answers. */
  freeze(): void;
  thaw(): void;
  ctl(...args: string[]): Promise<string>;
  /** A connection of the test's own, as an operator's tool would have. */
  admin<T>(work: (channel: Channel, model: ChannelModel) => Promise<T>): Promise<T>;
  destroy(): Promise<void>;
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(Array.from({ length: count }, () => new Promise<ReturnType<typeof createServer>>((resolve, reject) => {
    const server = createServer();
    server.once('error', reject).listen(0, '127.0.0.1', () => resolve(server));
  })));
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

export const isPortOpen = (port: number): Promise<boolean> => new Promise((resolve) => {
  const socket = tcpConnect(port, '127.0.0.1', () => {
    socket.destroy();
    resolve(true);
  });
  socket.once('error', () => resolve(false));
});

function writeConfiguration(folder: string, ports: { amqp: number; tls: number }, login: { user: string; password: string; virtualHost: string }): void {
  writeFileSync(join(folder, 'definitions.json'), JSON.stringify({
    users: [{ name: login.user, password: login.password, tags: 'administrator' }],
    vhosts: [{ name: login.virtualHost }],
    permissions: [{ user: login.user, vhost: login.virtualHost, configure: '.*', write: '.*', read: '.*' }],
  }));
  writeFileSync(join(folder, 'plugins'), '[].\n');
  const certificates = join(folder, 'certificates');
  writeFileSync(join(folder, 'rabbitmq.conf'), [
    `listeners.tcp.1 = 127.0.0.1:${ports.amqp}`, `listeners.ssl.1 = 127.0.0.1:${ports.tls}`,
    `ssl_options.cacertfile = ${certificates}/ca.pem`, `ssl_options.certfile = ${certificates}/server.pem`, `ssl_options.keyfile = ${certificates}/server.key`,
    'ssl_options.verify = verify_peer', 'ssl_options.fail_if_no_peer_cert = true',
    `load_definitions = ${folder}/definitions.json`,
    'vm_memory_high_watermark.absolute = 1GB', 'disk_free_limit.absolute = 10MB', 'log.file.level = warning', 'loopback_users = none',
  ].join('\n') + '\n');
}

export async function startRabbit(): Promise<Rabbit> {
  if (!existsSync(BIN)) throw new Error('this test needs RabbitMQ: apt-get install --no-install-recommends rabbitmq-server');
  const folder = mkdtempSync(join(tmpdir(), 'rabbit-'));
  chmodSync(folder, 0o700);
  const [amqp = 0, tls = 0, dist = 0] = await freePorts(3);
  const login = { user: 'nova', password: 'p@ss:w%rd,1', virtualHost: 'open/stack' };
  const certificates = join(folder, 'certificates');
  mkdirSync(certificates);
  await signCertificates(certificates, 'ca', { server: 'subjectAltName=DNS:localhost', client: 'extendedKeyUsage=clientAuth' });
  writeConfiguration(folder, { amqp, tls }, login);
  const environment = {
    PATH, HOME: folder, LC_ALL: 'C.UTF-8', RABBITMQ_NODENAME: `test${amqp}@localhost`, RABBITMQ_DIST_PORT: String(dist), RABBITMQ_MNESIA_BASE: join(folder, 'db'),
    RABBITMQ_LOG_BASE: join(folder, 'log'), RABBITMQ_CONFIG_FILE: join(folder, 'rabbitmq'), RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'plugins'),
    RABBITMQ_CONF_ENV_FILE: '/dev/null', ERL_EPMD_ADDRESS: '127.0.0.1',
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '+S 2:2 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}',
  };
  let epmd: ChildProcess | undefined;
  let broker: ChildProcess | undefined;

  async function start(): Promise<void> {
    // Erlang would start this daemon by itself and leave it behind.
    if (!(await isPortOpen(4369))) epmd = spawn('/usr/bin/epmd', ['-address', '127.0.0.1'], { env: { PATH }, stdio: 'ignore' });
    await waitUntil(() => isPortOpen(4369), 'epmd listens');
    // The shell around it reads our end of a pipe: if the test run dies, however, the read ends and the broker goes with its whole group.
    const watched = `${BIN}/rabbitmq-server <&- & read -r _; rm -rf "$HOME"; kill -9 0`;
    const child = spawn('/bin/sh', ['-c', watched], { env: environment, stdio: ['pipe', 'ignore', 'ignore'], detached: true });
    broker = child;
    await waitUntil(async () => {
      if (child.exitCode !== null || child.signalCode !== null) throw new Error(`RabbitMQ did not start:\n${tail(join(folder, 'log'))}`);
      return (await isPortOpen(amqp)) && (await isPortOpen(tls));
    }, 'RabbitMQ listens', 60_000);
    // The listeners open a moment before the vhost is ready.
    await waitUntil(() => admin(async () => true).catch(() => false), 'RabbitMQ serves', 100_000);
  }

  async function kill(): Promise<void> {
    const child = broker;
    broker = undefined;
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    process.kill(-child.pid, 'SIGKILL');
    await gone;
  }

  const signal = (name: NodeJS.Signals): void => {
    if (broker?.pid !== undefined) process.kill(-broker.pid, name); // the whole group: the first process may be a shell
  };

  async function admin<T>(work: (channel: Channel, model: ChannelModel) => Promise<T>): Promise<T> {
    const model = await connect({ hostname: '127.0.0.1', port: amqp, username: login.user, password: login.password, vhost: encodeURIComponent(login.virtualHost) });
    model.on('error', () => undefined);
    try {
      const channel = await model.createChannel();
      channel.on('error', () => undefined);
      return await work(channel, model);
    } finally {
      await model.close().catch(() => undefined);
    }
  }

  const escaped = `${login.user}:${encodeURIComponent(login.password)}`;
  const rabbit: Rabbit = {
    port: amqp, tlsPort: tls, ...login, certificates,
    transportUrl: `rabbit://${escaped}@127.0.0.1:${amqp}/${encodeURIComponent(login.virtualHost)}`,
    tlsTransportUrl: `rabbit://${escaped}@localhost:${tls}/${encodeURIComponent(login.virtualHost)}`,
    start, kill, admin,
    async restart() {
      await kill();
      await start();
    },
    freeze: () => signal('SIGSTOP'),
    thaw: () => signal('SIGCONT'),
    async ctl(...args) {
      return (await run(join(BIN, 'rabbitmqctl'), ['-q', ...args], { env: environment })).stdout;
    },
    async destroy() {
      await kill();
      epmd?.kill('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    },
  };
  try {
    await start();
  } catch (error) {
    await rabbit.destroy();
    throw error;
  }
  return rabbit;
}

function tail(folder: string): string {
  const log = join(folder, 'rabbitmq.log');
  return existsSync(log) ? readFileSync(log, 'utf8').slice(-2000) : '';
}
