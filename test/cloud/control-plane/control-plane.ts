/** The order in which the control plane comes up and goes down. */
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { catalogDigest, ensureResources, fillCatalog } from './catalog.js';
import { apiOptionsFile, renderIni, writeConfiguration, writeIfChanged, type Ini } from './config-files.js';
import { createDaemons, portOpen, until, type Daemons, type DaemonSpec } from './daemons.js';
import { createDatabases, initialiseMariadb, mariadbAnswers } from './databases.js';
import { address, endpoints, layoutOf, ports, secretsOf, type Layout, type Secrets } from './layout.js';
import { answers, openSession, type Session } from './rest.js';

/** Says what is being done now, for a person who waits. */
export type Report = (line: string) => void;

type DaemonName = 'epmd' | 'memcached' | 'mariadb' | 'rabbitmq' | 'keystone' | 'placement' | 'glance' | 'neutron' | 'nova-api' | 'nova-conductor'
  | 'nova-scheduler' | 'nova-novncproxy' | 'nova-serialproxy';

/** Groups in the order of starting; stopping goes backwards, the members of a group at the same time. */
const groups: readonly (readonly DaemonName[])[] = [
  ['epmd'], ['memcached', 'mariadb', 'rabbitmq'], ['keystone', 'placement', 'glance', 'neutron', 'nova-api'], ['nova-conductor', 'nova-scheduler', 'nova-novncproxy', 'nova-serialproxy'],
];
const openstack: readonly DaemonName[] = [...groups[2]!, ...groups[3]!];

const portOf: Readonly<Partial<Record<DaemonName, number>>> = {
  memcached: ports.memcached, mariadb: ports.mariadb, rabbitmq: ports.rabbitmq, keystone: ports.keystone, placement: ports.placement, glance: ports.glance,
  neutron: ports.neutron, 'nova-api': ports.nova, 'nova-novncproxy': ports.novncproxy, 'nova-serialproxy': ports.serialproxy,
};

/** Which daemons must start again when a folder of etc/ changed. */
const readersOf: Readonly<Record<string, readonly DaemonName[]>> = {
  'my.cnf': ['mariadb'], rabbitmq: ['rabbitmq'], keystone: ['keystone'], glance: ['glance'], placement: ['placement'], neutron: ['neutron'],
  nova: ['nova-api', 'nova-conductor', 'nova-scheduler', 'nova-novncproxy', 'nova-serialproxy'], 'nova-api': ['nova-api'],
};

/**
 * uwsgi serving one of Debian's WSGI scripts. Its plain HTTP socket closes the connection after each answer but does not announce it,
 * which clients that keep connections see as resets: so it is announced.
 */
const wsgi = (name: DaemonName, port: number, script: string, processes: number, threads: number, env: Record<string, string>): DaemonSpec => ({
  name, env, argv: ['uwsgi_python3', '--master', '--lazy-apps', '--enable-threads', '--die-on-term', '--no-orphans', '--need-app', '--thunder-lock',
    '--buffer-size', '65535', '--listen', '100', '--http-socket', `${address}:${port}`, '--add-header', 'Connection: close',
    '--processes', String(processes), '--threads', String(threads), '--procname-prefix', `lab-${name} `, '--auto-procname', '--wsgi-file', script],
});

function specs(layout: Layout): Record<DaemonName, DaemonSpec> {
  const etc = (name: string): string => join(layout.etc, name);
  const nova = (name: DaemonName, ...more: string[]): DaemonSpec => ({ name, argv: [name, '--config-file', etc('nova/nova.conf'), ...more] });
  return {
    epmd: { name: 'epmd', argv: ['epmd', '-address', address] },
    memcached: { name: 'memcached', argv: ['memcached', '-u', 'memcache', '-l', address, '-p', String(ports.memcached), '-m', '64', '-c', '1024'] },
    mariadb: { name: 'mariadb', argv: ['mariadbd', `--defaults-file=${etc('my.cnf')}`] },
    rabbitmq: { name: 'rabbitmq', argv: ['setpriv', '--reuid=rabbitmq', '--regid=rabbitmq', '--init-groups', '/usr/lib/rabbitmq/bin/rabbitmq-server'],
      env: rabbitEnv(layout) },
    keystone: wsgi('keystone', ports.keystone, '/usr/bin/keystone-wsgi-public', 2, 4, { OS_KEYSTONE_CONFIG_FILES: etc('keystone/keystone.conf') }),
    placement: wsgi('placement', ports.placement, '/usr/bin/placement-api', 1, 4, { OS_PLACEMENT_CONFIG_DIR: etc('placement') }),
    // Not uwsgi: it would refuse the chunked uploads that clients send.
    glance: { name: 'glance', argv: ['glance-api', '--config-file', etc('glance/glance-api.conf')] },
    neutron: { name: 'neutron', argv: ['neutron-server', '--config-file', etc('neutron/neutron.conf')] },
    'nova-api': wsgi('nova-api', ports.nova, '/usr/bin/nova-api-wsgi', 2, 1, {
      OS_NOVA_CONFIG_DIR: etc('nova'), OS_NOVA_CONFIG_FILES: `/etc/nova/api-paste.ini;${etc('nova/nova.conf')};${etc(apiOptionsFile)}` }),
    'nova-conductor': nova('nova-conductor'),
    'nova-scheduler': nova('nova-scheduler'),
    'nova-novncproxy': nova('nova-novncproxy', '--web', '/usr/share/novnc'),
    'nova-serialproxy': nova('nova-serialproxy'),
  };
}

/** Also what rabbitmqctl needs in its environment to reach this broker. */
export const rabbitEnv = (layout: Layout): Record<string, string> => ({
  HOME: '/var/lib/rabbitmq', RABBITMQ_NODENAME: 'lab@localhost', RABBITMQ_MNESIA_BASE: join(layout.cloud, 'rabbitmq'),
  RABBITMQ_LOG_BASE: join(layout.cloud, 'rabbitmq'), RABBITMQ_LOGS: '-', RABBITMQ_CONFIG_FILE: join(layout.etc, 'rabbitmq/rabbitmq'),
  RABBITMQ_ENABLED_PLUGINS_FILE: join(layout.etc, 'rabbitmq/enabled_plugins'), ERL_EPMD_ADDRESS: address,
  RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}',
});

const idOf = (flag: '-u' | '-g', name: string): number => Number(execFileSync('/usr/bin/id', [flag, name], { encoding: 'utf8' }));

function own(user: string, ...paths: string[]): void {
  const [uid, gid] = [idOf('-u', user), idOf('-g', user)];
  for (const path of paths) chownSync(path, uid, gid);
}

function folders(layout: Layout): void {
  for (const name of ['glance/images', 'glance/cache', 'glance/staging', 'nova', 'neutron', 'lock', 'keystone', 'rabbitmq']) {
    mkdirSync(join(layout.cloud, name), { recursive: true });
  }
  mkdirSync(join(layout.run, 'mysql'), { recursive: true });
  for (const path of [layout.root, layout.cloud, layout.etc, layout.run]) chmodSync(path, 0o755);
}

export interface ControlPlane {
  readonly layout: Layout;
  readonly daemons: Daemons;
  /** Brings everything up, or finds it up. The error names the daemon and shows the end of its log. */
  up(report?: Report): Promise<void>;
  /** Stops everything; with `wipe` forgets the state too. */
  down(options?: { readonly wipe?: boolean }, report?: Report): Promise<void>;
  /** Restarts nova-api with options on top of its nova.conf; with none, or by the next `up`, they are gone again. */
  setApiOptions(options: Ini): Promise<void>;
  status(): { readonly name: string; readonly pid: number | null }[];
  admin(): Promise<Session>;
  demo(): Promise<Session>;
}

export function createControlPlane(env: NodeJS.ProcessEnv = process.env): ControlPlane {
  const layout = layoutOf(env);
  const daemons = createDaemons(layout);
  const all = specs(layout);
  const secrets = (): Secrets => secretsOf(layout);
  const admin = (): Promise<Session> => openSession('admin', secrets().admin, 'admin');
  const context = { layout, daemons, all, secrets, admin };
  return {
    layout, daemons, admin,
    demo: () => openSession('demo', secrets().demo, 'demo'),
    up: (report = () => undefined) => bringUp(context, report),
    down: (options = {}, report = () => undefined) => takeDown(context, options.wipe === true, report),
    async setApiOptions(options) {
      if (!writeIfChanged(join(layout.etc, apiOptionsFile), Object.keys(options).length === 0 ? '# nothing\n' : renderIni(options))) return;
      await daemons.stop('nova-api');
      await launch(context, 'nova-api');
      await alive(context, 'nova-api', 90_000, () => answers(`http://${address}:${ports.nova}/`));
    },
    status: () => groups.flat().map((name) => ({ name, pid: daemons.pid(name) })),
  };
}

interface Context {
  readonly layout: Layout;
  readonly daemons: Daemons;
  readonly all: Record<DaemonName, DaemonSpec>;
  readonly secrets: () => Secrets;
  readonly admin: () => Promise<Session>;
}

/** Waits for a sign of life of a daemon that was started, and says what its log ends with when it dies or stays silent. */
async function alive({ daemons }: Context, name: DaemonName, limitMs: number, sign: () => Promise<boolean>): Promise<void> {
  const trouble = (what: string): string => `${name} ${what}; end of ${daemons.logOf(name)}:\n${daemons.tail(name)}`;
  await until(limitMs, () => trouble(`did not answer in ${limitMs / 1000} s`), async () => {
    if (daemons.pid(name) === null) throw new Error(trouble('died'));
    return sign();
  }, 150);
}

const open = (port: number) => (): Promise<boolean> => portOpen(address, port);

/** Starts it unless it runs. That a stranger has its port is said at once, not found out from three logs. */
async function launch({ daemons, all }: Context, name: DaemonName): Promise<void> {
  const port = portOf[name];
  if (daemons.pid(name) !== null) return;
  await daemons.stop(name); // workers that a dead one left
  if (port !== undefined && await portOpen(address, port)) throw new Error(`${name} needs port ${port} of ${address}, but another program has it (see: ss -ltnp)`);
  daemons.start(all[name]);
}

async function startInfrastructure(context: Context, isFresh: boolean): Promise<void> {
  const { layout, daemons, all } = context;
  if (!(await portOpen(address, 4369))) { // RabbitMQ's name server; the machine may have one already
    daemons.start(all.epmd);
    await alive(context, 'epmd', 10_000, open(4369));
  }
  if (isFresh) await daemons.stop('memcached'); // it would remember rows of databases that are dropped
  own('rabbitmq', join(layout.cloud, 'rabbitmq'), ...['rabbitmq.conf', 'definitions.json', 'enabled_plugins'].map((name) => join(layout.etc, 'rabbitmq', name)));
  own('mysql', join(layout.run, 'mysql'));
  await launch(context, 'memcached');
  await launch(context, 'rabbitmq');
  await initialiseMariadb(layout);
  await launch(context, 'mariadb');
  await alive(context, 'memcached', 10_000, open(ports.memcached));
  await alive(context, 'mariadb', 60_000, open(ports.mariadb));
}

/** Conductor and scheduler end themselves when Keystone does not know them as they start, so the catalogue comes before them. */
async function startOpenStack(context: Context, isFilled: boolean, report: Report): Promise<void> {
  const { secrets } = context;
  await launch(context, 'keystone');
  await launch(context, 'placement');
  await alive(context, 'rabbitmq', 90_000, open(ports.rabbitmq));
  for (const name of ['glance', 'neutron', 'nova-api'] as const) await launch(context, name);
  await alive(context, 'keystone', 90_000, () => answers(endpoints.keystone));
  if (!isFilled) {
    report('users and endpoints');
    await fillCatalog(await context.admin(), secrets());
  }
  for (const name of groups[3]!) await launch(context, name);
  report('waiting for the API services');
  await alive(context, 'placement', 90_000, () => answers(`${endpoints.placement}/`));
  await alive(context, 'glance', 90_000, () => answers(`${endpoints.glance}/versions`));
  await alive(context, 'neutron', 90_000, () => answers(`${endpoints.neutron}/`));
  await alive(context, 'nova-api', 90_000, () => answers(`http://${address}:${ports.nova}/`));
  await alive(context, 'nova-novncproxy', 60_000, open(ports.novncproxy));
  await alive(context, 'nova-serialproxy', 60_000, open(ports.serialproxy));
}

/** Conductor and scheduler have no port: Nova itself says whether they reported. */
async function workersUp(context: Context, admin: Session): Promise<void> {
  for (const name of ['nova-conductor', 'nova-scheduler'] as const) {
    await alive(context, name, 90_000, async () => {
      const { services } = await admin.get<{ services: { state: string }[] }>(`${endpoints.nova}/os-services?binary=${name}`);
      return services.some(({ state }) => state === 'up');
    });
  }
}

async function bringUp(context: Context, report: Report): Promise<void> {
  const { layout, daemons } = context;
  if (process.getuid?.() !== 0) throw new Error('the control plane needs root: it runs databases and services as their own users');
  const mark = (name: string): string => join(layout.cloud, name);
  mkdirSync(layout.etc, { recursive: true });
  const changed = writeConfiguration(layout, context.secrets());
  folders(layout);
  for (const name of new Set([...changed].flatMap((folder) => readersOf[folder] ?? []))) await daemons.stop(name);
  const isFresh = !existsSync(mark('databases-ready'));
  report('RabbitMQ, MariaDB, memcached');
  if (isFresh) await Promise.all(openstack.map((name) => daemons.stop(name)));
  await startInfrastructure(context, isFresh);
  if (isFresh) {
    await mariadbAnswers(layout);
    report('creating the databases');
    rmSync(mark('catalog-ready'), { force: true });
    await createDatabases(layout, context.secrets());
    writeFileSync(mark('databases-ready'), '');
  }
  const isFilled = existsSync(mark('catalog-ready')) && readFileSync(mark('catalog-ready'), 'utf8') === catalogDigest();
  report('Keystone, Glance, Placement, Neutron, Nova');
  await startOpenStack(context, isFilled, report);
  const admin = await context.admin();
  if (!isFilled) {
    report('flavors and networks');
    await ensureResources(admin);
    writeFileSync(mark('catalog-ready'), catalogDigest());
  }
  await workersUp(context, admin);
}

async function takeDown({ layout, daemons }: Context, wipe: boolean, report: Report): Promise<void> {
  for (const group of [...groups].reverse()) {
    await Promise.all(group.map(async (name) => {
      const outcome = await daemons.stop(name, group === groups[1] ? 30_000 : 15_000);
      if (outcome !== 'was-down') report(`${name} ${outcome === 'killed' ? 'did not end in time and was killed' : 'stopped'}`);
    }));
  }
  if (wipe) {
    rmSync(layout.cloud, { recursive: true, force: true });
    rmSync(join(layout.run, 'mysql'), { recursive: true, force: true });
    report('the state is forgotten');
  }
}
