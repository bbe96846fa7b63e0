/** Schemas and keys: made once, from nothing. A try that was cut short begins again by dropping what it left. */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { daemonEnv, tailOf, until } from './daemons.js';
import { endpoints, type Layout, type Secrets } from './layout.js';

/** Runs a program to its end with its output in the lab's logs; an error shows the end of that. */
export async function run(layout: Layout, name: string, argv: readonly [string, ...string[]],
  options: { readonly env?: Record<string, string>; readonly input?: string; readonly limitMs?: number } = {}): Promise<void> {
  const log = join(layout.logs, `${name}.log`);
  const fd = openSync(log, 'w', 0o600);
  const [command, ...args] = argv;
  const child = spawn(command, args, { stdio: ['pipe', fd, fd], env: { ...daemonEnv, ...options.env }, timeout: options.limitMs ?? 180_000 });
  closeSync(fd);
  child.stdin?.end(options.input ?? '');
  child.stdin?.on('error', () => undefined);
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (...end) => resolve(end));
  });
  if (code !== 0) throw new Error(`${name}: ${command} ended with ${signal ?? `status ${code}`}; end of ${log}:\n${tailOf(log)}`);
}

const schemas = ['keystone', 'glance', 'placement', 'neutron', 'nova_api', 'nova_cell0', 'nova'];

/** The data folder that mariadbd starts on. */
export async function initialiseMariadb(layout: Layout): Promise<void> {
  const data = join(layout.cloud, 'mysql');
  const mark = join(layout.cloud, 'mysql-initialised');
  if (existsSync(mark)) return;
  rmSync(data, { recursive: true, force: true });
  mkdirSync(data);
  await run(layout, 'mariadb-install', ['mariadb-install-db', '--no-defaults', '--user=mysql', `--datadir=${data}`, '--skip-test-db',
    '--auth-root-authentication-method=socket']);
  writeFileSync(mark, '');
}

export async function mariadbAnswers(layout: Layout): Promise<void> {
  let last = '';
  await until(60_000, () => `MariaDB does not answer: ${last}`, () =>
    sql(layout, 'select 1').then(() => true, (err: unknown) => { last = String(err); return false; }), 200);
}

/** As the database's root. */
export const sql = (layout: Layout, statements: string): Promise<void> =>
  run(layout, 'mariadb-client', ['mariadb', '--no-defaults', '-u', 'root', '-S', join(layout.run, 'mysql/mysql.sock')], { input: statements, limitMs: 30_000 });

/** Drops and creates every schema and fills it by the services' own tools; the three chains do not depend on each other. */
export async function createDatabases(layout: Layout, secrets: Secrets): Promise<void> {
  const who = `IDENTIFIED BY '${secrets.database}'`;
  await sql(layout, schemas.map((name) => `DROP DATABASE IF EXISTS ${name}; CREATE DATABASE ${name} CHARACTER SET utf8mb3;
    GRANT ALL ON ${name}.* TO 'openstack'@'%' ${who}; GRANT ALL ON ${name}.* TO 'openstack'@'localhost' ${who};`).join('\n'));
  const file = (name: string): string => join(layout.etc, name);
  const nova = (...args: string[]): Promise<void> => run(layout, `nova-manage-${args.slice(0, 2).join('-')}`, ['nova-manage', '--config-file', file('nova/nova.conf'), ...args]);
  const chains = await Promise.allSettled([
    keystoneSchema(layout, secrets).then(() => run(layout, 'placement-manage', ['placement-manage', '--config-file', file('placement/placement.conf'), 'db', 'sync'],
      { env: { OS_PLACEMENT_CONFIG_DIR: file('placement') } }))
      .then(() => run(layout, 'glance-manage', ['glance-manage', '--config-file', file('glance/glance-api.conf'), 'db_sync'])),
    nova('api_db', 'sync')
      // Both take their connections from nova.conf (cell0 by its name with _cell0 behind), so no password is in argv.
      .then(() => nova('cell_v2', 'map_cell0'))
      .then(() => nova('cell_v2', 'create_cell', '--name', 'cell1'))
      .then(() => nova('db', 'sync')),
    run(layout, 'neutron-db-manage', ['neutron-db-manage', '--config-file', file('neutron/neutron.conf'), 'upgrade', 'heads']),
  ]);
  for (const chain of chains) if (chain.status === 'rejected') throw chain.reason;
}

async function keystoneSchema(layout: Layout, secrets: Secrets): Promise<void> {
  const manage = (...args: string[]): Promise<void> =>
    run(layout, `keystone-manage-${args[0]!}`, ['keystone-manage', '--config-file', join(layout.etc, 'keystone/keystone.conf'), ...args],
      { env: { OS_BOOTSTRAP_PASSWORD: secrets.admin } });
  for (const keys of ['fernet-keys', 'credential-keys']) mkdirSync(join(layout.cloud, 'keystone', keys), { recursive: true, mode: 0o700 });
  const owner = ['--keystone-user', 'root', '--keystone-group', 'root'];
  await manage('db_sync');
  await manage('fernet_setup', ...owner);
  await manage('credential_setup', ...owner);
  await manage('bootstrap', '--bootstrap-username', 'admin', '--bootstrap-project-name', 'admin', '--bootstrap-role-name', 'admin',
    '--bootstrap-service-name', 'keystone', '--bootstrap-region-id', 'RegionOne', '--bootstrap-public-url', endpoints.keystone,
    '--bootstrap-internal-url', endpoints.keystone, '--bootstrap-admin-url', endpoints.keystone);
}
