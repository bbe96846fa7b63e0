/**
 * A real OpenStack control plane on 127.0.0.1, from Debian's packages, for tests and for `npm run lab`.
 *
 * Nothing here is a stand-in: RabbitMQ, MariaDB, memcached, Keystone, Glance, Placement, Neutron and Nova's api, conductor,
 * scheduler and novncproxy run as on any controller, only without an init system and on loopback.
 *
 *   packages.txt      what has to be installed (test/setup installs it)
 *   layout.ts         where everything is, ports, generated passwords
 *   config-files.ts   every configuration file, as data
 *   daemons.ts        start, prove alive (pid + kernel start time), stop
 *   databases.ts      schemas, once
 *   catalog.ts        Keystone's users and endpoints, flavors, networks, the test image
 *   control-plane.ts  the order of all that: up, down, status
 *   main.ts           the command line of it
 *
 * `up` is level-triggered: it renders the configuration, restarts what must see a changed file, starts what is not alive, and does the
 * one-time steps that have no mark yet. A step that was cut short runs again from its beginning, so each of them begins by
 * removing what an earlier try left. State lives in $NOVA_BHYVE_LAB/cloud, run files in $NOVA_BHYVE_LAB_RUN.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export const address = '127.0.0.1';

/** Ports are OpenStack's usual ones, so that what is read in any manual holds here too. */
export const ports = {
  rabbitmq: 5672, mariadb: 3306, memcached: 11211, keystone: 5000, glance: 9292, placement: 8778, neutron: 9696, nova: 8774, novncproxy: 6080, serialproxy: 6083,
} as const;

export const endpoints = {
  keystone: `http://${address}:${ports.keystone}/v3`,
  glance: `http://${address}:${ports.glance}`,
  placement: `http://${address}:${ports.placement}`,
  neutron: `http://${address}:${ports.neutron}`,
  nova: `http://${address}:${ports.nova}/v2.1`,
} as const;

export const serviceUsers = ['nova', 'neutron', 'glance', 'placement'] as const;
export type ServiceUser = (typeof serviceUsers)[number];

export interface Secrets {
  readonly admin: string;
  readonly demo: string;
  readonly database: string;
  readonly rabbitmq: string;
  readonly metadata: string;
  readonly services: Readonly<Record<ServiceUser, string>>;
}

export interface Layout {
  /** The lab's root; nodes/, guest/ and logs/ lie beside cloud/. */
  readonly root: string;
  readonly cloud: string;
  readonly etc: string;
  readonly logs: string;
  readonly run: string;
  readonly openrc: string;
  readonly demoOpenrc: string;
}

/** Where this lab lives: NOVA_BHYVE_LAB and NOVA_BHYVE_LAB_RUN move it, for a second one in a network namespace of its own. */
export function layoutOf(env: NodeJS.ProcessEnv = process.env): Layout {
  const root = env['NOVA_BHYVE_LAB'] ?? '/var/lib/nova-bhyve-lab';
  const cloud = join(root, 'cloud');
  return {
    root, cloud, etc: join(cloud, 'etc'), logs: join(root, 'logs'), run: env['NOVA_BHYVE_LAB_RUN'] ?? '/run/nova-bhyve-lab',
    openrc: join(cloud, 'openrc'), demoOpenrc: join(cloud, 'demo-openrc'),
  };
}

/** The passwords of this cloud: made once at random, kept in a file only root reads. */
export function secretsOf(layout: Layout): Secrets {
  const path = join(layout.cloud, 'secrets.json');
  if (!existsSync(path)) {
    const word = (): string => randomBytes(16).toString('hex');
    const secrets: Secrets = {
      admin: word(), demo: word(), database: word(), rabbitmq: word(), metadata: word(),
      services: { nova: word(), neutron: word(), glance: word(), placement: word() },
    };
    mkdirSync(layout.cloud, { recursive: true });
    writeFileSync(path, `${JSON.stringify(secrets, null, 2)}\n`, { mode: 0o600 });
  }
  return JSON.parse(readFileSync(path, 'utf8')) as Secrets;
}

export const databaseUrl = (secrets: Secrets, name: string): string =>
  `mysql+pymysql://openstack:${secrets.database}@${address}:${ports.mariadb}/${name}?charset=utf8`;

export const transportUrl = (secrets: Secrets): string =>
  `rabbit://openstack:${secrets.rabbitmq}@${address}:${ports.rabbitmq}/openstack`;
